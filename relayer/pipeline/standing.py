"""Where a follower stands: checks that the block below it is still the chain's, and undoes the
facts of blocks that were replaced, back to the newest remembered block that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from relayer.adapter import Header
from relayer.chains import ChainClient
from relayer.errors import ReorgTooDeep, Transient
from relayer.message import BlockHash, BlockNumber, Timestamp
from relayer.ops.metrics import Metrics
from relayer.store import Cursor, Lease, Store

SURE_AFTER_S = 10.0
"""How long every remembered block must be another before all that was read is given up."""
SHORTER_AFTER_S = 600.0
"""How long the final block must stay below what was read, and move on there, before it is believed
that the chain has become shorter, or never was so long. A node that lags has caught up by then."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    """Since when we have read more than is final, and what was final then."""

    since: Timestamp
    final: BlockNumber

    def is_shorter(self, now: Timestamp, final: BlockNumber) -> bool:
        """Whether the chain has lived below what we have read for long enough."""
        return now - self.since >= SHORTER_AFTER_S and final > self.final


class Standing:
    """One chain's cursor, held against the chain before each step forward."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        store: Store,
        lease: Lease,
        metrics: Metrics,
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._store = store
        self._lease = lease
        self._metrics = metrics
        self._now = now
        self._gone_since: Timestamp | None = None
        self._ahead: _Ahead | None = None
        self._log = structlog.get_logger("relayer").bind(
            agent=f"follower:{chain.name}", chain=chain.name
        )

    async def look(self, final: Header, start: BlockNumber | None) -> Cursor:
        """Where to go on from; `start` is the first block wanted, None when nothing is."""
        cursor = await self._store.cursor(self._lease.chain)
        before_all = _before(final.number if start is None else start)
        if cursor is None:
            return before_all
        if not cursor.hash or await self._is_kept(cursor, final):
            self._gone_since = None
            return cursor
        ancestor = await self._common_ancestor(final) or before_all
        try:
            await self._store.rollback(self._lease, ancestor)
        except ReorgTooDeep as error:
            ancestor = before_all
            self._require_sure(error)
            self._log.error("chain_started_over", replaced=cursor.block, reads_from=start)
            await self._store.start_over(self._lease, ancestor)
        self._gone_since = self._ahead = None
        self._log.error("reorg_below_finality", replaced=cursor.block, back_to=ancestor.block)
        self._metrics.reorg(self._chain.name)
        return ancestor

    async def _is_kept(self, cursor: Cursor, final: Header) -> bool:
        """Whether nothing we can see says that the cursor's block was replaced."""
        if cursor.block <= final.number:
            if self._ahead is not None:
                self._ahead = None
                self._say("final_block_is_ahead_again", cursor, final)
            return await self._is_canonical(cursor, final)
        if self._ahead is None:
            self._ahead = _Ahead(self._now(), final.number)
            self._say("final_block_went_back", cursor, final)
        below = await self._remembered(final)
        if not below:
            return True
        is_believed = self._ahead.is_shorter(self._now(), final.number)
        return not is_believed and await self._is_canonical(below[0], final)

    def _say(self, event: str, cursor: Cursor, final: Header) -> None:
        self._log.warning(event, final=final.number, cursor=cursor.block)

    async def _is_canonical(self, past: Cursor, final: Header) -> bool:
        if past.block == final.number:
            return past.hash == final.hash
        if past.block + 1 == final.number:
            return past.hash == final.parent_hash
        return past.hash == (await self._chain.header(past.block)).hash

    async def _remembered(self, final: Header) -> Sequence[Cursor]:
        """Remembered blocks up to the final one, newest first."""
        found = await self._store.remembered(self._lease.chain)
        return [past for past in found if past.block <= final.number]

    async def _common_ancestor(self, final: Header) -> Cursor | None:
        """The newest remembered block that is still the chain's; halves the rest with each look."""
        blocks = await self._remembered(final)
        first, end = 0, len(blocks)
        while first < end:
            middle = (first + end) // 2
            if await self._is_canonical(blocks[middle], final):
                end = middle
            else:
                first = middle + 1
        return blocks[first] if first < len(blocks) else None

    def _require_sure(self, error: ReorgTooDeep) -> None:
        """Raise `Transient` until it has been so for a while: it costs reading all over."""
        if self._gone_since is None:
            self._gone_since = self._now()
            self._log.error("every_remembered_block_was_replaced", error=str(error))
        if self._now() - self._gone_since < SURE_AFTER_S:
            raise Transient(f"{error}; the chain is read from its start if that stays so")


def _before(start: BlockNumber) -> Cursor:
    return Cursor(BlockNumber(max(0, start) - 1), BlockHash(""))
