// One message: where it is, why, what happened so far, and all that is needed to deliver it by hand.

import { read } from "./api.js";
import { buttons, pauses, pauseTable } from "./acts.js";
import { chains, explore, nameOf } from "./chains.js";
import { el } from "./dom.js";
import { TONES, ago, amount, clock, copier, hash, pairs, pill, section, until } from "./parts.js";
import { count, duration, short, words } from "./text.js";

export const title = ({ id }) => `Message ${short(id)}`;

export const concerns = (event, { id }) => event.id === id;

export async function load({ id }, signal) {
  const [record, known, paused] = await Promise.all([
    read(`/v1/messages/${encodeURIComponent(id)}`, { signal }),
    chains({ signal }),
    pauses(signal),
  ]);
  return { record, known, paused: paused.filter((one) => stops(one, record)) };
}

const ENDED = ["delivered", "dead"];

// Whether a pause keeps a message from being carried; of a signer only the explanation knows.
function stops({ kind, name }, record) {
  if (ENDED.includes(record.status)) return false;
  const { route, origin, destination, explanation } = record;
  return {
    route: name === route,
    lane: name === String(destination),
    chain: name === String(origin) || name === String(destination),
    signer: explanation.toLowerCase().includes(`signer ${name}`),
  }[kind];
}

export function draw(_place, { record, known, paused }) {
  return [
    head(record, known),
    pauseTable(paused),
    el(
      "div",
      { class: "two", "data-key": "two" },
      el("div", { class: "stack" }, timeline(record), evidence(record)),
      el(
        "div",
        { class: "stack" },
        facts(record, known),
        record.status === "delivered" ? null : byHand(record),
      ),
    ),
  ];
}

function head(record, known) {
  return el(
    "div",
    { class: "sheet head", "data-key": "head" },
    el(
      "p",
      { class: "crumb" },
      el("a", { href: "/messages" }, "Messages"),
      ` / ${record.bridge} / ${nameOf(known, record.origin)} → ${nameOf(known, record.destination)}`,
    ),
    el(
      "h1",
      null,
      el("span", { class: "unseen" }, "Message "),
      hash(record.id, { whole: true, what: "message id" }),
    ),
    el(
      "p",
      { class: "row" },
      pill(record.status),
      el("span", { class: "sub" }, words(record.reason), ", since ", ago(record.since)),
    ),
    el("p", { class: "why foreign" }, record.explanation),
    clocks(record),
    buttons(record),
  );
}

function clocks(record) {
  const gate = record.waits_for;
  const isDone = record.status === "delivered";
  return el(
    "div",
    { class: "facts" },
    record.next_wake_up ? clockOf("Next look", nextLook(record.next_wake_up)) : null,
    gate ? clockOf("Waits for", `${gate.gate} ≥ ${gate.value}`) : null,
    waitedFor(record).map(([name, at]) => clockOf(words(name), until(at))),
    record.estimate ? el("span", null, "Delivery expected: ", expected(record.estimate)) : null,
    isDone ? clockOf("Took", took(record)) : clockOf("First seen", ago(record.seen_at)),
  );
}

const clockOf = (name, what) =>
  el("span", { class: "foreign", "data-key": name }, `${name}: `, el("b", null, what));

const nextLook = (at) => (at === "unknown" ? "when the chains say something new" : until(at));

const BASES = {
  route_statistics: ({ samples }) => `by the last ${count(samples)} deliveries of its route`,
  clock: () => "when a delay that the bridge imposes is over",
  configured_delay: () => "by the rules of its bridge and chains",
  unknown: () => "nobody can tell",
};

function expected(estimate) {
  const basis = BASES[estimate.basis]?.(estimate) ?? words(estimate.basis);
  const latest = estimate.latest ? [", at the latest ", until(estimate.latest)] : null;
  if (!estimate.at) return [el("b", null, basis), latest];
  return [el("b", null, until(estimate.at)), latest, ` (${basis})`];
}

// Moments that the bridge makes the message wait for: evidence named `clock:NAME`, in Unix seconds.
const CLOCK = "clock:";

const waitedFor = (record) =>
  (record.status === "waiting" ? Object.entries(record.evidence ?? {}) : [])
    .filter(([name, at]) => name.startsWith(CLOCK) && Number(at) > 0 && Number(at) < LAST_SECOND)
    .map(([name, at]) => [name.slice(CLOCK.length), new Date(1000 * Number(at)).toISOString()]);

const LAST_SECOND = 8.64e12; // that a date can have

const took = (record) => duration((Date.parse(record.since) - Date.parse(record.seen_at)) / 1000);

function timeline(record) {
  const moments = [...record.timeline].reverse();
  return section(
    "timeline",
    "What happened, newest first",
    el(
      "ol",
      { class: "timeline" },
      moments.map((one, place) =>
        el(
          "li",
          { class: TONES[one.status] ?? "calm", "data-key": `m${moments.length - place}` },
          ago(one.at),
          el("span", null, el("b", null, words(one.status)), `, ${words(one.reason)}`),
          clock(one.at),
          one.detail ? el("span", { class: "sub foreign" }, one.detail) : null,
        ),
      ),
    ),
  );
}

function evidence(record) {
  const found = Object.entries(record.evidence ?? {}).filter(([name]) => !name.startsWith(CLOCK));
  if (!found.length) return null;
  return section(
    "evidence",
    "Evidence",
    pairs(found.map(([name, text]) => [words(name), el("code", { class: "foreign" }, text)])),
  );
}

function facts(record, known) {
  const linked = (text, chain, kind, what) =>
    hash(text, { href: explore(known, chain, kind, text), what });
  const { origin, destination, payment } = record;
  const block = el(
    "span",
    { class: "sub" },
    hash(record.origin_block_hash, { what: "block hash" }),
  );
  const carrier = record.tx && linked(record.tx, destination, "tx", "delivering transaction");
  const paid = payment?.count && [
    amount(payment.amount_wei, payment.native),
    ` for ${count(Number(payment.gas))} gas`,
  ];
  return section(
    "facts",
    "Facts",
    pairs([
      ["From", nameOf(known, origin)],
      ["Sender", linked(record.sender, origin, "address", "sender")],
      ["Sent in", linked(record.origin_tx, origin, "tx", "origin transaction")],
      ["Block", [count(record.origin_block), " ", block]],
      ["To", nameOf(known, destination)],
      ["Recipient", linked(record.recipient, destination, "address", "recipient")],
      ["Carried by", carrier || "no transaction yet"],
      ["Attempts", String(record.attempts)],
      ["Nonce", record.nonce],
      ["Leaf", record.leaf_index === null ? null : count(record.leaf_index)],
      ["Body", `${count(record.body_bytes)} bytes`],
      ["Paid", paid || "nothing seen"],
    ]),
  );
}

const byHand = (record) =>
  el(
    "section",
    { "data-key": "by-hand", "aria-label": "Deliver it by hand" },
    el(
      "details",
      { "data-proof": record.id },
      el("summary", null, "Proof and call data, to deliver it by hand"),
      el("div", { "data-keep": true }, el("p", { class: "empty" }, "Asking …")),
    ),
  );

// What /v1/messages/{id}/proof answers, as fields to copy.
export function proof(answer, chainName) {
  const found = Object.entries(answer.evidence ?? {});
  const fields =
    answer.step !== "call"
      ? []
      : [
          ["To", answer.to],
          ["Call data", answer.data],
          ["Value in wei", answer.value_wei],
          ["Gas, at least", answer.gas_floor],
          ["Access list", answer.access_list?.length ? JSON.stringify(answer.access_list) : null],
          ...found.map(([name, text]) => [words(name), text]),
        ];
  return [
    el(
      "p",
      { class: "note foreign" },
      SAID[answer.step]?.(answer, chainName) ??
        "The relayer answered something this page does not know.",
    ),
    fields
      .filter(([, text]) => text !== null && text !== undefined && text !== "")
      .map(([name, text]) =>
        el(
          "div",
          { class: "field" },
          el("div", null, name, copier(String(text), name.toLowerCase())),
          el("pre", { tabindex: 0, "aria-label": name }, el("code", null, text)),
        ),
      ),
  ];
}

const SAID = {
  call: (answer, chainName) =>
    `Anybody may send this call on ${chainName(answer.chain)} now.${answer.final ? "" : " More steps follow."}`,
  wait: (answer) => `There is no call yet: ${words(answer.reason)}. ${answer.detail ?? ""}`,
  refuse: (answer) => `There is no call: ${words(answer.reason)}. ${answer.detail ?? ""}`,
  done: (answer) => `It is delivered already. ${answer.detail ?? ""}`,
};
