"""Compares what we stored with the chain's own count and root of each tree, and heals gaps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import structlog

from relayer.adapter import Adapter, TreeTruth
from relayer.errors import Fatal, LeaseLost, RangeTooWide, RelayerError
from relayer.message import BlockNumber, ChainId
from relayer.ops.metrics import Metrics
from relayer.pipeline.follower import Follower
from relayer.pipeline.forest import Forest
from relayer.pipeline.sweep import Sweep
from relayer.store import Store

HEAL_RANGE = 1000
CURSOR_LOOKS, CURSOR_LOOK_S = 50, 0.2


class Auditor:
    """Audits the trees of one origin chain, under the same lease as its follower."""

    def __init__(
        self,
        *,
        chain: ChainId,
        adapters: Sequence[Adapter],
        store: Store,
        forest: Forest,
        follower: Follower,
        sweep: Sweep,
        metrics: Metrics,
    ) -> None:
        self._chain = chain
        self._adapters = adapters
        self._store = store
        self._forest = forest
        self._follower = follower
        self._sweep = sweep
        self._metrics = metrics
        self._starts: Mapping[str, int] = {
            adapter.name: min(
                (s.start_block for s in adapter.sources() if s.chain == chain), default=0
            )
            for adapter in adapters
        }
        self._log = structlog.get_logger("relayer").bind(agent=self.name)

    @property
    def name(self) -> str:
        return f"auditor:{self._chain}"

    async def tick(self) -> bool:
        """Audit every tree of this chain once, and read one range of old blocks again."""
        for adapter in self._adapters:
            truths: Sequence[TreeTruth] = ()
            with self._apart(adapter.name):
                truths = await adapter.truth()
            for truth in truths:
                with self._apart(truth.tree):
                    await self._audit(adapter, truth)
        with self._apart("blocks of the last days"):
            await self._sweep.turn()
        return False

    @contextlib.contextmanager
    def _apart(self, subject: str) -> Iterator[None]:
        """Tell a failure and go on with the next tree; what ends our tenure passes."""
        try:
            yield
        except (LeaseLost, Fatal):
            raise
        except Exception as error:  # noqa: BLE001 - one tree or bridge must not stop the others
            label = error.label if isinstance(error, RelayerError) else "crash"
            self._log.warning("audit_failed", of=subject, kind=label, error=repr(error)[:300])
            self._metrics.agent_failed(self.name, label)

    async def _audit(self, adapter: Adapter, truth: TreeTruth) -> None:
        if self._forest.spec(truth.tree).chain != self._chain:
            return
        if not await self._have_read(truth.block):
            return
        size = await self._forest.size(truth.tree)
        self._metrics.tree(truth.tree, size)
        if size < truth.size:
            self._metrics.audit_gap(truth.tree, truth.size - size)
            self._log.error("leaves_missing", tree=truth.tree, stored=size, chain=truth.size)
            await self._heal(adapter, truth)
            return
        self._metrics.audit_gap(truth.tree, 0)
        if truth.root is None or truth.size == 0:
            return
        (root,) = await self._forest.roots(truth.tree, [truth.size])
        if root != truth.root:
            self._log.error(
                "root_mismatch", tree=truth.tree, size=truth.size, stored=root.hex(),
                chain=truth.root.hex(),
            )  # fmt: skip
            self._metrics.audit_mismatch(truth.tree)

    async def _have_read(self, block: BlockNumber) -> bool:
        """The chain's word is as new as its final block, which the follower is about to read."""
        for _ in range(CURSOR_LOOKS):
            cursor = await self._store.cursor(self._chain)
            if cursor is not None and cursor.block >= block:
                return True
            await asyncio.sleep(CURSOR_LOOK_S)
        return False

    async def _heal(self, adapter: Adapter, truth: TreeTruth) -> None:
        """Read backwards from the audited block until the tree is whole again."""
        start = self._starts[adapter.name]
        last, step = int(truth.block), HEAL_RANGE
        while last >= start and await self._forest.size(truth.tree) < truth.size:
            first = max(start, last - step + 1)
            try:
                await self._follower.ingest(BlockNumber(first), BlockNumber(last))
            except RangeTooWide:
                if step == 1:
                    raise
                step //= 2
                continue
            last = first - 1
        size = await self._forest.size(truth.tree)
        self._log.warning("leaves_healed", tree=truth.tree, stored=size, chain=truth.size)
