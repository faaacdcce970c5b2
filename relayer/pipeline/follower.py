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
from relayer.errors import BadChainData, RangeTooWide
from relayer.message import (
    BlockHash,
    BlockNumber,
    ChainId,
    Fact,
    LeafAdded,
    MessageSeen,
    PaymentSeen,
    ProgressSeen,
    RootSeen,
    Timestamp,
)
from relayer.ops.metrics import Metrics
from relayer.ops.traces import Traces
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
        traces: Traces | None = None,
    ) -> None:
        self._chain = chain
        self._sources = sources_on(chain.chain_id, adapters)
        self._store = store
        self._forest = forest
        self._lease = lease
        self._metrics = metrics
        self._on_facts = on_facts
        self._now = now
        self._traces = traces
        self._range = LogRange(chain.settings.max_log_range)
        self._adopted = False
        self._log = structlog.get_logger("relayer").bind(agent=self.name, chain=chain.name)

    @property
    def name(self) -> str:
        return f"follower:{self._chain.name}"

    async def tick(self) -> bool:
        """Scan one range of final blocks, and read one again that was asked for; True when
        there is more of either.
        """
        head, final = await self._chain.tip()
        cursor = await self._standing(final)
        if not self._adopted:
            await self._adopt(cursor)
            self._adopted = True
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
        more = await self.rescan(final.number)
        return more or last < final.number

    async def rescan(self, final: BlockNumber) -> bool:
        """Read one part of the lowest range asked for, up to `final`; True when there was one."""
        due = [one for one in await self._store.rescans(self._lease.chain) if one.at <= final]
        if not due:
            return False
        rescan = due[0]
        last = BlockNumber(min(rescan.last, final, rescan.at + self._range.size - 1))
        try:
            await self.ingest(rescan.at, last)
        except RangeTooWide:
            self._range.refused()
            return True
        await self._store.note_rescanned(self._lease, rescan, last)
        self._log.info("blocks_read_again", first=rescan.at, last=last, of=rescan.name)
        return True

    async def _adopt(self, cursor: Cursor) -> None:
        """Have the blocks read that a bridge new here wants and that were passed without it."""
        wanted: dict[str, BlockNumber] = {}
        for _, source in self._sources:
            for name in source_names(source):
                wanted[name] = min(source.start_block, wanted.get(name, source.start_block))
        followed = await self._store.followed(self._lease.chain)
        missed = {
            name: start
            for name, start in wanted.items()
            if name not in followed or start < followed[name]
        }
        if not missed:
            return
        first = BlockNumber(min(missed.values()))
        if cursor.hash and first <= cursor.block:
            await self._store.ask_rescan(self._lease.chain, first, cursor.block)
            self._log.warning("bridge_added", reads_again_from=first, to=cursor.block)
        await self._store.note_followed(self._lease, missed)

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
            await self._observe(saved)
            self._log.info("facts_stored", first=first, last=last, facts=len(facts))
        if facts:
            self._on_facts(facts)
        return header

    async def _observe(self, saved: SaveResult) -> None:
        for delivery in saved.new_deliveries:
            age_s = self._now() - delivery.seen_at
            self._metrics.stage(delivery.route, "seen_to_delivered", age_s)
        for key in saved.unreadable:
            self._log.error("record_unreadable", key=key[:300])
        if self._traces is not None and saved.new_deliveries:
            ids = [delivery.id for delivery in saved.new_deliveries]
            self._traces.note_delivered(await self._store.get_many(ids, chain=self._lease.chain))

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
            return self._before_start(final)
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
        """The newest remembered block that is still the chain's, else the block before all.

        Raises `ReorgTooDeep` (from the store) when facts were made in blocks forgotten since.
        """
        for past in await self._store.remembered(self._lease.chain):
            if past.block <= final.number and await self._is_canonical(past, final):
                return past
        return self._before_start(final)

    def _before_start(self, final: Header) -> Cursor:
        start = min((source.start_block for _, source in self._sources), default=final.number)
        return Cursor(BlockNumber(max(0, start) - 1), BlockHash(""))


def sources_on(chain: ChainId, adapters: Iterable[Adapter]) -> list[tuple[Adapter, LogSource]]:
    """Every bridge's log sources on one chain."""
    return [
        (adapter, source)
        for adapter in adapters
        for source in adapter.sources()
        if source.chain == chain
    ]


def source_names(source: LogSource) -> list[str]:
    """What a source follows, one name for each address and topic."""
    return [f"{at} 0x{topic.hex()}" for at in source.addresses for topic in source.topics]


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
        elif isinstance(fact, RootSeen):
            found.add(fact.at.chain)
    return found
