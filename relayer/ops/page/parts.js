// The small things that every view is made of: a status, a hash, a time, a table.

import { now } from "./api.js";
import { el } from "./dom.js";
import { count, duration, moment, native, short, timeOfDay, words } from "./text.js";

export const TONES = {
  delivered: "good",
  included: "busy",
  submitted: "busy",
  ready: "busy",
  held: "warn",
  dead: "bad",
  orphaned: "warn",
};

export const pill = (status) =>
  el("span", { class: `pill ${TONES[status] ?? "calm"}` }, words(status));

export const tone = (text, kind) => el("span", { class: kind }, text);

// A hash, address or id: short to read, whole to copy, and a link where there is one.
export function hash(text, { href = null, whole = false, what = "it" } = {}) {
  if (!text) return "–";
  const code = el("code", { title: text }, whole ? text : short(text));
  const shown = href ? el("a", { href, ...outside(href) }, code) : code;
  return el("span", { class: whole ? "hash whole" : "hash" }, shown, copier(text, what));
}

const outside = (href) =>
  href.startsWith("/") ? {} : { target: "_blank", rel: "noopener noreferrer" };

export const copier = (text, what) =>
  el(
    "button",
    {
      type: "button",
      class: "copy",
      "data-copy": text,
      "aria-label": `Copy ${what}`,
      title: `Copy ${what}`,
    },
    "copy",
  );

// How long ago an ISO time was; it keeps counting.
export function ago(iso) {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return iso ?? "–";
  return el("time", { datetime: iso, title: moment(iso), "data-ago": at }, since(at));
}

// An ISO time by the clock, in UTC, to compare with logs.
export const clock = (iso) =>
  el("time", { class: "sub", datetime: iso, title: moment(iso) }, timeOfDay(iso));

// How long it is until an ISO time; it keeps counting.
export function until(iso) {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return iso ?? "–";
  return el("time", { datetime: iso, title: moment(iso), "data-until": at }, ahead(at));
}

const since = (at) => `${duration((now() - at) / 1000)} ago`;
const ahead = (at) => (at > now() ? `in ${duration((at - now()) / 1000)}` : "now");

// Move every shown time on; called once a second.
export function tick() {
  for (const one of document.querySelectorAll("time[data-ago]"))
    set(one, since(Number(one.dataset.ago)));
  for (const one of document.querySelectorAll("time[data-until]"))
    set(one, ahead(Number(one.dataset.until)));
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// An amount of wei in a chain's own coin, `native` of the API.
export const amount = (wei, coin) =>
  wei === null || wei === undefined ? "–" : el("span", { title: `${wei} wei` }, native(wei, coin));

// A table whose rows become cards on a phone; the roles keep it a table for those who do not see it.
export function table(name, columns, rows, { empty = "None." } = {}) {
  if (!rows.length) return el("p", { class: "empty" }, empty);
  const head = columns.map((one) =>
    el("th", { role: "columnheader", scope: "col", class: one.number ? "number" : null }, one.name),
  );
  const body = rows.map((row) =>
    el(
      "tr",
      { role: "row", "data-key": row.key, class: row.tone ?? null },
      row.cells.map((cell, place) => {
        const column = columns[place];
        const looks = {
          class: column.number ? "number" : column.wide ? "wide" : null,
          "data-label": column.name,
        };
        return place === 0
          ? el("th", { role: "rowheader", scope: "row", ...looks }, cell)
          : el("td", { role: "cell", ...looks }, cell);
      }),
    ),
  );
  return el(
    "table",
    { role: "table", "aria-label": name },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)),
    el("tbody", { role: "rowgroup" }, body),
  );
}

export const section = (key, title, ...content) =>
  el(
    "section",
    { "data-key": key, "aria-labelledby": `${key}-title` },
    el("h2", { id: `${key}-title` }, title),
    content,
  );

// How many rows are shown, and the way to more of them.
export function more(shown, all, act) {
  if (shown >= all) return null;
  return el(
    "p",
    { class: "more" },
    `${count(shown)} of ${count(all)} shown. `,
    el("button", { type: "button", "data-act": act }, "Show more"),
  );
}

// Pairs of a name and what stands there; pairs without content are left out.
export const pairs = (list) =>
  el(
    "dl",
    { class: "pairs" },
    list
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) =>
        el("div", { "data-key": name }, el("dt", null, name), el("dd", null, value)),
      ),
  );
