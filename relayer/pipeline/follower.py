"""Follows one chain for every bridge on it: final blocks -> logs -> facts, then the cursor moves.

Nothing is lost because the cursor moves only after everything below it is stored; nothing is
believed that a replaced block said because every pass first checks that the block it stands on is
still the chain's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from relayer.adapter import Adapter, Header, Log, LogSource
from relayer.chains import ChainClient
from relayer.errors import BadChainData, IllegalTransition, RangeTooWide
from relayer.message import (
    BlockNumber,
    ChainId,
    Fact,
    LeafAdded,
    MessageSeen,
    PaymentSeen,
    ProgressSeen,
    RootSeen,
    Timestamp,
    TreeId,
)
from relayer.ops.metrics import Metrics
from relayer.ops.traces import Traces
from relayer.pipeline.forest import Forest
from relayer.pipeline.log_range import LogRange
from relayer.pipeline.rereading import Rereading
from relayer.pipeline.standing import Standing
from relayer.store import Cursor, Lease, SaveResult, Store


@dataclass(frozen=True, slots=True)
class Ingested:
    """What reading a range came to."""

    last: Header
    new_messages: int
    """Messages that had no record yet."""


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
        self._rereading = Rereading(
            name=chain.name,
            store=store,
            lease=lease,
            metrics=metrics,
            followed=followed_names(chain.chain_id, self._sources),
            ingest=self.ingest,
            blocks=self._range,
            now=now,
        )
        self._standing = Standing(chain=chain, store=store, lease=lease, metrics=metrics, now=now)
        self._adopted = False
        self._settled = False
        self._log = structlog.get_logger("relayer").bind(agent=self.name, chain=chain.name)

    @property
    def name(self) -> str:
        return f"follower:{self._chain.name}"

    async def tick(self) -> bool:
        """Scan one range of final blocks, and read one again that was asked for; True when
        there is more of either.
        """
        head, final = await self._chain.tip()
        cursor = await self._standing.look(final, self._rereading.start)
        if not self._adopted:
            self._adopted = await self._rereading.adopt(cursor)
        await self._rereading.look_for_losses(cursor, at_once=not self._settled)
        self._settled = False
        last = BlockNumber(min(final.number, cursor.block + self._range.size))
        if last > cursor.block:
            try:
                read = await self.ingest(BlockNumber(cursor.block + 1), last)
            except RangeTooWide:
                self._range.refused()
                return True
            self._range.accepted()
            await self._store.advance(self._lease, Cursor(last, read.last.hash))
        self._settled = True
        self._metrics.chain(self._chain.name, head.number, final.number, max(last, cursor.block))
        more = await self.rescan(final.number)
        return more or last < final.number

    async def rescan(self, final: BlockNumber) -> bool:
        """Read one part of a range asked for, up to `final`; True when there was one."""
        return await self._rereading.read_next(final)

    @property
    def start(self) -> BlockNumber:
        """The first block that any bridge wants of the chain."""
        return self._rereading.start or BlockNumber(0)

    async def ingest(
        self, first: BlockNumber, last: BlockNumber, *, leaves_last: bool = False
    ) -> Ingested:
        """Read, decode and store the facts of an inclusive range of final blocks (idempotent).

        Leaves come first, so that a message never waits for its own; `leaves_last` is for a caller
        that takes a leaf in the tree as the sign that its block has been read.
        """
        addresses = sorted({a for _, source in self._sources for a in source.addresses})
        topics = sorted({t for _, source in self._sources for t in source.topics})
        as_of = self._store.undone(self._lease.chain)
        logs, header = await self._chain.scan(first, last, addresses=addresses, topics=[topics])
        facts = [
            fact
            for adapter, source in self._sources
            for fact in self._decode(adapter, logs_of(source, logs))
        ]
        leaves = [fact for fact in facts if isinstance(fact, LeafAdded)]
        others = [fact for fact in facts if not isinstance(fact, LeafAdded)]
        if not leaves_last:
            await self._grow(leaves, as_of=as_of)
        saved = await self._store.save_facts(self._lease, others, as_of=as_of)
        if leaves_last:
            await self._grow(leaves, as_of=as_of)
        await self._observe(saved)
        if saved.changed:
            self._log.info("facts_stored", first=first, last=last, facts=len(facts))
        if facts:
            self._on_facts(facts)
        return Ingested(header, len(saved.new_messages))

    async def _grow(self, leaves: Sequence[LeafAdded], *, as_of: int) -> None:
        """Grow the trees; one that fails or changes stops neither the others nor other facts."""
        self._store.require_still(self._lease.chain, as_of)
        if not leaves:
            return
        grown = await self._forest.grow(self._lease, leaves)
        for tree, error in grown.failed.items():
            self._log.error("tree_failed", tree=tree, kind=error.label, error=str(error)[:300])
            self._metrics.agent_failed(self.name, error.label)
        for leaf in grown.replaced:
            self._log.error("leaf_replaced", tree=leaf.tree, index=leaf.index, block=leaf.at.block)
            self._metrics.leaf_replaced(leaf.tree)
            await self.reread_from(leaf.at.block)

    async def reread_from(self, block: BlockNumber) -> None:
        """Have all blocks from this one to the cursor read again."""
        cursor = await self._store.cursor(self._lease.chain)
        if cursor is None:
            return
        try:
            await self._rereading.ask(block, cursor)
        except IllegalTransition as error:  # the auditor finds what the tree lacks all the same
            self._log.warning("not_read_again", first=block, error=str(error))

    async def cut(self, tree: TreeId) -> None:
        """Forget a tree's leaves; the blocks that hold them must be read again."""
        await self._store.truncate_tree(self._lease, tree, 0)

    async def _observe(self, saved: SaveResult) -> None:
        for delivery in saved.new_deliveries:
            age_s = self._now() - delivery.seen_at
            self._metrics.stage(delivery.route, "seen_to_delivered", age_s)
        for key in saved.unreadable:
            self._log.error("record_unreadable", key=key[:300])
        if saved.contradicted:
            self._log.error(
                "messages_read_otherwise",
                count=len(saved.contradicted),
                message_id=saved.contradicted[0],
            )
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


def sources_on(chain: ChainId, adapters: Iterable[Adapter]) -> list[tuple[Adapter, LogSource]]:
    """Every bridge's log sources on one chain."""
    return [
        (adapter, source)
        for adapter in adapters
        for source in adapter.sources()
        if source.chain == chain
    ]


def followed_names(
    chain: ChainId, sources: Iterable[tuple[Adapter, LogSource]]
) -> dict[str, BlockNumber]:
    """All that is read on a chain by name, each address with each topic and each route, and from
    which block: what is new among the names was passed without being read.
    """
    starts: dict[str, BlockNumber] = {}
    for adapter, source in sources:
        names = [f"{at} 0x{topic.hex()}" for at in source.addresses for topic in source.topics]
        names += [
            f"{route} {source.reading}".rstrip()
            for route in adapter.routes()
            if chain in (route.origin, route.destination)
        ]
        for name in names:
            starts[name] = min(source.start_block, starts.get(name, source.start_block))
    return starts


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
