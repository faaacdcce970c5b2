// Applies the chosen theme before the first paint, and lets the button choose: auto, light, dark.
"use strict";
{
  const CHOICES = ["auto", "light", "dark"];
  const read = () => {
    try {
      const kept = localStorage.getItem("relayer-theme");
      return CHOICES.includes(kept) ? kept : "auto";
    } catch {
      return "auto"; // a browser that forbids storage
    }
  };
  const show = (choice) => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
  };
  let chosen = read();
  show(chosen);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = () => {
      button.textContent = `Theme: ${chosen}`;
    };
    name();
    button.addEventListener("click", () => {
      chosen = CHOICES[(CHOICES.indexOf(chosen) + 1) % CHOICES.length];
      show(chosen);
      name();
      try {
        localStorage.setItem("relayer-theme", chosen);
      } catch {
        return; // it holds for this view at least
      }
    });
  });
}
