// The operator's acts. They exist on the operator's address alone; the token stays in this tab.

import { act, forgetToken, keepToken, token } from "./api.js";
import { el } from "./dom.js";
import { printable, short } from "./text.js";

const STARTS = {
  retry: ["dead", "waiting", "ready"],
  release: ["held"],
  hold: ["waiting", "ready"],
  drop: ["waiting", "ready", "submitted", "held"],
};
const NAMES = { retry: "Retry", release: "Release", hold: "Hold", drop: "Drop", pause: "Pause", resume: "Resume" };
const DONE = { retry: "taken up again", release: "released", hold: "held", drop: "dropped" };
const LONG_ENOUGH = 32;

export const isOperators = document.documentElement.dataset.address === "operator";

// The buttons that the message's status allows, none on the public address.
export function buttons(record) {
  if (!isOperators) return null;
  const possible = Object.keys(STARTS).filter((verb) => STARTS[verb].includes(record.status));
  if (!possible.length) return null;
  return el("div", { class: "acts", role: "group", "aria-label": "Operator" }, possible.map((verb, place) => el("button",
    { type: "button", class: place === 0 && verb !== "hold" ? "main" : null, "data-verb": verb, "data-message": record.id, "data-key": verb }, NAMES[verb])));
}

export function pauseButton(kind, name, paused) {
  if (!isOperators) return null;
  const verb = paused ? "resume" : "pause";
  return el("button", { type: "button", class: "small", "data-verb": verb, "data-kind": kind, "data-name": name,
    "aria-label": `${NAMES[verb]} ${kind} ${name}` }, NAMES[verb]);
}

// Do what a pressed button says; the answer is the sentence to show, null when it was called off.
export async function press({ verb, message, kind, name }) {
  const [path, body, what] = message
    ? [`/v1/operator/messages/${message}/${verb}`, {}, `message ${short(message)}`]
    : [`/v1/operator/${verb}`, { kind, name }, `${kind} ${name}`];
  if (["drop", "pause"].includes(verb) && !(await isSure(verb, what))) return null;
  if (!token() && !(await signIn())) return null;
  await withToken(() => act(path, body));
  return message ? `Message ${DONE[verb]}.` : `${NAMES[verb]}d ${what}.`;
}

// Run something that needs the token; ask for another one, once, when it is not taken.
async function withToken(doIt) {
  try {
    return await doIt();
  } catch (error) {
    if (error.status !== 401) throw error;
    forgetToken();
    showSignIn();
    if (!(await signIn("The relayer did not take this token."))) throw error;
    return doIt();
  }
}

function isSure(verb, what) {
  const dialog = document.getElementById("sure");
  document.getElementById("sure-title").textContent = `${NAMES[verb]} ${printable(what)}?`;
  document.getElementById("sure-text").textContent = verb === "drop"
    ? "It will not be delivered until somebody retries it."
    : "Nothing of it is carried until somebody resumes it.";
  document.getElementById("sure-go").textContent = NAMES[verb];
  return closed(dialog);
}

async function signIn(complaint = "") {
  const dialog = document.getElementById("token");
  const field = document.getElementById("token-text");
  field.value = "";
  document.getElementById("token-said").textContent = complaint;
  const chosen = await closed(dialog);
  const text = field.value.trim();
  field.value = "";
  if (!chosen || text.length < LONG_ENOUGH) return false;
  keepToken(text);
  showSignIn();
  return true;
}

function closed(dialog) {
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true });
  });
}

// The button in the bar: signs in, or forgets the token.
export function startSignIn() {
  if (!isOperators) return;
  const button = document.getElementById("operator");
  button.hidden = false;
  button.addEventListener("click", () => {
    if (token()) forgetToken();
    else signIn();
    showSignIn();
  });
  showSignIn();
}

function showSignIn() {
  document.getElementById("operator").textContent = token() ? "Sign out" : "Sign in";
}
