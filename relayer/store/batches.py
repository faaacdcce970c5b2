"""Numbers the batches of records that go to other chains' slots, so that a loss there is noticed.

The number and its blocks are written in the followed chain's slot before, and the number together
with the records, if it follows the one before. A slot that was lost, or that a replica without the
newest writes took over, then knows a lower number than the chain that wrote there.
"""

from __future__ import annotations

from dataclasses import dataclass

from relayer.message import BlockNumber, ChainId
from relayer.store.keys import base
from relayer.store.leases import lease_text
from relayer.store.shapes import Lease
from relayer.store.wire import Wire, each

BATCHES_KEPT = 512
"""Numbers kept with their blocks; an older loss means reading from the start."""


@dataclass(frozen=True, slots=True)
class LostBatches:
    """Batches after `known` that a destination's slot does not hold any more."""

    destination: ChainId
    known: int
    newest: int
    first: BlockNumber | None
    """The lowest block they came from; None when that is not known any more."""


class Batches(Wire):
    """What went to other slots, held against what is there."""

    async def lost_batches(self, lease: Lease) -> list[LostBatches]:
        """Destinations that lack records the lease's chain has stored there before."""
        others = [chain for chain in await self.chains() if chain != lease.chain]
        async with self.turn(lease.chain):
            found = await each([self._lost(lease.chain, other) for other in others])
        return [one for one in found if one is not None]

    async def _lost(self, origin: ChainId, destination: ChainId) -> LostBatches | None:
        key = f"{base(self._prefix, origin)}batches:{destination}"
        newest = await self.command("ZREVRANGE", key, 0, 0)
        if not newest:
            return None
        last = _number(newest[0])
        there = await self.command("HGET", base(self._prefix, destination) + "batches", origin)
        known = int(there) if there is not None and there.isdigit() else 0
        if known >= last:
            return None
        rows = await self.command("ZRANGEBYSCORE", key, f"({known}", "+inf")
        is_whole = len(rows) == last - known
        first = BlockNumber(min(int(row.split(b" ")[1]) for row in rows)) if is_whole else None
        return LostBatches(destination, known, last, first)

    async def note_batches(self, lease: Lease, lost: LostBatches) -> None:
        """The lost batches are asked for again: from here on only what is lost later counts."""
        args = {
            "lease": lease_text(lease),
            "role": lease.role.value,
            "origin": str(lease.chain),
            "token": str(lease.token),
            "known": str(lost.known),
            "newest": str(lost.newest),
        }
        await self.run("note_batches", lost.destination, args)


def _number(member: bytes) -> int:
    return int(member.split(b" ")[0])
