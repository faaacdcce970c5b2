// Makes and updates the document's nodes. Text goes in as text, links are checked: nothing that a
// chain or a contract wrote can become markup, script or an address outside http(s).

import { LONGEST, printable } from "./text.js";

const LONGEST_COPY = 2_000_000; // call data with a long proof

const ATTRIBUTES =
  /^(?:class|id|href|rel|target|title|type|name|value|for|role|scope|colspan|datetime|lang|dir|tabindex|disabled|hidden|selected|open|placeholder|rows|readonly|maxlength|aria-[a-z]+|data-[a-z-]+)$/;

// An element with attributes (null, undefined and false leave one out) and children: nodes, text, lists.
export function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (!ATTRIBUTES.test(name)) throw new TypeError(`attribute ${name} is not allowed`);
    if (name === "href") {
      const safe = safeLink(String(value));
      if (safe !== null) node.setAttribute("href", safe);
    } else {
      const longest = name === "data-copy" ? LONGEST_COPY : LONGEST;
      node.setAttribute(name, value === true ? "" : printable(value, longest));
    }
  }
  node.append(...nodes(children));
  return node;
}

// A link of our own site, or an absolute http(s) address; null for everything else.
export function safeLink(text) {
  if (text.length > LONGEST) return null;
  if (/^[/#](?![/\\])/.test(text)) return text;
  try {
    const url = new URL(text);
    return ["http:", "https:"].includes(url.protocol) && !url.username ? url.href : null;
  } catch {
    return null;
  }
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((one) => one !== null && one !== undefined && one !== false && one !== "")
    .map((one) => (one instanceof Node ? one : document.createTextNode(printable(one))));
}

// Make `parent`'s content equal to `fresh`, touching only what differs: focus, selection, scrolling
// and opened details stay. Nodes with the same data-key are the same thing in another place.
export function patch(parent, fresh) {
  const focused = document.activeElement;
  patchChildren(parent, nodes([fresh]));
  if (focused && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

function patchChildren(parent, fresh) {
  const keyed = new Map();
  for (const one of parent.children) if (one.dataset.key) keyed.set(one.dataset.key, one);
  let at = parent.firstChild;
  for (const wanted of fresh) {
    const key = wanted.dataset?.key;
    const found = key ? keyed.get(key) : at;
    if (!found || !isSame(found, wanted)) {
      parent.insertBefore(wanted, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else parent.insertBefore(found, at);
    patchNode(found, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function isSame(old, wanted) {
  return (
    old.nodeType === wanted.nodeType &&
    old.nodeName === wanted.nodeName &&
    old.dataset?.key === wanted.dataset?.key
  );
}

function patchNode(old, wanted) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== wanted.nodeValue) old.nodeValue = wanted.nodeValue;
    return;
  }
  if (old.dataset.keep !== undefined) return; // it looks after itself
  for (const { name } of [...old.attributes]) {
    if (!wanted.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  patchChildren(old, [...wanted.childNodes]);
}
