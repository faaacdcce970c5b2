// Names and explorers of the chains, read at most twice a minute.

import { now, read } from "./api.js";

const KEEP_MS = 30_000;
let kept = { at: -Infinity, chains: [] };

// Every chain as /v1/chains tells it; `fresh` asks anew.
export async function chains({ signal, fresh = false } = {}) {
  if (fresh || now() - kept.at > KEEP_MS) {
    const answer = await read("/v1/chains", { signal });
    kept = { at: now(), chains: answer.chains ?? [] };
  }
  return kept.chains;
}

const chainOf = (all, id) => all.find((one) => one.id === id);

export const nameOf = (all, id) => chainOf(all, id)?.name ?? `chain ${id}`;

// A page of the chain's block explorer (`kind` is tx or address), null when it has none.
export function explore(all, id, kind, what) {
  const base = chainOf(all, id)?.explorer;
  if (!base || !what) return null;
  const text = String(what).toWellFormed();
  const shown = kind === "address" ? asAddress(text) : text;
  return `${base.replace(/\/+$/, "")}/${kind}/${encodeURIComponent(shown)}`;
}

// 32-byte addresses of EVM chains carry the 20 bytes at their end.
const asAddress = (text) => (/^0x0{24}[0-9a-f]{40}$/i.test(text) ? `0x${text.slice(26)}` : text);
