"""Asks the rollup contract itself for the newest accepted root, in case no log told us of it.

An endpoint may hide a `FinalizeBatch` once, and nothing would ever read that block again. So now
and then ScrollChain is asked at a final block which batch is the last finalized one, and its root.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from relayer.adapter import ChainReader, View
from relayer.errors import Permanent, Transient
from relayer.message import Address, BlockNumber, BridgeName, Timestamp
from relayer.protocols.scroll import contracts

SOONEST_S, LATEST_S = 30.0, 900.0
"""A quarter of the time since the newest root came is waited between questions, within these."""


@dataclass(frozen=True, slots=True)
class Told:
    """A root that the destination accepted, under its batch."""

    batch: int
    root: bytes


class MissedRoots:
    """Asks rarely, however many messages wait."""

    def __init__(
        self,
        bridge: BridgeName,
        reader: ChainReader,
        *,
        scroll_chain: Address,
        now: Callable[[], Timestamp],
    ) -> None:
        self._reader = reader
        self._scroll_chain = scroll_chain
        self._now = now
        self._known = -2
        self._since = self._due = Timestamp(0.0)
        self._found: Told | None = None
        self._log = structlog.get_logger("relayer").bind(bridge=bridge)

    async def beyond(self, batch: int) -> Told | None:
        """The newest accepted root when it is of a later batch than `batch`, by the last answer."""
        now = self._now()
        if batch != self._known:
            self._known, self._since = batch, now
            self._due = Timestamp(now + SOONEST_S)
        if now >= self._due:
            pause_s = min(LATEST_S, max(SOONEST_S, (now - self._since) / 4))
            self._due = Timestamp(now + pause_s)
            with contextlib.suppress(Transient, Permanent):  # what logs tell serves meanwhile
                self._found = await self._ask(batch)
        found = self._found
        if found is None or found.batch <= batch:
            return None
        return found

    async def _ask(self, batch: int) -> Told | None:
        block = (await self._reader.final_header()).number
        last = await self._word(contracts.LAST_FINALIZED, block)
        number = int.from_bytes(last, "big")
        if not batch < number < contracts.MAX_BATCH:
            return None
        root = await self._word(contracts.WITHDRAW_ROOTS + last, block)
        if not any(root):
            return None
        self._log.warning("root_not_told", batch=number, root="0x" + root.hex())
        return Told(number, root)

    async def _word(self, view: bytes, block: BlockNumber) -> bytes:
        (answer,) = await self._reader.read([View(self._scroll_chain, view)], block=block)
        return contracts.answer_word(answer, "ScrollChain")
