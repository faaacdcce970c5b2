"""A follower, its sweep and its auditor on a real store over a pretended chain and bridge."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from relayer.adapter import Adapter, EmptyRule, Log, LogSource, TreeShape, TreeSpec, TreeTruth
from relayer.chains import ChainClient
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import (
    Address,
    BlockNumber,
    BridgeName,
    ChainId,
    DeliverySeen,
    Fact,
    LeafAdded,
    Message,
    MessageId,
    MessageSeen,
    Route,
    Timestamp,
    TreeId,
)
from relayer.ops.metrics import Metrics
from relayer.pipeline.auditor import Auditor
from relayer.pipeline.follower import Follower
from relayer.pipeline.forest import Forest
from relayer.pipeline.sweep import Sweep
from relayer.store import Lease, Store
from relayer.trees import append_only
from tests.redis.conftest import Clock
from tests.unit.chain_node import CHAIN, OUTBOX, TOPIC, Node, client_of, log

SEVEN, TEN, TWENTY = ChainId(CHAIN), ChainId(10), ChainId(20)
TREE = TreeId("pretended/seven")
SHAPE = TreeShape(EmptyRule.LADDER, 32)
MESSAGE, LEAF, DELIVERY, MALFORMED = 1, 2, 3, 4
FINAL = 90
"""The node's newest final block at its first head."""


def id_of(number: int) -> MessageId:
    return MessageId(f"0x{number:064x}")


def leaf_of(index: int, salt: int = 0) -> bytes:
    return keccak256(f"{salt} {index}".encode())


def said(kind: int, number: int, *, block: int, more: int = 0, fork: int = 0) -> dict[str, Any]:
    """A log of the bridge: a message to chain `more`, a leaf with salt `more`, a delivery."""
    text = "0x" + bytes([kind, more]).hex() + f"{number:060x}"
    return log(block, number, fork, data=text)


class Bridge:
    """`adapter.Adapter` as far as followers and auditors ask it."""

    def __init__(self, *destinations: ChainId, start: int = 1, reading: str = "") -> None:
        self.name = BridgeName("pretended")
        self.destinations = destinations or (TEN, TWENTY)
        self.start = BlockNumber(start)
        self.reading = reading
        self.truths: list[TreeTruth] = []

    def routes(self) -> Sequence[Route]:
        return [Route(self.name, SEVEN, to) for to in self.destinations]

    def sources(self) -> Sequence[LogSource]:
        return [LogSource(SEVEN, (Address(OUTBOX),), (TOPIC,), self.start, self.reading)]

    def trees(self) -> Sequence[TreeSpec]:
        return [TreeSpec(TREE, SEVEN, SHAPE)]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        return [fact for one in logs for fact in self._facts(one)]

    def _facts(self, one: Log) -> list[Fact]:
        kind, more, number = one.data[0], one.data[1], int.from_bytes(one.data[2:], "big")
        match kind:
            case 1 if ChainId(more) in self.destinations:
                route = Route(self.name, SEVEN, ChainId(more))
                fields = {"sender": "0xaa", "recipient": "0xbb", "nonce": number, "body": b"b"}
                return [
                    MessageSeen(Message(id_of(number), route, payload=b"b", at=one.at, **fields))
                ]
            case 2:
                return [LeafAdded(TREE, number, leaf_of(number, more), one.at)]
            case 3:
                return [DeliverySeen(id_of(number), one.at)]
            case 4:
                raise BadChainData("malformed")
        return []

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        return self.truths

    def says(self, size: int, *, block: int = FINAL, salt: int = 0) -> None:
        """Let the contract have so many leaves."""
        leaves = [leaf_of(index, salt) for index in range(size)]
        root = append_only.root(SHAPE, size, append_only.build(SHAPE, leaves))
        self.truths = [TreeTruth(TREE, BlockNumber(block), size, root)]


@dataclass
class FollowerWorld:
    """All of one chain's follower side."""

    node: Node
    bridge: Bridge
    store: Store
    forest: Forest
    metrics: Metrics
    follower: Follower
    sweep: Sweep
    auditor: Auditor
    lines: list[Any]

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            await self.follower.tick()

    async def settle(self) -> None:
        """Tick until there is nothing more to do at once."""
        for _ in range(50):
            if not await self.follower.tick():
                return
        raise AssertionError("the follower finds no end")

    def told(self, event: str) -> list[Any]:
        return [line for line in self.lines if line["event"] == event]

    def counted(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    async def knows(self, *numbers: int) -> list[bool]:
        return [await self.store.get(id_of(number)) is not None for number in numbers]


@contextlib.asynccontextmanager
async def following(
    node: Node,
    *,
    store: Store,
    lease: Lease,
    clock: Clock,
    bridge: Bridge | None = None,
    **settings: Any,
) -> AsyncIterator[FollowerWorld]:
    """The agents under a lease that the test holds; what they log is kept."""
    spoken = bridge or Bridge()
    async with client_of(node, **settings) as chain:
        with structlog.testing.capture_logs() as lines:
            yield _world(chain, node, spoken, store=store, lease=lease, clock=clock, lines=lines)


def _world(
    chain: ChainClient,
    node: Node,
    bridge: Bridge,
    *,
    store: Store,
    lease: Lease,
    clock: Clock,
    lines: list[Any],
) -> FollowerWorld:
    adapters: list[Adapter] = [bridge]  # type: ignore[list-item]
    forest, metrics = Forest(store, bridge.trees()), Metrics()

    def now() -> Timestamp:
        return Timestamp(clock())

    follower = Follower(
        chain=chain,
        adapters=adapters,
        store=store,
        forest=forest,
        lease=lease,
        metrics=metrics,
        on_facts=lambda facts: None,
        now=now,
    )
    sweep = Sweep(chain=chain, store=store, follower=follower, metrics=metrics, now=now)
    auditor = Auditor(
        chain=SEVEN,
        adapters=adapters,
        store=store,
        forest=forest,
        follower=follower,
        sweep=sweep,
        metrics=metrics,
        now=now,
    )
    return FollowerWorld(node, bridge, store, forest, metrics, follower, sweep, auditor, lines)
