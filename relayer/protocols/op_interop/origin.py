"""Reads a source chain again before each send: is the message's log still where it was?

Neither `eth_call` nor an estimate on the destination notices a forged or stale identifier, so what
is not found here in the canonical chain is never sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relayer.abi import word
from relayer.adapter import ChainReader, Log
from relayer.errors import BadChainData, RangeTooWide, StaleEndpoint
from relayer.message import BlockHash, BlockNumber, LogRef, MessageId, Record
from relayer.protocols.op_interop.contracts import (
    MESSENGER,
    SENT_MESSAGE,
    InteropMessage,
    read_sent,
)
from relayer.protocols.op_interop.identifier import Identifier

SPAN_BLOCKS = 256
"""Most blocks in one request for logs; every provider serves so many."""
HEADERS_AT_ONCE = 32
TIMES_KEPT = 8192


@dataclass(frozen=True, slots=True)
class Opened:
    """A stored message that is what its id says."""

    record: Record
    message: InteropMessage

    @property
    def id(self) -> MessageId:
        return self.record.id

    @property
    def at(self) -> LogRef:
        return self.record.message.at


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a message has no identifier now."""

    detail: str


class Origin:
    """One source chain; remembers block times by block hash, which cannot change."""

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader
        self._times: OrderedDict[BlockHash, int] = OrderedDict()

    async def identify(self, wanted: Sequence[Opened]) -> dict[MessageId, Identifier | Missing]:
        """The identifier of each message, all on one destination, from the canonical chain now.

        Raises `Transient` when the chain cannot be read.
        """
        logs: dict[tuple[BlockNumber, int], Log] = {}
        destination = wanted[0].message.destination
        for first, last in spans(one.at.block for one in wanted):
            for log in await self._logs(first, last, destination):
                logs[log.at.block, log.at.log_index] = log
        blocks = {one.at.block: one.at.block_hash for one in wanted}
        gone = await self._learn(blocks)
        return {one.id: self._identify(one, logs, gone) for one in wanted}

    def _identify(
        self,
        one: Opened,
        logs: dict[tuple[BlockNumber, int], Log],
        gone: set[BlockNumber],
    ) -> Identifier | Missing:
        at = one.at
        log = logs.get((at.block, at.log_index))
        timestamp = self._times.get(at.block_hash)
        if at.block in gone or (log is not None and log.at.block_hash != at.block_hash):
            return Missing(f"block {at.block} of the source was replaced; it is read anew")
        if log is None or timestamp is None:
            return Missing(f"log {at.log_index} of block {at.block} is not shown: an endpoint lags")
        try:
            said = read_sent(one.message.source, log.topics, log.data)
        except BadChainData as error:
            return Missing(str(error))
        if said != one.message:
            return Missing(f"log {at.log_index} of block {at.block} tells of another message")
        return Identifier(at.block, at.log_index, timestamp, one.message.source)

    async def _logs(self, first: BlockNumber, last: BlockNumber, destination: int) -> list[Log]:
        """Messages to `destination` in these blocks; halves the range when it is too wide."""
        topics = [[SENT_MESSAGE], [word(destination)]]
        try:
            return await self._reader.logs(first, last, addresses=[MESSENGER], topics=topics)
        except RangeTooWide:
            if first == last:
                raise
        middle = BlockNumber((first + last) // 2)
        lower = await self._logs(first, middle, destination)
        return lower + await self._logs(BlockNumber(middle + 1), last, destination)

    async def _learn(self, blocks: dict[BlockNumber, BlockHash]) -> set[BlockNumber]:
        """Read the times of blocks that are new to us; answers the blocks that were replaced."""
        new = [number for number, digest in blocks.items() if digest not in self._times]
        gone: set[BlockNumber] = set()
        for start in range(0, len(new), HEADERS_AT_ONCE):
            part = new[start : start + HEADERS_AT_ONCE]
            found = await asyncio.gather(*(self._time(number, blocks[number]) for number in part))
            gone |= {number for number, known in zip(part, found, strict=True) if not known}
        return gone

    async def _time(self, number: BlockNumber, digest: BlockHash) -> bool:
        """Remember the time of a block; false when the chain has another one of this number."""
        try:
            header = await self._reader.header(number)
        except StaleEndpoint:
            return False
        if header.hash != digest or header.number != number:
            return False
        self._times[digest] = int(header.timestamp)
        if len(self._times) > TIMES_KEPT:
            self._times.popitem(last=False)
        return True


def spans(blocks: Iterable[BlockNumber]) -> list[tuple[BlockNumber, BlockNumber]]:
    """Few ranges of at most `SPAN_BLOCKS` that hold all blocks; each begins and ends in one."""
    found: list[tuple[BlockNumber, BlockNumber]] = []
    for block in sorted(set(blocks)):
        if found and block - found[-1][0] < SPAN_BLOCKS:
            found[-1] = (found[-1][0], block)
        else:
            found.append((block, block))
    return found
