// The overview: routes, chains, signers and the newest dead letters.

import { read } from "./api.js";
import { pauseButton, pauses, pauseTable } from "./acts.js";
import { chains, explore, nameOf } from "./chains.js";
import { el } from "./dom.js";
import { ago, amount, hash, more, section, table, tone } from "./parts.js";
import { count, duration, words } from "./text.js";

const STEP = 50; // rows shown at first, and added at a time
const DEAD_SHOWN = 8;
const UNDER_WAY = ["seen", "waiting", "ready", "submitted", "included"];
const IN_FLIGHT = ["submitted", "included"];
const shown = { routes: STEP, chains: STEP, signers: STEP };

export const title = () => "Overview";

export const concerns = () => true;

export async function load(_place, signal) {
  const [routes, known, dead, paused] = await Promise.all([
    read("/v1/routes", { signal }),
    chains({ signal, fresh: true }),
    read(`/v1/messages?status=dead&limit=${DEAD_SHOWN}`, { signal }),
    pauses(signal),
  ]);
  return { routes: routes.routes ?? [], known, dead: dead.messages ?? [], paused };
}

// Show more rows of one table.
export function grow(name) {
  shown[name] += STEP * 4;
}

export function draw(_place, { routes, known, dead, paused }) {
  return [
    el("h1", { class: "unseen", "data-key": "title" }, "Overview"),
    tiles(routes),
    pauseTable(paused),
    routeTable(routes, known),
    deadLetters(dead, routes, known),
    el("div", { class: "two", "data-key": "two" }, chainTable(known), signerTable(known)),
  ];
}

const of = (route, statuses) =>
  statuses.reduce((sum, one) => sum + (route.messages?.[one] ?? 0), 0);
const total = (routes, statuses) => routes.reduce((sum, one) => sum + of(one, statuses), 0);

function tiles(routes) {
  const dead = total(routes, ["dead"]);
  const held = total(routes, ["held"]);
  const oldest = Math.max(...routes.map((one) => one.oldest_pending_s ?? -1));
  const list = [
    ["Under way", count(total(routes, UNDER_WAY)), null, ""],
    ["In flight", count(total(routes, IN_FLIGHT)), null, ""],
    [
      "Oldest under way",
      oldest < 0 ? "–" : duration(oldest),
      "/messages?status=waiting&order=oldest",
      "",
    ],
    ["Delivered", count(total(routes, ["delivered"])), "/messages?status=delivered", ""],
    ["Held", count(held), "/messages?status=held", held ? "warn" : ""],
    ["Dead letters", count(dead), "/messages?status=dead", dead ? "bad" : ""],
  ];
  return el(
    "ul",
    { class: "tiles", "data-key": "tiles", "aria-label": "In short" },
    list.map(([name, text, href, looks]) =>
      el(
        "li",
        null,
        el(
          href ? "a" : "div",
          { class: `tile ${looks}`, href },
          el("span", null, name),
          el("strong", null, text),
        ),
      ),
    ),
  );
}

const ROUTE_COLUMNS = [
  { name: "Route" },
  { name: "Sent", number: true },
  { name: "Waiting", wide: true },
  { name: "In flight", number: true },
  { name: "Delivered", number: true },
  { name: "Oldest", number: true },
  { name: "p50 / p95", number: true },
  { name: "Cost / income", number: true },
];

function routeTable(routes, known) {
  const sorted = [...routes].sort(
    (one, other) => trouble(other) - trouble(one) || one.route.localeCompare(other.route),
  );
  const rows = sorted.slice(0, shown.routes).map((one) => ({
    key: one.route,
    cells: [
      [
        el(
          "a",
          { href: `/messages?${new URLSearchParams({ route: one.route })}` },
          `${nameOf(known, one.origin)} → ${nameOf(known, one.destination)}`,
        ),
        " ",
        el("span", { class: "sub" }, one.bridge),
        " ",
        pauseButton("route", one.route),
        (one.problems ?? []).map((text) => el("div", { class: "sub warn foreign" }, text)),
      ],
      count(of(one, Object.keys(one.messages ?? {}))),
      reasons(one),
      count(of(one, IN_FLIGHT)),
      count(of(one, ["delivered"])),
      duration(one.oldest_pending_s),
      `${duration(one.delivery?.p50_s)} / ${duration(one.delivery?.p95_s)}`,
      [amount(one.cost_wei, coinOf(one)), " / ", amount(one.income_wei, coinOf(one))],
    ],
  }));
  return section(
    "routes",
    "Routes",
    table("Routes", ROUTE_COLUMNS, rows, { empty: "No route has carried a message yet." }),
    more(rows.length, routes.length, "grow-routes"),
  );
}

const coinOf = (route) => route.native?.destination;

const trouble = (route) =>
  (of(route, ["dead"]) ? 4 : 0) + (of(route, ["held"]) ? 2 : 0) + (of(route, UNDER_WAY) ? 1 : 0);

const CHIPS = { held: "chip warn", dead: "chip bad" };
const MOVING = new Set([...IN_FLIGHT, "orphaned"]);

function reasons(route) {
  const stuck = (route.reasons ?? []).filter((one) => one.count > 0 && !MOVING.has(one.status));
  if (!stuck.length) return tone("–", "sub");
  return el(
    "div",
    { class: "chips" },
    stuck.map(({ status, reason, count: number }) =>
      el(
        "a",
        {
          class: CHIPS[status] ?? "chip",
          "data-key": `${status} ${reason}`,
          href: `/messages?${new URLSearchParams({ route: route.route, status, reason })}`,
        },
        el("b", null, count(number)),
        status in CHIPS ? ` ${status}: ${words(reason)}` : ` ${words(reason)}`,
      ),
    ),
  );
}

function deadLetters(dead, routes, known) {
  const all = total(routes, ["dead"]);
  if (!dead.length) return null;
  const columns = [
    { name: "Message" },
    { name: "Reason", wide: true },
    { name: "Route" },
    { name: "Since" },
  ];
  const rows = dead.map((one) => ({
    key: one.id,
    cells: [
      hash(one.id, { href: `/messages/${one.id}`, what: "message id" }),
      [
        tone(words(one.reason), "bad"),
        el("div", { class: "sub foreign" }, one.explanation.slice(0, 200)),
      ],
      `${nameOf(known, one.origin)} → ${nameOf(known, one.destination)}`,
      ago(one.since),
    ],
  }));
  return section(
    "dead",
    "Dead letters",
    table("Dead letters", columns, rows),
    all > dead.length
      ? el("p", { class: "more" }, el("a", { href: "/messages?status=dead" }, `All ${count(all)}`))
      : null,
  );
}

const CHAIN_COLUMNS = [
  { name: "Chain" },
  { name: "Head", number: true },
  { name: "Final", number: true },
  { name: "Blocks behind", number: true },
  { name: "Endpoints" },
];

function chainTable(known) {
  const rows = known.slice(0, shown.chains).map((one) => ({
    key: one.name,
    cells: [
      [
        el("b", null, one.name),
        " ",
        el("span", { class: "sub" }, String(one.id)),
        " ",
        pauseButton("chain", one.name),
      ],
      count(one.head),
      count(one.final),
      count(one.lag_blocks),
      endpoints(one.endpoints),
    ],
  }));
  return section(
    "chains",
    "Chains",
    table("Chains", CHAIN_COLUMNS, rows, { empty: "No chain is configured." }),
    more(rows.length, known.length, "grow-chains"),
  );
}

function endpoints({ total: all = 0, healthy = 0 } = {}) {
  const text = `${count(healthy)} of ${count(all)} answer`;
  return healthy === all ? tone(text, "good") : tone(text, healthy ? "warn" : "bad");
}

const SIGNER_COLUMNS = [
  { name: "Signer" },
  { name: "Chain" },
  { name: "Balance", number: true },
  { name: "Nonce", number: true },
  { name: "In flight", number: true },
];

function signerTable(known) {
  const all = known.flatMap((chain) => (chain.signers ?? []).map((one) => ({ chain, ...one })));
  const rows = all.slice(0, shown.signers).map((one) => ({
    key: `${one.chain.name} ${one.address}`,
    cells: [
      [
        hash(one.address, {
          href: explore(known, one.chain.id, "address", one.address),
          what: "address",
        }),
        " ",
        pauseButton("signer", one.address),
      ],
      one.chain.name,
      amount(one.balance_wei, one.chain.native),
      count(one.nonce),
      count(one.in_flight),
    ],
  }));
  return section(
    "signers",
    "Signers",
    table("Signers", SIGNER_COLUMNS, rows, { empty: "No signer: nothing is delivered from here." }),
    more(rows.length, all.length, "grow-signers"),
  );
}
