"""Finds what the portal said when it finalised a withdrawal: its state only tells that it did."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from relayer.adapter import ChainReader, Log
from relayer.errors import RangeTooWide
from relayer.message import Address, BlockNumber, MessageId, TxHash
from relayer.protocols.op_stack.contracts import WITHDRAWAL_FINALIZED
from relayer.protocols.op_stack.events import read_finalized

SEARCHED_AT_ONCE = 1000
MOST_SEARCHES = 64
"""About nine days of layer-1 blocks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a withdrawal's one call."""

    success: bool
    tx: TxHash


class Outcomes:
    """Reads the portal's log backwards."""

    def __init__(self, reader: ChainReader, portal: Address, start_block: BlockNumber) -> None:
        self._reader = reader
        self._portal = portal
        self._start = start_block

    async def of(
        self, hashes: Collection[MessageId], last: BlockNumber
    ) -> dict[MessageId, Outcome]:
        """The outcome of each that is found in the blocks up to `last`."""
        found: dict[MessageId, Outcome] = {}
        for _ in range(MOST_SEARCHES):
            missing = [bytes.fromhex(one[2:]) for one in hashes if one not in found]
            if not missing or last < self._start:
                break
            first = BlockNumber(max(self._start, last - SEARCHED_AT_ONCE + 1))
            for log in await self._logs(first, last, [[WITHDRAWAL_FINALIZED], missing]):
                message_id, success = read_finalized(log)
                found[message_id] = Outcome(success, log.at.tx)
            last = BlockNumber(first - 1)
        return found

    async def _logs(
        self, first: BlockNumber, last: BlockNumber, topics: Sequence[Sequence[bytes]]
    ) -> list[Log]:
        """Logs of the portal, in as many parts as the provider wants."""
        try:
            return await self._reader.logs(first, last, addresses=[self._portal], topics=topics)
        except RangeTooWide:
            if first == last:
                raise
        middle = BlockNumber((first + last) // 2)
        lower = await self._logs(first, middle, topics)
        return lower + await self._logs(BlockNumber(middle + 1), last, topics)
