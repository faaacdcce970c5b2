// Numbers, times and foreign text as people read them. Pure.

export const LONGEST = 2000;

// Line breaks, control characters, and marks that hide or reorder text: each shows as one middle dot.
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]+/g;

export function printable(value, longest = LONGEST) {
  const text = String(value);
  const cut = text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
  return cut.replace(UNPRINTABLE, "·").toWellFormed();
}

// `awaiting_quorum` -> `awaiting quorum`
export const words = (name) => String(name).replaceAll("_", " ");

// 0x1234567…89abcdef
export const short = (hash) =>
  String(hash).length > 22 ? `${hash.slice(0, 10)}…${hash.slice(-8)}` : String(hash);

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (number) => (Number.isFinite(number) ? WHOLE.format(number) : "–");

// Seconds as `0.84 s`, `42 s`, `3 m 05 s`, `2 h 10 m`, `3 d 4 h`.
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const all = Math.max(0, seconds);
  if (all < 9.95) return `${all.toFixed(1)} s`;
  if (all < 59.5) return `${Math.round(all)} s`;
  const whole = Math.round(all);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${two(whole % 60)} s`;
  if (whole < 86400)
    return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} m`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

// A decimal string of a coin's smallest unit as whole coins, four significant digits, with the
// coin's symbol when that is known; exact text belongs in a title.
export function native(wei, coin) {
  const decimals = coin?.decimals;
  const isSane = Number.isInteger(decimals) && decimals >= 0 && decimals <= 77;
  const shown = coins(wei, isSane ? decimals : 18);
  return coin?.symbol && shown !== "–" ? `${shown} ${String(coin.symbol).slice(0, 16)}` : shown;
}

function coins(wei, decimals) {
  if (wei === null || wei === undefined || !/^-?\d{1,78}$/.test(String(wei))) return "–";
  const text = String(wei);
  const negative = text.startsWith("-");
  const digits = text.replace("-", "").padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals).replace(/^0+(?=\d)/, "");
  const part = digits.slice(digits.length - decimals);
  if (/^0*$/.test(whole + part)) return "0";
  const zeros = whole === "0" ? /^0*/.exec(part)[0].length : 0;
  const places = whole === "0" ? zeros + 4 : Math.max(0, 4 - whole.length);
  const shown = places > 0 ? `.${part.slice(0, places)}`.replace(/\.?0+$/, "") : "";
  return `${negative ? "-" : ""}${WHOLE.format(BigInt(whole))}${shown}`;
}

const MOMENT = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "medium",
  timeZone: "UTC",
});

// An ISO time as `14 Nov 2023, 22:13:20 UTC`; anything else as it is.
export function moment(iso) {
  const at = Date.parse(iso);
  return Number.isNaN(at) ? String(iso) : `${MOMENT.format(at)} UTC`;
}

// An ISO time as `22:13:20 UTC`; anything else as it is.
export const timeOfDay = (iso) =>
  /^[\d-]{10}T[\d:]{8}/.test(iso) ? `${iso.slice(11, 19)} UTC` : String(iso);
