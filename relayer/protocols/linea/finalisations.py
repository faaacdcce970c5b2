"""Finds the finalisation that confirmed an L2 block, and what was in it.

The follower tells of finalisations as facts. What is in one is read here, from both chains, when a
message needs it, and kept once it has proved itself by its roots.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from itertools import pairwise

from relayer.abi import word
from relayer.adapter import AdapterContext, ChainReader, Log, View, Wait
from relayer.errors import BadChainData, RangeTooWide, Transient
from relayer.message import BlockNumber, LogRef, Reason
from relayer.protocols.linea.contracts import (
    BLOCK_ANCHORED,
    LAST_FINALISED,
    MESSAGE_SENT,
    ROOT_ADDED,
    read_number_or,
)
from relayer.protocols.linea.events import Finalisation, Side, read_finalisations
from relayer.protocols.linea.message import read_sent
from relayer.protocols.linea.proofs import Confirmed

KEPT = 16
MOST_MESSAGES = 2**17
"""More roots than for these fit into no block of L1."""
MOST_BLOCKS = 2**16
"""The contract is given blocks as 16-bit distances from the one before."""
BLOCKS_AT_ONCE = 2000
SEARCHED_AT_ONCE = 1000
MOST_SEARCHES = 64
"""About nine days of layer-1 blocks."""
FINALITY_RECHECK_S = 60.0
GATE_RECHECK_S = 600.0
"""In case no fact ever opens the gate, because a log was hidden."""
SICK_RECHECK_S = 10.0

Found = Confirmed | Wait


class Finalisations:
    """What LineaRollup has finalised, by the L2 block."""

    def __init__(
        self,
        l1: Side,
        l2: Side,
        context: AdapterContext,
        *,
        readers: tuple[ChainReader, ChainReader],
    ) -> None:
        self._l1 = l1
        self._l2 = l2
        self._context = context
        self._on_l1, self._on_l2 = readers
        self._kept: OrderedDict[tuple[str, str], Confirmed] = OrderedDict()

    async def level(self) -> int:
        """The newest L2 block known to be confirmed, -1 when there is none."""
        best = await self._context.roots.best_root(self._l1.chain, self._l1.gate)
        return -1 if best is None else best.level

    async def covering(self, blocks: Collection[int], *, finalised: int) -> dict[int, Found]:
        """What confirmed each block, or what there is to wait for.

        `finalised` is the rollup's last L2 block at the latest L1 block. Raises `Transient` when
        L1 cannot be read.
        """
        found: dict[int, Found] = {}
        unseen: list[int] = []
        pending = sorted(set(blocks))
        while pending:
            seen = await self._context.roots.root_at(self._l1.chain, self._l1.gate, pending[0])
            if seen is None:
                unseen += pending
                break
            here = [block for block in pending if block <= seen.level]
            pending = pending[len(here) :]
            confirmed = await self._confirmed(seen.at)
            lowest = 0 if isinstance(confirmed, Wait) else confirmed.finalisation.blocks[0]
            unseen += [block for block in here if block < lowest]
            found |= {block: confirmed for block in here if block >= lowest}
        if unseen:
            found |= await self._unseen(unseen, finalised)
        return found

    def forget(self, block: int) -> None:
        """Read anew what confirmed a block: a proof from it was refused."""
        for key, confirmed in list(self._kept.items()):
            blocks = confirmed.finalisation.blocks
            if blocks[0] <= block <= blocks[-1]:
                del self._kept[key]

    async def _confirmed(self, at: LogRef) -> Found:
        """One finalisation with its messages, from memory or from both chains."""
        key = (at.tx, at.block_hash)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        try:
            confirmed = await self._read(at)
        except BadChainData as error:
            return _mismatch(str(error))
        except Transient as error:
            return Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=SICK_RECHECK_S)
        if confirmed.is_whole():
            self._kept[key] = confirmed
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return confirmed

    async def _read(self, at: LogRef) -> Confirmed:
        """Raises `BadChainData` when the chains' endpoints do not show all of it."""
        finalisation = await self._read_finalisation(at)
        first, last = finalisation.blocks[0], finalisation.blocks[-1]
        if last - first >= MOST_BLOCKS:
            raise BadChainData(f"{at.tx} confirms blocks {first} to {last}, which cannot be")
        sent: list[Log] = []
        for start in range(first, last + 1, BLOCKS_AT_ONCE):
            end = min(last, start + BLOCKS_AT_ONCE - 1)
            topics = [[MESSAGE_SENT]]
            sent += await _logs(self._on_l2, self._l2, start, end, topics)
            if len(sent) > MOST_MESSAGES:
                raise BadChainData(f"there are too many messages in blocks {first} to {last}")
        numbers = [read_sent(log).number for log in sent]
        if not numbers:
            raise BadChainData(f"L2 shows no message in blocks {first} to {last}")
        for before, number in pairwise(numbers):
            if number != before + 1:
                raise BadChainData(f"L2 shows message {number} right after {before}")
        return Confirmed(finalisation, numbers[0], tuple(log.topics[3] for log in sent))

    async def _read_finalisation(self, at: LogRef) -> Finalisation:
        topics = [[ROOT_ADDED, BLOCK_ANCHORED]]
        logs = await _logs(self._on_l1, self._l1, at.block, at.block, topics)
        mine = [log for log in logs if (log.at.tx, log.at.block_hash) == (at.tx, at.block_hash)]
        found = read_finalisations(mine)
        if not found or not found[0].roots:
            raise BadChainData(f"L1 shows no roots in {at.tx}")
        return found[0]

    async def _unseen(self, blocks: Sequence[int], finalised: int) -> dict[int, Found]:
        """Blocks that no fact confirms: not finalised yet, or a log was hidden from us."""
        level = await self.level()
        found: dict[int, Found] = {}
        for block in blocks:
            if block > finalised:
                detail = f"L2 block {block} is not finalised yet; block {finalised} is"
                found[block] = self._at_gate(block, detail, level, GATE_RECHECK_S)
        missed = [block for block in blocks if block <= finalised]
        if not missed:
            return found
        final = await self._on_l1.final_header()
        view = View(self._l1.contract, LAST_FINALISED)
        (answer,) = await self._on_l1.read([view], block=final.number)
        surely = read_number_or(answer, -1)
        for block in missed:
            if block > surely:
                detail = f"the finalisation of L2 block {block} is not final on L1 yet"
                found[block] = self._at_gate(block, detail, level, FINALITY_RECHECK_S)
        hidden = [block for block in missed if block <= surely]
        return found | await self._search(hidden, final.number)

    def _at_gate(self, block: int, detail: str, level: int, recheck_s: float) -> Wait:
        """At the gate only while it is shut, or it would open at once, over and over."""
        gate = self._l1.gate if block > level else None
        return Wait(
            Reason.AWAITING_ROOT,
            detail,
            gate=gate,
            gate_value=block if gate else 0,
            recheck_s=recheck_s if gate else FINALITY_RECHECK_S,
        )

    async def _search(self, blocks: Sequence[int], last: int) -> dict[int, Found]:
        """Look for the logs that confirm blocks, backwards from an L1 block."""
        found: dict[int, Found] = {}
        start = self._l1.start_block
        for _ in range(MOST_SEARCHES):
            missing = [word(block) for block in blocks if block not in found]
            if not missing or last < start:
                break
            first = max(start, last - SEARCHED_AT_ONCE + 1)
            topics = [[BLOCK_ANCHORED], missing]
            for log in await _logs(self._on_l1, self._l1, first, last, topics):
                found[int.from_bytes(log.topics[1], "big")] = await self._confirmed(log.at)
            last = first - 1
        lost = "L2 block {} is finalised, but no log on L1 says so"
        return {block: found.get(block) or _mismatch(lost.format(block)) for block in blocks}


def _mismatch(detail: str) -> Wait:
    return Wait(Reason.ROOT_MISMATCH, detail[:300])


async def _logs(
    reader: ChainReader, side: Side, first: int, last: int, topics: Sequence[Sequence[bytes]]
) -> list[Log]:
    """Logs of a side's contract, in as many parts as the provider wants."""
    try:
        return await reader.logs(
            BlockNumber(first), BlockNumber(last), addresses=[side.contract], topics=topics
        )
    except RangeTooWide:
        if first == last:
            raise
    middle = (first + last) // 2
    parts = [
        await _logs(reader, side, first, middle, topics),
        await _logs(reader, side, middle + 1, last, topics),
    ]
    return [*parts[0], *parts[1]]
