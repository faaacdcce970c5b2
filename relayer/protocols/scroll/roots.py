"""Finds how many leaves an accepted root covers. No contract says so, so our tree is searched.

Batches without messages repeat the root of the one before, and roots only ever grow: the search
goes up from the size last found, or down from the newest leaf when none was found yet, in pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from relayer.adapter import RootReader, TreeReader
from relayer.message import ChainId, Gate, RootSeen, Timestamp, TreeId

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
    """Sizes in [low, high) are known not to have `root`."""

    root: bytes
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
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._gate = gate
        self._tree = tree
        self._trees = trees
        self._roots = roots
        self._now = now
        self._last: Accepted | None = None
        self._search: _Search | None = None
        self._lock = asyncio.Lock()

    async def newest(self) -> tuple[Accepted | None, Missing | None]:
        """The newest root that can be proved against, and a newer one that cannot yet, if any."""
        async with self._lock:
            seen = await self._roots().best_root(self._chain, self._gate)
            if seen is None or not any(seen.root):
                self._last = None
                return None, None
            await self._doubt(seen.level)
            if self._last is not None and self._last.root == seen.root:
                self._last = Accepted(seen.level, seen.root, self._last.size)
                return self._last, None
            found = await self._find(seen)
            if isinstance(found, Missing):
                return self._last, found
            self._last, self._search = found, None
            return found, None

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
            self._last = self._search = None

    async def _find(self, seen: RootSeen) -> Accepted | Missing:
        tree_size = await self._trees().size(self._tree)
        search = self._begin(seen.root, tree_size)
        for _ in range(PAGES):
            page = _next_page(search, tree_size)
            if not page:
                search.ended = self._now() if search.ended is None else search.ended
                return Missing(seen.level, tree_size, searched=True)
            roots = await self._trees().roots(self._tree, page)
            if seen.root in roots:
                return Accepted(seen.level, seen.root, page[roots.index(seen.root)])
            search.low, search.high = min(search.low, page[0]), max(search.high, page[-1] + 1)
            await asyncio.sleep(0)
        return Missing(seen.level, tree_size, searched=False)

    def _begin(self, root: bytes, tree_size: int) -> _Search:
        """The search under way, or a new one when another root or tree is meant."""
        search = self._search
        if search is not None and search.root == root and search.high <= tree_size + 1:
            is_fresh = search.ended is None or self._now() - search.ended <= AFRESH_S
            if is_fresh:
                return search
        floor = 1 if self._last is None else self._last.size + 1
        start = tree_size + 1 if self._last is None else floor
        self._search = _Search(root, floor, start, start)
        return self._search


def _next_page(search: _Search, tree_size: int) -> list[int]:
    """Sizes to try next: new leaves first, then back towards the floor; empty when all are."""
    if search.high <= tree_size:
        return list(range(search.high, min(search.high + PAGE, tree_size + 1)))
    return list(range(max(search.floor, search.low - PAGE), search.low))
