"""Every key the store writes: its type, lifetime and writer. Names are a contract: add, never
rename. All keys of one chain share a hash tag, so each Lua script stays in one Cluster slot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from relayer.message import ChainId

SCHEMA_VERSION = "1"
"""Grows when a program that reads the old layout would misread the new one."""

META = "meta"
"""The hash tag of the keys that belong to no chain."""


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One row of the table."""

    name: str
    """What follows `<prefix>:{<chain id>}:`, `<...>` standing for a part."""
    type: str
    lifetime: str
    writer: str
    holds: str


CHAIN_KEYS: tuple[KeySpec, ...] = (
    # who may write
    KeySpec("lease:<role>", "string", "lease_s, renewed", "leases", "'<token> <owner>'"),
    KeySpec("fence:<role>", "string", "for ever", "leases", "the last token given out"),
    KeySpec(
        "origins",
        "hash",
        "for ever",
        "facts",
        "origin chain -> highest follower token that wrote records here",
    ),
    # the follower of this chain
    KeySpec("cursor", "hash", "for ever", "facts", "block, hash; floor; undo, over while undoing"),
    KeySpec(
        "followed",
        "hash",
        "for ever",
        "follower",
        "'<address> <topic0>' and '<route> <how it is read>' -> its first block",
    ),
    KeySpec("rescans", "hash", "until read", "anybody", "'<first>-<last>' -> next block to read"),
    KeySpec("rescans_failed", "hash", "until read", "follower", "'<first>-<last>' -> why not"),
    KeySpec("proof:<name>", "string", "30 days", "protocols", "a proof fetched ahead of its use"),
    KeySpec("scanned", "zset", "newest 512", "facts", "'<block> <hash>' of scanned blocks"),
    KeySpec(
        "facts",
        "zset",
        "back to the oldest scanned block",
        "facts",
        "what must be undone if a block is replaced, by block",
    ),
    KeySpec(
        "unconfirmed",
        "zset",
        "until the cursor passes",
        "leases, facts",
        "facts above the cursor a dead owner left, not yet seen again",
    ),
    KeySpec(
        "batches",
        "hash",
        "for ever",
        "facts",
        "origin chain -> number of the last batch of its records here, none missing before",
    ),
    KeySpec(
        "batches:<destination>",
        "zset",
        "newest 512",
        "facts",
        "'<number> <first block> <last block>' of the batches sent to that chain, by number",
    ),
    KeySpec("roots", "set", "for ever", "facts", "gates that have roots"),
    KeySpec("root:<gate>", "zset", "highest 4096", "facts", "accepted roots by level"),
    # trees of this chain as origin
    KeySpec("trees", "set", "for ever", "trees", "names of trees"),
    KeySpec("tree:<tree>", "hash", "for ever", "trees", "size, epoch"),
    KeySpec(
        "nodes:<tree>:<level>:<chunk>",
        "string",
        "for ever",
        "trees",
        "256 nodes of one level, 32 bytes a slot",
    ),
    KeySpec("leaves:<tree>", "hash", "until in the tree", "trees", "index -> leaf"),
    KeySpec(
        "leaf_blocks:<tree>",
        "zset",
        "back to the oldest scanned block",
        "trees",
        "'<first index> <block hash>' by block",
    ),
    # the lane that delivers to this chain
    KeySpec("routes", "set", "for ever", "facts", "routes seen by this lane"),
    KeySpec(
        "message:<id>",
        "hash",
        "retention after delivery; a stub (payment or delivery before the message) likewise",
        "facts, lane, operator",
        "one message and its walk",
    ),
    KeySpec("garbage", "hash", "the first 64", "facts", "id -> DUMP of what was no record"),
    KeySpec(
        "named:<id>",
        "string",
        "as the message's",
        "facts",
        "the id of the message that its inbox calls that",
    ),
    KeySpec(
        "status:<status>:<route>",
        "zset",
        "as its messages",
        "facts, lane, operator",
        "ids by seen_at, delivered ones by when that was",
    ),
    KeySpec("counts", "hash", "as its messages", "facts, lane, operator", "status reason route"),
    KeySpec("due:<route>", "zset", "while waiting", "facts, lane, operator", "ids by wake_at"),
    KeySpec("claimed", "zset", "while in hand", "lane", "ids a prover has claimed, by when"),
    KeySpec("turn", "string", "for ever", "lane", "which route is served first"),
    KeySpec("gates", "set", "while waited on", "lane", "gates that messages wait on"),
    KeySpec("gate:<gate>", "zset", "while waited on", "lane", "ids by gate value"),
    KeySpec("included", "zset", "while included", "lane", "ids by block"),
    KeySpec(
        "doubted",
        "zset",
        "newest 10 000, until looked at",
        "facts, lane",
        "ids that only a log made delivered, by when",
    ),
    KeySpec("tx:<hash>", "string", "as its messages", "facts, lane", "ids a transaction concerns"),
    KeySpec("sent", "zset", "retention", "lane", "hashes of our own transactions by time"),
    KeySpec(
        "intents:<signer>",
        "hash",
        "until settled",
        "lane",
        "'<nonce>' -> intent, '<nonce>:<n>' -> attempt",
    ),
    KeySpec("signers", "set", "while they have intents", "lane", "addresses that have intents"),
    KeySpec("income", "hash", "for ever", "lane", "route -> wei that inboxes paid us"),
    KeySpec("paid", "hash", "for ever", "lane", "route -> origin wei paid for what we delivered"),
    KeySpec("spent:<day>", "hash", "3 days", "lane", "budget -> gwei taken out of it that day"),
    KeySpec("times:<route>", "list", "newest 512", "facts, lane", "seconds our deliveries took"),
    KeySpec("cost", "hash", "for ever", "lane", "route -> 'wei gas transactions'"),
    # what is told about the lane's messages
    KeySpec("events", "stream", "about the newest 10 000", "facts, lane, operator", "transitions"),
    KeySpec("event_count", "string", "for ever", "facts, lane, operator", "number of the newest"),
    KeySpec("event_start", "string", "for ever", "facts, lane, operator", "number of the first"),
    KeySpec("webhook:<name>", "hash", "for ever", "notices", "at: event looked at last; lost"),
    KeySpec("notices:<webhook>", "hash", "until told", "notices", "event number -> notice"),
    KeySpec("notices_due:<webhook>", "zset", "until told", "notices", "event numbers by due time"),
    KeySpec("notices_dead:<webhook>", "list", "newest 1000", "notices", "notices given up"),
)

META_KEYS: tuple[KeySpec, ...] = (
    KeySpec("schema", "string", "for ever", "open", "SCHEMA_VERSION"),
    KeySpec("chains", "set", "for ever", "leases, facts", "ids of chains that have keys"),
    KeySpec("replicas", "set", "for ever", "sharing", "replicas at work, by their owner's name"),
    KeySpec("replica:<owner>", "string", "lease_s, renewed", "sharing", "places it would take"),
    # what operators do
    KeySpec("pauses", "hash", "until resumed", "operator", "'<kind> <name>' -> who, why, since"),
    KeySpec("audit", "stream", "newest 10000", "operator", "acts of operators"),
    KeySpec("strangers", "stream", "newest 1000", "operator", "requests without a valid token"),
)


def base(prefix: str, chain: ChainId | str) -> str:
    """What every key of a chain begins with; the braces are the Cluster hash tag."""
    return f"{prefix}:{{{chain}}}:"


def spec_of(prefix: str, key: str) -> KeySpec | None:
    """The row that describes a stored key, None when the table does not know it."""
    match = re.fullmatch(re.escape(prefix) + r":\{(\d+|meta)\}:(.+)", key, re.DOTALL)
    if match is None:
        return None
    rows = META_KEYS if match[1] == META else CHAIN_KEYS
    for row in rows:
        pattern = re.sub(r"<\w+>", ".+", re.sub(r"([^\w<>:])", r"\\\1", row.name))
        if re.fullmatch(pattern, match[2], re.DOTALL):
            return row
    return None
