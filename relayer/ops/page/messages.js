// The list of messages: filtered, a page at a time; the filters live in the address.

import { read } from "./api.js";
import { chains, nameOf } from "./chains.js";
import { el } from "./dom.js";
import { ago, hash, pill, section, table } from "./parts.js";
import { words } from "./text.js";

const PAGE = 50;
const FILTERS = ["status", "reason", "route", "tx", "order"];
// `seen` is told of a transaction alone: no list has it.
const STATUSES = [
  "waiting",
  "ready",
  "submitted",
  "included",
  "delivered",
  "held",
  "dead",
  "orphaned",
];
const COLUMNS = [
  { name: "Message" },
  { name: "Status" },
  { name: "Why" },
  { name: "Route" },
  { name: "Since" },
  { name: "Attempts", number: true },
];

export const title = ({ query }) => (query.get("status") === "dead" ? "Dead letters" : "Messages");

export const concerns = (event, { query }) =>
  !query.has("cursor") && (!query.has("route") || query.get("route") === event.route);

export async function load({ query }, signal) {
  const wanted = new URLSearchParams({ limit: PAGE });
  for (const name of [...FILTERS, "cursor"]) if (query.get(name)) wanted.set(name, query.get(name));
  if (wanted.has("tx")) wanted.delete("limit");
  const [page, routes, known] = await Promise.all([
    read(`/v1/messages?${wanted}`, { signal }),
    read("/v1/routes", { signal }),
    chains({ signal }),
  ]);
  return { page, routes: routes.routes ?? [], known };
}

export function draw({ query }, { page, routes, known }) {
  const heading = query.get("tx") ? "Messages of a transaction" : title({ query });
  const rows = page.messages.map((one) => row(one, known));
  return [
    el("h1", { "data-key": "title" }, heading),
    query.get("tx")
      ? el(
          "p",
          { "data-key": "tx" },
          hash(query.get("tx"), { whole: true, what: "transaction hash" }),
        )
      : null,
    section(
      "list",
      query.get("order") === "oldest" ? "Oldest first" : "Newest first",
      query.get("tx") ? null : filters(query, routes, known),
      table(heading, COLUMNS, rows, {
        empty: page.next
          ? "None in this stretch; there may be more on the next page."
          : empty(query),
      }),
      paging(query, page),
    ),
  ];
}

function row(one, known) {
  const isSeen = one.status === "seen"; // it has no page of its own before its block is final
  return {
    key: one.id,
    cells: [
      isSeen ? hash(one.id, { what: "message id" }) : linked(one.id),
      pill(one.status),
      isSeen
        ? el("span", { class: "foreign" }, one.explanation)
        : el("span", { title: one.explanation }, words(one.reason)),
      [
        `${nameOf(known, one.origin)} → ${nameOf(known, one.destination)} `,
        el("span", { class: "sub" }, one.bridge),
      ],
      ago(one.since),
      String(one.attempts),
    ],
  };
}

const linked = (id) =>
  el(
    "span",
    { class: "hash" },
    el(
      "a",
      { href: `/messages/${id}`, title: id },
      el("code", null, `${id.slice(0, 14)}…${id.slice(-6)}`),
    ),
  );

function empty(query) {
  if (query.get("tx"))
    return "No message is known of this transaction. Its block may not be final yet, or no bridge here saw it.";
  return FILTERS.some((name) => query.get(name))
    ? "No message is like this."
    : "No message has been seen yet.";
}

function filters(query, routes, known) {
  const reasons = new Set(routes.flatMap((one) => (one.reasons ?? []).map(({ reason }) => reason)));
  if (query.get("reason")) reasons.add(query.get("reason"));
  const named = routes.map((one) => [
    one.route,
    `${one.bridge}: ${nameOf(known, one.origin)} → ${nameOf(known, one.destination)}`,
  ]);
  return el(
    "form",
    { class: "filters", "data-filters": true },
    choice(
      "status",
      "Status",
      STATUSES.map((one) => [one, words(one)]),
      query.get("status"),
    ),
    choice(
      "reason",
      "Reason",
      [...reasons].sort().map((one) => [one, words(one)]),
      query.get("reason"),
    ),
    choice("route", "Route", named.slice(0, 1000), query.get("route")),
    choice("order", "Order", [["oldest", "oldest first"]], query.get("order"), "newest first"),
  );
}

const choice = (name, label, options, chosen, usual = "any") =>
  el(
    "label",
    null,
    label,
    el(
      "select",
      { name },
      el("option", { value: "" }, usual),
      options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
    ),
  );

function paging(query, page) {
  const link = (cursor, text) => {
    const to = new URLSearchParams(query);
    if (cursor) to.set("cursor", cursor);
    else to.delete("cursor");
    return el("a", { href: `/messages${to.size ? `?${to}` : ""}` }, text);
  };
  if (!query.has("cursor") && !page.next) return null;
  return el(
    "nav",
    { class: "paging", "aria-label": "Pages of the list" },
    query.has("cursor") ? link(null, "First page") : null,
    page.next ? link(page.next, "Next page") : null,
  );
}
