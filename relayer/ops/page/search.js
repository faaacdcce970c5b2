// Finds a message by its id, or the messages of a transaction, sent or delivered in it.

import { read } from "./api.js";

const HASH = /^(?:0x)?[0-9a-f]{64}$/i;

const complaint = document.getElementById("search-said");
const field = document.getElementById("sought");

field.addEventListener("input", () => say(""));

// Go where the text leads; what looks like neither is said so.
export async function search(text, go) {
  const wanted = text.trim();
  if (!HASH.test(wanted)) {
    say("A message id or a transaction hash is 0x and 64 hex digits.");
    return;
  }
  const hash = (
    wanted.startsWith("0x") || wanted.startsWith("0X") ? `0x${wanted.slice(2)}` : `0x${wanted}`
  ).toLowerCase();
  try {
    const { messages } = await read(`/v1/messages?tx=${hash}`);
    go(messages.length ? `/messages?tx=${hash}` : `/messages/${hash}`);
    field.value = "";
  } catch (error) {
    say(error.message);
  }
}

function say(text) {
  complaint.textContent = text;
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}
