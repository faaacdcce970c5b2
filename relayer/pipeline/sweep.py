"""Reads the blocks of the last days again, a range at a time: a record that Redis lost comes back.

Newest blocks first, back to where finished messages may be forgotten already, then again from the
newest. What is stored stays as it is, and leaves are held against those in their tree.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from relayer.chains import ChainClient
from relayer.errors import RangeTooWide
from relayer.message import BlockNumber, Timestamp
from relayer.ops.metrics import Metrics
from relayer.pipeline.follower import Follower
from relayer.pipeline.log_range import LogRange
from relayer.store import Store

LARGEST = 1000
"""Blocks a turn at most: small beside what the follower reads in the same time."""


class Sweep:
    """One chain's blocks in turn; its owner says when."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        store: Store,
        follower: Follower,
        metrics: Metrics,
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._store = store
        self._follower = follower
        self._metrics = metrics
        self._now = now
        self._range = LogRange(min(LARGEST, chain.settings.max_log_range))
        self._next: BlockNumber | None = None
        self._log = structlog.get_logger("relayer").bind(agent=f"sweep:{chain.name}")

    async def turn(self) -> None:
        """Read the next range; a new round begins where the cursor stands.

        Not while other blocks are being read again: what they bring was not lost.
        """
        cursor = await self._store.cursor(self._chain.chain_id)
        asked = await self._store.rescans(self._chain.chain_id)
        if cursor is None or not cursor.hash or any(not one.failure for one in asked):
            return
        last = BlockNumber(min(cursor.block, cursor.block if self._next is None else self._next))
        first = BlockNumber(max(self._follower.start, last - self._range.size + 1))
        if first > last or await self._is_old(first):
            self._next = None
            return
        try:
            read = await self._follower.ingest(first, last)
        except RangeTooWide:
            self._range.refused()
            return
        self._range.accepted()
        self._next = BlockNumber(first - 1)
        if read.new_messages:
            self._metrics.records_lost(self._chain.name)
            self._log.error("records_restored", first=first, last=last, count=read.new_messages)

    async def _is_old(self, block: BlockNumber) -> bool:
        """Whether a message of that block may have been delivered and forgotten since."""
        header = await self._chain.header(block)
        return header.timestamp < self._now() - self._store.retention_s
