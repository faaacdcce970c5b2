"""What one chain's follower follows, and the blocks it must read again besides going forward.

A range is asked for by an operator, or by the follower itself when a bridge came that wants blocks
below the cursor. It stays until it is read, whoever holds the lease meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from relayer.errors import IllegalTransition, SchemaMismatch
from relayer.message import BlockNumber, ChainId
from relayer.store import codec
from relayer.store.keys import base
from relayer.store.leases import lease_text
from relayer.store.shapes import Lease
from relayer.store.wire import Wire, pairs_of

MOST_RESCANS = 64
"""Ranges one chain may have open."""


@dataclass(frozen=True, slots=True, order=True)
class Rescan:
    """An inclusive range of blocks to read again, read up to but without `at`."""

    first: BlockNumber
    last: BlockNumber
    at: BlockNumber
    failure: str = field(default="", compare=False)
    """Why the next part could not be read when it was last tried."""

    @property
    def name(self) -> str:
        return f"{self.first}-{self.last}"


class Rescans(Wire):
    """Asking needs no lease; only the chain's follower makes progress."""

    async def ask_rescan(self, chain: ChainId, first: BlockNumber, last: BlockNumber) -> None:
        """Have the chain's follower read a range again; asking twice is asking once.

        `IllegalTransition` when 64 ranges are open already.
        """
        await self._register({chain})
        args = {"name": f"{first}-{last}", "at": str(first), "most": MOST_RESCANS}
        if not await self.run("ask_rescan", chain, args):
            raise IllegalTransition(
                f"chain {chain} has {MOST_RESCANS} ranges to read again already; let it finish"
            )

    async def rescans(self, chain: ChainId) -> list[Rescan]:
        """The ranges still to be read, lowest first."""
        key = base(self._prefix, chain) + "rescans"
        open_ranges = pairs_of(await self.command("HGETALL", key))
        if not open_ranges:
            return []
        failures = dict(pairs_of(await self.command("HGETALL", key + "_failed")))
        return sorted(_rescan(key, name, at, failures.get(name, b"")) for name, at in open_ranges)

    async def note_rescan_failed(self, lease: Lease, rescan: Rescan, why: str) -> None:
        """Keep why a range could not be read, for whoever waits for it; progress forgets it."""
        args = {
            "lease": lease_text(lease),
            "role": lease.role.value,
            "name": rescan.name,
            "why": codec.detail_text(why),
        }
        await self.run("note_rescan_failed", lease.chain, args)

    async def cancel_rescan(self, chain: ChainId, first: BlockNumber, last: BlockNumber) -> bool:
        """Take back what was asked for; False when no such range is open."""
        return bool(await self.run("cancel_rescan", chain, {"name": f"{first}-{last}"}))

    async def note_rescanned(self, lease: Lease, rescan: Rescan, upto: BlockNumber) -> None:
        """Everything of the range at or below `upto` is stored; at its end the range is done."""
        args = {
            "lease": lease_text(lease),
            "role": lease.role.value,
            "name": rescan.name,
            "at": "" if upto >= rescan.last else str(upto + 1),
        }
        await self.run("note_rescanned", lease.chain, args)

    async def followed(self, chain: ChainId) -> dict[str, BlockNumber]:
        """First block from which each name has been, or will be, read."""
        key = base(self._prefix, chain) + "followed"
        pairs = pairs_of(await self.command("HGETALL", key))
        try:
            return {name.decode(): BlockNumber(int(block)) for name, block in pairs}
        except ValueError:
            raise SchemaMismatch(f"the key {key} does not hold block numbers") from None

    async def note_followed(
        self, lease: Lease, starts: Mapping[str, BlockNumber], gone: Collection[str] = ()
    ) -> None:
        """Remember what is followed and from where, and forget what is not any more.

        Ask for what that leaves out before this.
        """
        args = {
            "lease": lease_text(lease),
            "role": lease.role.value,
            "starts": [[name, str(block)] for name, block in starts.items()],
            "gone": sorted(gone),
        }
        await self.run("note_followed", lease.chain, args)


def _rescan(key: str, name: bytes, at: bytes, failure: bytes) -> Rescan:
    match = re.fullmatch(rb"(\d+)-(\d+) (\d+)", name + b" " + at)
    if match is None:
        raise SchemaMismatch(f"the key {key} does not hold a range of blocks")
    first, last, upto = (BlockNumber(int(part)) for part in match.groups())
    return Rescan(first, last, upto, failure.decode("utf-8", "replace"))
