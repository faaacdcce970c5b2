"""The rollup's limit on what leaves it in a period, and our own calls that are on their way.

Source: `contracts/src/security/limiting/RateLimiter.sol` of Consensys/linea-monorepo: a claim
counts fee and value; the first claim after the period's end begins a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relayer.abi import word
from relayer.adapter import ChainReader, Clock, View, ViewResult, Wait
from relayer.message import Address, MessageId, Reason, Timestamp
from relayer.protocols.linea.contracts import (
    IS_CLAIMED,
    LIMIT,
    PERIOD_END,
    PERIOD_USED,
    read_number_or,
)
from relayer.protocols.linea.parcels import Parcel

PROMISE_S = 120.0
"""A call that is not claimed after this long is not on its way any more."""
IN_FLIGHT_RECHECK_S = 5.0
LATEST_RECHECK_S = 600.0
"""The limit's manager may raise it or reset what is used."""
LIMIT_VIEWS = 3


@dataclass(frozen=True, slots=True)
class Period:
    """What the limiter says."""

    limit: int
    used: int
    end: int
    """Unix time; in the first second after it a new period can begin."""

    def left(self, at: float) -> int:
        """Wei that may still be claimed at a block time."""
        return self.limit - (self.used if at <= self.end else 0)


@dataclass(frozen=True, slots=True)
class _Promise:
    number: int
    amount: int
    until: float


class RateLimit:
    """Lets as many messages pass as the period has room for."""

    def __init__(self, rollup: Address, reader: ChainReader, now: Callable[[], Timestamp]) -> None:
        self._rollup = rollup
        self._reader = reader
        self._now = now
        self._promises: dict[MessageId, _Promise] = {}

    def views(self) -> list[View]:
        """The `LIMIT_VIEWS` views whose answers `hold_back` wants."""
        return [View(self._rollup, data) for data in (LIMIT, PERIOD_USED, PERIOD_END)]

    async def hold_back(
        self, parcels: Sequence[Parcel], answers: Sequence[ViewResult]
    ) -> dict[MessageId, Wait]:
        """Which of the messages that could be called now must wait; raises `Transient`.

        The others are from now on taken to be on their way.
        """
        period = _period(answers)
        if period is None or not parcels:
            return {}
        self._forget({parcel.id for parcel in parcels})
        total = sum(parcel.amount for parcel in parcels) + self._promised()
        block_time = 0.0  # the strictest: the period goes on
        if total > period.left(block_time):
            period = await self._read_again() or period
            block_time = (await self._reader.header("latest")).timestamp
        held: dict[MessageId, Wait] = {}
        for parcel in parcels:
            wait = self._wait(parcel, period, block_time)
            if wait is None:
                self._promise(parcel)
            else:
                held[parcel.id] = wait
        return held

    async def _read_again(self) -> Period | None:
        """The period and, in the same block, which of our calls are part of what is used."""
        promised = list(self._promises.items())
        asked = [View(self._rollup, IS_CLAIMED + word(one.number)) for _, one in promised]
        answers = await self._reader.read([*self.views(), *asked])
        for (message_id, _), answer in zip(promised, answers[LIMIT_VIEWS:], strict=True):
            if read_number_or(answer, 0):
                self._promises.pop(message_id, None)
        return _period(answers[:LIMIT_VIEWS])

    def _wait(self, parcel: Parcel, period: Period, block_time: float) -> Wait | None:
        amount, left = parcel.amount, period.left(block_time)
        if amount + self._promised() <= left:
            return None
        asks = f"takes {amount} wei, and {left} of {period.limit} are left in this period"
        if amount > period.limit:
            text = f"takes {amount} wei, more than the {period.limit} of a whole period"
            return Wait(Reason.RATE_LIMITED, text, recheck_s=LATEST_RECHECK_S)
        if amount <= left:
            text = f"{asks}, which others on their way may use up"
            return Wait(Reason.RATE_LIMITED, text, recheck_s=IN_FLIGHT_RECHECK_S)
        until = period.end + 1 - block_time
        return Wait(
            Reason.RATE_LIMITED,
            asks,
            recheck_s=min(LATEST_RECHECK_S, max(1.0, until)),
            clocks=(Clock("rate limit period ends", Timestamp(period.end + 1)),),
        )

    def _promise(self, parcel: Parcel) -> None:
        until = self._now() + PROMISE_S
        self._promises[parcel.id] = _Promise(parcel.message.number, parcel.amount, until)

    def _promised(self) -> int:
        return sum(promise.amount for promise in self._promises.values())

    def _forget(self, ids: set[MessageId]) -> None:
        """Drop what is asked for anew and what is too old to be on its way."""
        now = self._now()
        self._promises = {
            message_id: promise
            for message_id, promise in self._promises.items()
            if promise.until > now and message_id not in ids
        }


def _period(answers: Sequence[ViewResult]) -> Period | None:
    """None when the contract has no limiter."""
    limit, used, end = (read_number_or(answer, -1) for answer in answers)
    return None if min(limit, used, end) < 0 else Period(limit, used, end)
