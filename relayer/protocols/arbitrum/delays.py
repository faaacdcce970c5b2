"""How long a message takes to be claimable, by what the rollup behind the outbox says of itself."""

from __future__ import annotations

from collections.abc import Callable

from relayer.abi import WORD
from relayer.adapter import ChainReader, Delay, View, ViewResult
from relayer.message import Address, Timestamp
from relayer.protocols.arbitrum import contracts

READ_AGAIN_S = 3600.0
ASSERTED_WITHIN_S = 86_400.0
"""Validators assert about hourly; this leaves them a day, and the confirmation its transaction."""
BLOCK_S = 12.0
"""Of Ethereum, whose blocks a rollup counts, also where its parent is a layer 2 (docs.arbitrum.io,
"Block numbers and time")."""
LONGEST_BLOCKS = 10_000_000
"""More than three years: an answer beyond it is no period."""


class Confirmation:
    """Asks outbox and rollup, and again every hour."""

    def __init__(self, parent: ChainReader, outbox: Address, now: Callable[[], Timestamp]) -> None:
        self._parent = parent
        self._outbox = outbox
        self._now = now
        self._read: tuple[Timestamp, Delay | None] | None = None

    async def delay(self) -> Delay | None:
        """None when the rollup does not tell its period; raises `Transient`."""
        now = self._now()
        if self._read is None or not 0 <= now - self._read[0] < READ_AGAIN_S:
            self._read = (now, await self._ask())
        return self._read[1]

    async def _ask(self) -> Delay | None:
        (answer,) = await self._parent.read([View(self._outbox, contracts.ROLLUP)])
        raw = _word(answer)
        if raw is None or not 0 < raw < 2**160:
            return None
        rollup = Address(f"0x{raw:040x}")
        views = (contracts.CONFIRM_PERIOD_BLOCKS, contracts.FAST_CONFIRMER)
        period, confirmer = await self._parent.read([View(rollup, one) for one in views])
        return delay_of(_word(period), has_committee=bool(_word(confirmer)))


def delay_of(period_blocks: int | None, *, has_committee: bool) -> Delay | None:
    """The challenge period from the assertion on; a committee may confirm before. Pure."""
    if period_blocks is None or period_blocks > LONGEST_BLOCKS:
        return None
    period_s = period_blocks * BLOCK_S
    said = f"challenge period of {period_blocks} blocks by the rollup, after an assertion"
    if has_committee:
        said += "; a committee may confirm it at once"
    return Delay(0.0 if has_committee else period_s, ASSERTED_WITHIN_S + period_s, said)


def _word(answer: ViewResult) -> int | None:
    is_word = answer.ok and len(answer.data) == WORD
    return int.from_bytes(answer.data, "big") if is_word else None
