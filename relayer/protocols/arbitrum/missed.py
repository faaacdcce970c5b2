"""Asks the outbox itself for accepted roots of which no log told us.

An endpoint may hide a `SendRootUpdated` once, and nothing would ever read that block again. So now
and then the outbox is asked at a final block whether it has a root that our own tree has had:
`Outbox.roots(root)` is the child block that a confirmed root is of, zero for any other root.
"""

from __future__ import annotations

from relayer.adapter import AdapterContext, ChainReader, View
from relayer.errors import Permanent, Transient
from relayer.message import Address, Timestamp, TreeId
from relayer.protocols.arbitrum import contracts

SOONEST_S, LATEST_S = 30.0, 900.0
"""A quarter of the time since the newest root came is waited between questions, within these."""
PAGE = 250
"""Sizes asked for at a time: so many views still go in one request."""


class MissedRoots:
    """Asks for one page of tree sizes at a time, however many messages wait."""

    def __init__(
        self, outbox: Address, tree: TreeId, parent: ChainReader, context: AdapterContext
    ) -> None:
        self._outbox = outbox
        self._tree = tree
        self._parent = parent
        self._context = context
        self._known = -1
        self._since = self._due = Timestamp(0.0)
        self._turn = 0

    async def beyond(self, size: int) -> tuple[bytes, int] | None:
        """An accepted root of more than `size` leaves, with its size; None too when it is too soon
        to ask again, or when the parent does not answer."""
        now = self._context.now()
        if size != self._known:
            self._known, self._since, self._turn = size, now, 0
            self._due = Timestamp(now + SOONEST_S)
        if now < self._due:
            return None
        pause_s = min(LATEST_S, max(SOONEST_S, (now - self._since) / 4))
        self._due = Timestamp(now + pause_s)
        sizes = self._page(await self._context.trees.size(self._tree))
        return await self._largest_accepted(sizes) if sizes else None

    def _page(self, stored: int) -> range:
        """The next sizes in turn: just above the known root, or the newest ones without any."""
        pages = -(-(stored - self._known) // PAGE)
        if pages <= 0:
            return range(0)
        turn = self._turn % pages
        self._turn += 1
        place = turn if self._known else pages - 1 - turn
        first = self._known + 1 + place * PAGE
        return range(first, min(first + PAGE, stored + 1))

    async def _largest_accepted(self, sizes: range) -> tuple[bytes, int] | None:
        roots = await self._context.trees.roots(self._tree, sizes)
        views = [View(self._outbox, contracts.ROOTS + root) for root in roots]
        try:
            final = await self._parent.final_header()
            answers = await self._parent.read(views, block=final.number)
        except (Transient, Permanent):  # what logs tell serves meanwhile
            return None
        accepted = [
            (root, size)
            for root, size, answer in zip(roots, sizes, answers, strict=True)
            if answer.ok and any(answer.data)
        ]
        return accepted[-1] if accepted else None
