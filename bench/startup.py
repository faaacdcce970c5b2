"""How long a start takes with a million stored leaves and ten thousand waiting messages.

The state is made through the store's own writes; what is timed is a new process's work: open the
store, know the tree's size, prove a leaf against the newest root, and claim the first messages.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relayer.adapter import EmptyRule, TreeShape, TreeSpec, Wait
from relayer.keccak import keccak256
from relayer.message import (
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    Gate,
    LeafAdded,
    LogRef,
    Message,
    MessageId,
    MessageSeen,
    Reason,
    Route,
    TreeId,
    TxHash,
)
from relayer.pipeline.forest import Forest
from relayer.settings import RedisSettings
from relayer.store import Role, Store

LEAVES = 1_000_000
WAITING = 10_000
STEP = 4096
ORIGIN, DESTINATION = ChainId(1), ChainId(2)
BRIDGE = BridgeName("bench")
SPEC = TreeSpec(TreeId("bench"), ORIGIN, TreeShape(EmptyRule.LADDER, 32))


async def measure() -> dict[str, Any]:
    """Seconds of a start, and of making the state it starts with."""
    with tempfile.TemporaryDirectory(prefix="relayer-bench-") as directory:
        path = Path(directory)
        began = time.perf_counter()
        await _fill(path)
        filled = time.perf_counter()
        memory, started_s = await _start(path)
        return {
            "leaves": LEAVES,
            "waiting_messages": WAITING,
            "fill_s": round(filled - began, 2),
            "start_s": round(started_s, 3),
            "redis_bytes": memory,
        }


async def _fill(path: Path) -> None:
    store = await Store.open(RedisSettings(), path, clock=time.time)
    try:
        lease = await store.acquire(ORIGIN, Role.FOLLOWER, "bench")
        assert lease is not None
        forest = Forest(store, [SPEC])
        for first in range(0, LEAVES, STEP):
            count = min(STEP, LEAVES - first)
            await forest.grow(lease, list(_leaves(first, count)))
            await store.renew(lease)
        for first in range(0, WAITING, 500):
            await store.save_facts(lease, [MessageSeen(one) for one in _messages(first, 500)])
        lane = await store.acquire(DESTINATION, Role.LANE, "bench")
        assert lane is not None
        gate = Gate(BRIDGE, "quorum")
        wait = Wait(Reason.AWAITING_QUORUM, gate=gate, gate_value=2 * LEAVES, recheck_s=3600)
        while records := await store.claim_due(lane, time.time(), limit=500, visibility_s=60):
            await store.note_waits(lane, [(record.id, wait) for record in records])
        await store.release_lease(lane)
        await store.release_lease(lease)
    finally:
        await store.aclose()


async def _start(path: Path) -> tuple[int, float]:
    began = time.perf_counter()
    store = await Store.open(RedisSettings(), path, clock=time.time)
    try:
        forest = Forest(store, [SPEC])
        size = await forest.size(SPEC.id)
        assert size == LEAVES
        await forest.roots(SPEC.id, [size])
        await forest.proofs(SPEC.id, [(index, size) for index in range(0, size, size // 100)])
        lane = await store.acquire(DESTINATION, Role.LANE, "bench")
        assert lane is not None
        assert await store.waiting_gates(DESTINATION)
        await store.claim_due(lane, time.time(), limit=200, visibility_s=60)
        took = time.perf_counter() - began
        memory = await store.memory()
        return memory.used, took
    finally:
        await store.aclose()


def _at(number: int) -> LogRef:
    block = BlockNumber(1 + number // STEP)
    digest = BlockHash("0x" + keccak256(block.to_bytes(8, "big")).hex())
    return LogRef(ORIGIN, block, digest, TxHash(f"0x{number:064x}"), number % STEP)


def _leaves(first: int, count: int) -> Iterator[LeafAdded]:
    for index in range(first, first + count):
        yield LeafAdded(SPEC.id, index, keccak256(index.to_bytes(8, "big")), _at(index))


def _messages(first: int, count: int) -> Iterator[Message]:
    for number in range(first, first + count):
        yield Message(
            id=MessageId("0x" + keccak256(number.to_bytes(8, "big")).hex()),
            route=Route(BRIDGE, ORIGIN, DESTINATION),
            sender="0x" + "aa" * 20,
            recipient="0x" + "bb" * 20,
            nonce=number,
            body=b"b" * 100,
            payload=b"p" * 177,
            at=_at(number),
            tree=SPEC.id,
            leaf_index=number,
        )


if __name__ == "__main__":
    print(asyncio.run(measure()))
