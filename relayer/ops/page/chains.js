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

export const chainOf = (all, id) => all.find((one) => one.id === id);

export const nameOf = (all, id) => chainOf(all, id)?.name ?? `chain ${id}`;

// A page of the chain's block explorer, null when it has none.
export function explore(all, id, kind, what) {
  const base = chainOf(all, id)?.explorer;
  return base && what ? `${base.replace(/\/+$/, "")}/${kind}/${encodeURIComponent(String(what).toWellFormed())}` : null;
}
