// Asks the relayer, on our own origin and nowhere else. Reading needs no token; acting does.

import { printable } from "./text.js";

const ANSWER_WITHIN_MS = 10_000;
const LONGEST_ANSWER = 8_000_000;
const TOKEN_KEY = "relayer-operator-token";

let ahead_ms = 0; // the server's clock against ours

export const now = () => Date.now() + ahead_ms;

// What went wrong, in the server's words where it had any.
export class Refusal extends Error {
  constructor(text, { status = 0, code = "unreachable", retryAfterS = 0 } = {}) {
    super(text);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

export const read = (path, { signal } = {}) => ask(path, { signal });

// Do one of the operator's acts; a Refusal with status 401 means that the token is not taken.
export const act = (path, body = {}) =>
  ask(path, {
    method: "POST",
    headers: { Authorization: `Bearer ${token() ?? ""}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

// Read something that only an operator may see.
export const readAsOperator = (path, { signal } = {}) =>
  ask(path, {
    signal,
    headers: { Authorization: `Bearer ${token() ?? ""}` },
  });

export const token = () => sessionStorage.getItem(TOKEN_KEY);
export const keepToken = (text) => sessionStorage.setItem(TOKEN_KEY, text);
export const forgetToken = () => sessionStorage.removeItem(TOKEN_KEY);

async function ask(path, { signal, ...more }) {
  const limit = AbortSignal.timeout(ANSWER_WITHIN_MS);
  let answer;
  try {
    answer = await fetch(path, {
      ...more,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      credentials: "omit",
      redirect: "error",
      cache: "no-cache",
      referrerPolicy: "no-referrer",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal(
      limit.aborted ? "The relayer took too long to answer." : "The relayer does not answer.",
    );
  }
  const sent = Date.parse(answer.headers.get("Date"));
  if (Number.isFinite(sent) && Math.abs(sent - now()) > 2000) ahead_ms = sent - Date.now();
  const body = await json(answer);
  if (!answer.ok) throw refusal(answer, body);
  return body;
}

async function json(answer) {
  const text = await answer.text();
  if (text.length > LONGEST_ANSWER) throw new Refusal("The answer is too long to show.");
  try {
    return text ? JSON.parse(text) : {};
  } catch {
    throw new Refusal(`The relayer answered ${answer.status} without JSON.`, {
      status: answer.status,
    });
  }
}

function refusal(answer, body) {
  const error = body?.error ?? {};
  const named = [error.field, error.value].filter(Boolean).join(" ");
  const text = printable(error.text ?? `answered ${answer.status}`, 500);
  return new Refusal(named ? `${text} (${printable(named, 200)})` : text, {
    status: answer.status,
    code: String(error.code ?? answer.status),
    retryAfterS: Number(answer.headers.get("Retry-After")) || 0,
  });
}
