// The page's shell: which view the address means, keeping it up to date, and what keys and buttons do.

import { isOperators, press, startSignIn } from "./acts.js";
import { Refusal, read } from "./api.js";
import { chains, nameOf } from "./chains.js";
import { el, patch } from "./dom.js";
import { Live } from "./live.js";
import * as message from "./message.js";
import * as messages from "./messages.js";
import * as overview from "./overview.js";
import { tick } from "./parts.js";
import { search } from "./search.js";

const main = document.getElementById("main");
const said = document.getElementById("said");
const state = document.getElementById("live");
const STATES = { live: "Live", polling: "Polling", disconnected: "Disconnected" };

let place = null; // what the address means now
let view = null;
let asked = new AbortController();
let drawn = null; // the facts on screen

function placeOf(url) {
  const path = url.pathname;
  const one = /^\/messages\/([^/]+)$/.exec(path);
  if (one) return [message, { id: one[1].toLowerCase(), query: url.searchParams }];
  if (path === "/messages") return [messages, { query: url.searchParams }];
  return [overview, { query: url.searchParams }];
}

const live = new Live({
  read: refresh,
  concerns: (event) => view.concerns(event, place),
  onState: (name) => {
    if (state.dataset.state === name) return;
    state.dataset.state = name;
    state.textContent = STATES[name];
  },
});

async function refresh() {
  const [mine, mineView, signal] = [place, view, asked.signal];
  try {
    const facts = await mineView.load(mine, signal);
    if (mine !== place) return;
    const content = mineView.draw(mine, facts); // fails on facts of another shape, before they count
    drawn = facts;
    put(content);
  } catch (error) {
    if (signal.aborted) return;
    complain(error);
    throw error;
  }
}

function put(content) {
  patch(main, content);
  main.removeAttribute("aria-busy");
}

const redraw = (notice = null) => put([notice, view.draw(place, drawn)]);

const wordsOf = (error) =>
  error instanceof Refusal ? error.message : "The relayer's answer cannot be read by this page.";

// Old facts stay in sight under the complaint; without any, the complaint is all there is.
function complain(error) {
  const text = wordsOf(error);
  const notice = el(
    "p",
    { class: "notice", "data-key": "notice", role: "alert" },
    drawn && !error.status ? `Not up to date: ${text}` : text,
  );
  if (drawn) redraw(notice);
  else put([el("h1", { "data-key": "title" }, view.title(place)), notice]);
}

function show({ scroll = true } = {}) {
  asked.abort();
  asked = new AbortController();
  [view, place] = placeOf(new URL(location.href));
  drawn = null;
  document.title = `${view.title(place)} · Relayer`;
  for (const link of document.querySelectorAll(".bar nav a")) {
    const here =
      link.getAttribute("href") === location.pathname + location.search ||
      (link.pathname === location.pathname && !link.search && view !== messages);
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  if (scroll) scrollTo(0, 0);
  live.now();
}

function go(address) {
  history.pushState(null, "", address);
  patch(main, el("p", { class: "empty" }, "Loading …"));
  show();
  main.focus({ preventScroll: true });
  said.textContent = document.title;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (link && isOurs(link, event)) {
    event.preventDefault();
    go(link.getAttribute("href"));
    return;
  }
  const button = event.target.closest("button");
  if (button?.dataset.copy) copy(button);
  else if (button?.dataset.act?.startsWith("grow-")) {
    overview.grow(button.dataset.act.slice("grow-".length));
    redraw();
  } else if (button?.dataset.verb && isOperators) doAct(button);
});

const isOurs = (link, event) =>
  link.origin === location.origin &&
  !link.target &&
  !link.hash &&
  !link.pathname.startsWith("/v1/") &&
  event.button === 0 &&
  !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    // plain http: the old way is the only way
    const area = el("textarea", { class: "unseen" });
    area.value = button.dataset.copy;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  said.textContent = "Copied.";
  button.textContent = "copied";
  setTimeout(() => {
    button.textContent = "copy";
  }, 1500);
}

async function doAct(button) {
  const group = [...(button.parentElement?.querySelectorAll("button[data-verb]") ?? [])];
  for (const one of group) one.disabled = true;
  try {
    const done = await press(button.dataset);
    if (done) said.textContent = done;
    await live.now();
  } catch (error) {
    complain(error);
  } finally {
    for (const one of group) one.disabled = false;
  }
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-filters]");
  if (!form) return;
  const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  go(`/messages${wanted.size ? `?${wanted}` : ""}`);
});

document.addEventListener(
  "toggle",
  async (event) => {
    const details = event.target;
    if (!details.dataset?.proof || !details.open) return;
    const where = details.querySelector("[data-keep]");
    try {
      const [answer, known] = await Promise.all([
        read(`/v1/messages/${details.dataset.proof}/proof`),
        chains(),
      ]);
      patch(
        where,
        message.proof(answer, (id) => nameOf(known, id)),
      );
    } catch (error) {
      patch(where, el("p", { class: "note" }, wordsOf(error)));
    }
  },
  true,
);

document.addEventListener("keydown", (event) => {
  if (
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    event.target.closest("input, select, textarea, dialog")
  )
    return;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("sought").focus();
  } else if (["ArrowDown", "ArrowUp", "j", "k"].includes(event.key)) {
    step(event, ["ArrowDown", "j"].includes(event.key) ? 1 : -1);
  }
});

// From one row's link to the next while the focus is in a table.
function step(event, by) {
  const links = [...(event.target.closest("tbody")?.querySelectorAll("th a[href]") ?? [])];
  const here = links.indexOf(event.target.closest("tr")?.querySelector("th a[href]"));
  const next = links[here + by];
  if (here < 0 || !next) return;
  event.preventDefault();
  next.focus();
}

document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search(document.getElementById("sought").value, go);
});

addEventListener("popstate", () => show({ scroll: false }));
setInterval(tick, 1000);
startSignIn(() => live.now());
show();
live.start();
