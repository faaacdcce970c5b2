"""Compares what we stored with the chain's own count and root of each tree, and heals both.

A tree that lacks leaves is filled from the blocks below the audited one. A tree with another root
has all its blocks read again, which puts a wrong leaf right; if that was not it, the tree is built
anew. What does not help is tried again after a pause that grows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from relayer.adapter import Adapter, TreeTruth
from relayer.errors import Fatal, LeaseLost, RangeTooWide, RelayerError
from relayer.message import BlockNumber, ChainId, Timestamp, TreeId
from relayer.ops.metrics import Metrics
from relayer.pipeline.follower import Follower
from relayer.pipeline.forest import Forest
from relayer.pipeline.sweep import Sweep
from relayer.store import Store

HEAL_RANGE = 1000
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0
"""Between two attempts to put the same tree right: doubled each time."""
CURSOR_LOOKS, CURSOR_LOOK_S = 50, 0.2


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a tree could not be put right, and when to try again."""

    count: int = 0
    not_before: Timestamp = Timestamp(0.0)

    def another(self, now: Timestamp) -> Attempts:
        """One more that may not have helped."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.count, 10))
        return Attempts(self.count + 1, Timestamp(now + pause_s))


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
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._adapters = adapters
        self._store = store
        self._forest = forest
        self._follower = follower
        self._sweep = sweep
        self._metrics = metrics
        self._now = now
        self._attempts: dict[TreeId, Attempts] = {}
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
                truths = await adapter.truth(self._chain)
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
            if await self._may_try(truth):
                await self._heal(adapter, truth)
            return
        self._metrics.audit_gap(truth.tree, 0)
        if truth.root is None or truth.size == 0 or await self._is_same(truth, truth.root):
            self._attempts.pop(truth.tree, None)
        elif await self._may_try(truth):
            await self._rebuild(adapter, truth)

    async def _is_same(self, truth: TreeTruth, expected: bytes) -> bool:
        """Whether our root is the contract's; a difference is told."""
        (root,) = await self._forest.roots(truth.tree, [truth.size])
        if root == expected:
            return True
        self._log.error(
            "root_mismatch", tree=truth.tree, size=truth.size, stored=root.hex(),
            chain=expected.hex(),
        )  # fmt: skip
        self._metrics.audit_mismatch(truth.tree)
        return False

    async def _may_try(self, truth: TreeTruth) -> bool:
        """Not while the last attempt rests, nor while blocks with leaves are being read again."""
        attempts = self._attempts.get(truth.tree, Attempts())
        if self._now() < attempts.not_before:
            return False
        asked = await self._store.rescans(self._chain)
        return not any(one.at <= truth.block and not one.failure for one in asked)

    async def _rebuild(self, adapter: Adapter, truth: TreeTruth) -> None:
        """Have the tree's blocks read again; when that did not help before, from an empty tree."""
        attempts = self._attempts.get(truth.tree, Attempts())
        self._attempts[truth.tree] = attempts.another(self._now())
        if attempts.count:
            await self._follower.cut(truth.tree)
        await self._follower.reread_from(BlockNumber(self._starts[adapter.name]))
        self._log.error("tree_read_again", tree=truth.tree, from_nothing=attempts.count > 0)

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
                await self._follower.ingest(BlockNumber(first), BlockNumber(last), leaves_last=True)
            except RangeTooWide:
                if step == 1:
                    raise
                step //= 2
                continue
            last = first - 1
        size = await self._forest.size(truth.tree)
        if size >= truth.size:
            self._attempts.pop(truth.tree, None)
            self._log.warning("leaves_healed", tree=truth.tree, stored=size, chain=truth.size)
            return
        attempts = self._attempts.get(truth.tree, Attempts()).another(self._now())
        self._attempts[truth.tree] = attempts
        self._log.error(
            "leaves_not_found", tree=truth.tree, leaf=size, chain=truth.size,
            why=f"no block from start_block {start} to {truth.block} has leaf {size}:"
            f" start_block {start} is after leaf {size}, or an endpoint leaves logs out",
            again_in_s=round(attempts.not_before - self._now()),
        )  # fmt: skip
