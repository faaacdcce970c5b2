"""Finds how many leaves an accepted root covers. No contract says so, so our tree is searched.

Batches without messages repeat the root of the one before, and roots only ever grow: the search
goes up from the size last found, or down from the newest leaf when none was found yet, in pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relayer.adapter import RootReader, TreeReader
from relayer.message import ChainId, Gate, Timestamp, TreeId
from relayer.protocols.scroll.missed import MissedRoots, Told

PAGE = 512
"""Roots computed between two turns of the event loop."""
PAGES = 8
"""Pages searched in one go."""
AFRESH_S = 120.0
"""A search that ended without a find starts anew after this long: leaves may have changed."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A root that the destination accepted and that our own tree has."""

    batch: int
    """The batch that it is stored under."""
    root: bytes
    size: int
    """Leaves it covers."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A root that the destination accepted and that our own tree does not have."""

    batch: int
    tree_size: int
    searched: bool
    """All sizes were tried (else the search goes on)."""


@dataclass(slots=True)
class _Search:
    """Sizes in [low, high) are known not to have the root that is looked for."""

    floor: int
    low: int
    high: int
    ended: Timestamp | None = None
    """When all sizes had been tried."""


class AcceptedRoots:
    """The newest accepted root of one bridge, matched with our tree."""

    def __init__(
        self,
        *,
        chain: ChainId,
        gate: Gate,
        tree: TreeId,
        trees: Callable[[], TreeReader],
        roots: Callable[[], RootReader],
        missed: MissedRoots,
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._gate = gate
        self._tree = tree
        self._trees = trees
        self._roots = roots
        self._missed = missed
        self._now = now
        self._last: Accepted | None = None
        self._searches: dict[bytes, _Search] = {}
        self._lock = asyncio.Lock()

    async def newest(self) -> tuple[Accepted | None, Missing | None]:
        """The newest root that can be proved against, and a newer one that cannot yet, if any."""
        async with self._lock:
            told = await self._told()
            roots = {one.root for one in told}
            self._searches = {root: self._searches[root] for root in roots & set(self._searches)}
            if not told:
                self._last = None
                return None, None
            await self._doubt(told[0].batch)
            missing: Missing | None = None
            for one in told:
                found = await self._match(one)
                if isinstance(found, Accepted):
                    self._last = found
                    return found, None
                missing = found
            return self._last, missing

    async def _told(self) -> list[Told]:
        """What layer 1 accepted last, the newest first: by its own word, and by its logs."""
        seen = await self._roots().best_root(self._chain, self._gate)
        by_logs = [] if seen is None or not any(seen.root) else [Told(seen.level, seen.root)]
        missed = await self._missed.beyond(by_logs[0].batch if by_logs else -1)
        return [missed, *by_logs] if missed else by_logs

    async def _match(self, told: Told) -> Accepted | Missing:
        if self._last is not None and self._last.root == told.root:
            return Accepted(told.batch, told.root, self._last.size)
        return await self._find(told)

    async def _doubt(self, newest_batch: int) -> None:
        """Forget what we found when either chain has taken it back."""
        last = self._last
        if last is None:
            return
        stands = last.batch <= newest_batch and last.size <= await self._trees().size(self._tree)
        if stands:
            (root,) = await self._trees().roots(self._tree, [last.size])
            stands = root == last.root
        if not stands:
            self._last = None
            self._searches.clear()

    async def _find(self, told: Told) -> Accepted | Missing:
        tree_size = await self._trees().size(self._tree)
        search = self._begin(told.root, tree_size)
        for _ in range(PAGES):
            page = _next_page(search, tree_size)
            if not page:
                search.ended = self._now() if search.ended is None else search.ended
                return Missing(told.batch, tree_size, searched=True)
            roots = await self._trees().roots(self._tree, page)
            if told.root in roots:
                return Accepted(told.batch, told.root, page[roots.index(told.root)])
            search.low, search.high = min(search.low, page[0]), max(search.high, page[-1] + 1)
            await asyncio.sleep(0)
        return Missing(told.batch, tree_size, searched=False)

    def _begin(self, root: bytes, tree_size: int) -> _Search:
        """The search under way, or a new one when another tree is meant or it ended long ago."""
        search = self._searches.get(root)
        if search is not None and search.high <= tree_size + 1:
            is_fresh = search.ended is None or self._now() - search.ended <= AFRESH_S
            if is_fresh:
                return search
        floor = 1 if self._last is None else self._last.size + 1
        start = tree_size + 1 if self._last is None else floor
        self._searches[root] = _Search(floor, start, start)
        return self._searches[root]


def _next_page(search: _Search, tree_size: int) -> list[int]:
    """Sizes to try next: new leaves first, then back towards the floor; empty when all are."""
    if search.high <= tree_size:
        return list(range(search.high, min(search.high + PAGE, tree_size + 1)))
    return list(range(max(search.floor, search.low - PAGE), search.low))
