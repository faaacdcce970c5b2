// The operator's acts. They exist on the operator's address alone; the token stays in this tab.

import { act, forgetToken, keepToken, readAsOperator, token } from "./api.js";
import { el } from "./dom.js";
import { ago, section, table } from "./parts.js";
import { printable, short } from "./text.js";

const STARTS = {
  retry: ["dead", "waiting", "ready"],
  release: ["held"],
  hold: ["waiting", "ready"],
  drop: ["waiting", "ready", "submitted", "held"],
};
const NAMES = {
  retry: "Retry",
  release: "Release",
  hold: "Hold",
  drop: "Drop",
  pause: "Pause",
  resume: "Resume",
};
const DONE = {
  retry: "taken up again",
  release: "released",
  hold: "held",
  drop: "dropped",
  pause: "Paused",
  resume: "Resumed",
};
const WARNINGS = {
  drop: "It will not be delivered until somebody retries it.",
  pause: "Nothing of it is carried until somebody resumes it.",
};
const LONG_ENOUGH = 32;

export const isOperators = document.documentElement.dataset.address === "operator";

// The buttons that the message's status allows, none on the public address.
export function buttons(record) {
  if (!isOperators) return null;
  const possible = Object.keys(STARTS).filter((verb) => STARTS[verb].includes(record.status));
  if (!possible.length) return null;
  return el(
    "div",
    { class: "acts", role: "group", "aria-label": "Operator" },
    possible.map((verb, place) =>
      el(
        "button",
        {
          type: "button",
          class: place === 0 && verb !== "hold" ? "main" : null,
          "data-verb": verb,
          "data-message": record.id,
          "data-key": verb,
        },
        NAMES[verb],
      ),
    ),
  );
}

// The button that pauses one thing, or lets it go on.
export function pauseButton(kind, name, verb = "pause") {
  if (!isOperators) return null;
  return el(
    "button",
    {
      type: "button",
      class: "small",
      "data-verb": verb,
      "data-kind": kind,
      "data-name": name,
      "aria-label": `${NAMES[verb]} ${kind} ${name}`,
    },
    NAMES[verb],
  );
}

// Everything that is paused, for whoever may see it; nothing without a token that is taken.
export async function pauses(signal) {
  if (!isOperators || !token()) return [];
  try {
    return (await readAsOperator("/v1/operator/pauses", { signal })).pauses;
  } catch (error) {
    if (error.status !== 401) throw error;
    forgetToken();
    showSignIn();
    return [];
  }
}

const PAUSE_COLUMNS = [
  { name: "Paused" },
  { name: "Why" },
  { name: "By" },
  { name: "Since" },
  { name: "Act" },
];

export const pauseTable = (paused) =>
  paused.length
    ? section(
        "pauses",
        "Paused",
        table(
          "Paused",
          PAUSE_COLUMNS,
          paused.map((one) => ({
            key: `${one.kind} ${one.name}`,
            cells: [
              `${one.kind} ${one.chain ?? one.name}`,
              el("span", { class: "foreign" }, one.why || "–"),
              one.who,
              ago(one.since),
              pauseButton(one.kind, one.name, "resume"),
            ],
          })),
        ),
      )
    : null;

// Do what a pressed button says; the answer is the sentence to show, null when it was called off.
export async function press({ verb, message, kind, name }) {
  const what = message ? `message ${short(message)}` : `${kind} ${name}`;
  const sure = verb in WARNINGS ? await isSure(verb, what) : { why: "" };
  if (!sure) return null;
  if (!token() && !(await signIn())) return null;
  if (message) {
    await withToken(() => act(`/v1/operator/messages/${message}/${verb}`));
    return `Message ${DONE[verb]}.`;
  }
  await withToken(() =>
    act(`/v1/operator/${verb}`, { [kind]: name, ...(verb === "pause" ? { why: sure.why } : {}) }),
  );
  return `${DONE[verb]}: ${what}.`;
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

// Ask once more; an object with the reason given, null when it was called off.
async function isSure(verb, what) {
  const why = document.getElementById("sure-why");
  why.value = "";
  document.getElementById("sure-title").textContent = `${NAMES[verb]} ${printable(what)}?`;
  document.getElementById("sure-text").textContent = WARNINGS[verb];
  document.getElementById("sure-asks").hidden = verb !== "pause";
  document.getElementById("sure-go").textContent = NAMES[verb];
  return (await closed(document.getElementById("sure"))) ? { why: why.value.trim() } : null;
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

// The button in the bar: signs in, or forgets the token; what may be seen changes with it.
export function startSignIn(onChange) {
  if (!isOperators) return;
  const button = document.getElementById("operator");
  button.hidden = false;
  button.addEventListener("click", async () => {
    if (token()) forgetToken();
    else if (!(await signIn())) return;
    showSignIn();
    onChange();
  });
  showSignIn();
}

function showSignIn() {
  document.getElementById("operator").textContent = token() ? "Sign out" : "Sign in";
}
