"""Follows one chain for every bridge on it: final blocks -> logs -> facts, then the cursor moves.

Nothing is lost because the cursor moves only after everything below it is stored; nothing is
believed that a replaced block said because every pass first checks that the block it stands on is
still the chain's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import structlog

from relayer.adapter import Adapter, Header, Log, LogSource
from relayer.chains import ChainClient
from relayer.errors import BadChainData, RangeTooWide, ReorgTooDeep
from relayer.message import (
    BlockHash,
    BlockNumber,
    ChainId,
    Fact,
    LeafAdded,
    MessageSeen,
    PaymentSeen,
    ProgressSeen,
    Timestamp,
)
from relayer.ops.metrics import Metrics
from relayer.pipeline.forest import Forest
from relayer.store import Cursor, Lease, SaveResult, Store

GROW_AFTER = 8
"""Successful full ranges before the range is doubled again after a refusal."""


class LogRange:
    """Blocks per `eth_getLogs`: halves when a provider refuses, grows back slowly."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._good = 0
        self.size = largest

    def refused(self) -> None:
        self.size = max(1, self.size // 2)
        self._good = 0

    def accepted(self) -> None:
        self._good += 1
        if self._good >= GROW_AFTER and self.size < self._largest:
            self.size = min(self._largest, self.size * 2)
            self._good = 0


class Follower:
    """The only component that follows a chain; call `tick()` under its lease."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        adapters: Sequence[Adapter],
        store: Store,
        forest: Forest,
        lease: Lease,
        metrics: Metrics,
        on_facts: Callable[[Sequence[Fact]], None],
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._sources = sources_on(chain.chain_id, adapters)
        self._store = store
        self._forest = forest
        self._lease = lease
        self._metrics = metrics
        self._on_facts = on_facts
        self._now = now
        self._range = LogRange(chain.settings.max_log_range)
        self._log = structlog.get_logger("relayer").bind(agent=self.name, chain=chain.name)

    @property
    def name(self) -> str:
        return f"follower:{self._chain.name}"

    async def tick(self) -> bool:
        """Scan one range of final blocks; True when more final blocks wait."""
        head, final = await self._chain.tip()
        cursor = await self._standing(final)
        last = BlockNumber(min(final.number, cursor.block + self._range.size))
        if last > cursor.block:
            try:
                header = await self.ingest(BlockNumber(cursor.block + 1), last)
            except RangeTooWide:
                self._range.refused()
                return True
            self._range.accepted()
            await self._store.advance(self._lease, Cursor(last, header.hash))
        self._metrics.chain(self._chain.name, head.number, final.number, last)
        return last < final.number

    async def ingest(self, first: BlockNumber, last: BlockNumber) -> Header:
        """Read, decode and store the facts of an inclusive range of final blocks (idempotent)."""
        addresses = sorted({a for _, source in self._sources for a in source.addresses})
        topics = sorted({t for _, source in self._sources for t in source.topics})
        logs, header = await self._chain.scan(first, last, addresses=addresses, topics=[topics])
        facts = [
            fact
            for adapter, source in self._sources
            for fact in self._decode(adapter, logs_of(source, logs))
        ]
        leaves = [fact for fact in facts if isinstance(fact, LeafAdded)]
        others = [fact for fact in facts if not isinstance(fact, LeafAdded)]
        if leaves:
            await self._forest.grow(self._lease, leaves)
        if others:
            saved = await self._store.save_facts(self._lease, others)
            self._observe(saved)
            self._log.info("facts_stored", first=first, last=last, facts=len(facts))
        if facts:
            self._on_facts(facts)
        return header

    def _observe(self, saved: SaveResult) -> None:
        for delivery in saved.new_deliveries:
            age_s = self._now() - delivery.seen_at
            self._metrics.stage(delivery.route, "seen_to_delivered", age_s)
        for key in saved.unreadable:
            self._log.error("record_unreadable", key=key[:300])

    def _decode(self, adapter: Adapter, logs: Sequence[Log]) -> list[Fact]:
        """Decode all; when something is malformed, lose only the transaction that holds it."""
        try:
            return adapter.decode(logs)
        except BadChainData:
            facts: list[Fact] = []
        by_tx: dict[str, list[Log]] = {}
        for log in logs:
            by_tx.setdefault(log.at.tx, []).append(log)
        for tx, group in by_tx.items():
            try:
                facts.extend(adapter.decode(group))
            except BadChainData as error:
                self._metrics.undecodable(self._chain.name, adapter.name)
                self._log.error("logs_undecodable", bridge=adapter.name, tx=tx, error=str(error))
        return facts

    async def _standing(self, final: Header) -> Cursor:
        """Where we stand, after undoing blocks that the chain no longer has."""
        cursor = await self._store.cursor(self._lease.chain)
        if cursor is None:
            start = min((source.start_block for _, source in self._sources), default=final.number)
            return Cursor(BlockNumber(max(0, start) - 1), BlockHash(""))
        if not cursor.hash or cursor.block > final.number:
            return cursor
        if await self._is_canonical(cursor, final):
            return cursor
        ancestor = await self._common_ancestor(final)
        await self._store.rollback(self._lease, ancestor)
        self._log.error("reorg_below_finality", replaced=cursor.block, back_to=ancestor.block)
        self._metrics.reorg(self._chain.name)
        return ancestor

    async def _is_canonical(self, cursor: Cursor, final: Header) -> bool:
        if cursor.block == final.number:
            return cursor.hash == final.hash
        return cursor.hash == (await self._chain.header(cursor.block)).hash

    async def _common_ancestor(self, final: Header) -> Cursor:
        for past in await self._store.remembered(self._lease.chain):
            if past.block <= final.number and await self._is_canonical(past, final):
                return past
        raise ReorgTooDeep(
            f"chain {self._chain.name}: none of the remembered blocks is on the chain any more;"
            " check that the endpoints serve the right chain, then rebuild from an empty store"
        )


def sources_on(chain: ChainId, adapters: Iterable[Adapter]) -> list[tuple[Adapter, LogSource]]:
    """Every bridge's log sources on one chain."""
    return [
        (adapter, source)
        for adapter in adapters
        for source in adapter.sources()
        if source.chain == chain
    ]


def logs_of(source: LogSource, logs: Sequence[Log]) -> list[Log]:
    """The logs one bridge asked for: topic0 AND address must match (topics are shared names)."""
    return [
        log
        for log in logs
        if log.address in source.addresses and log.topics and log.topics[0] in source.topics
    ]


def destinations(facts: Sequence[Fact]) -> set[ChainId]:
    """Chains whose lanes have something to look at because of these facts."""
    found: set[ChainId] = set()
    for fact in facts:
        if isinstance(fact, MessageSeen):
            found.add(fact.message.route.destination)
        elif isinstance(fact, PaymentSeen | ProgressSeen):
            found.add(fact.destination)
    return found
