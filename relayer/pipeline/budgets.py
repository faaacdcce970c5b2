"""Whether a transaction's messages are worth sending now: fee rules at today's price, and budgets.

One lane spends on one destination, so its budgets are in that chain's wei and need no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relayer.adapter import Clock, Wait
from relayer.message import ChainId, Reason, Timestamp, Wei
from relayer.pipeline.inbox import ReadyCall
from relayer.pipeline.packing import Pack
from relayer.pipeline.policy import Budget, Offer, Policy
from relayer.store import Charge, Store

GWEI = 10**9
LONGEST_WAIT_S = 3600.0
"""An operator may raise a budget at any time."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The messages of a pack that may be sent, and what they take out of budgets."""

    pack: Pack
    """What is left of it; perhaps nothing."""
    waits: tuple[tuple[ReadyCall, Wait], ...]
    charge: Charge | None


class Budgets:
    """The money side of one lane."""

    def __init__(
        self, chain: ChainId, policy: Policy, store: Store, now: Callable[[], Timestamp]
    ) -> None:
        self._chain = chain
        self._policy = policy
        self._store = store
        self._now = now

    async def admit(self, pack: Pack, price: Wei, data_fee: Wei) -> Admission:
        """Split a pack by what each of its calls costs at `price` wei a gas, its part of the
        `data_fee` by its size."""
        costs = _costs(pack, price, data_fee)
        waits: dict[int, Wait] = {}
        for place, (item, gas) in enumerate(zip(pack.items, pack.shares, strict=True)):
            wait = self._policy.unpaid(item.record, Offer(gas, costs[place], item.call.income))
            if wait is not None:
                waits[place] = wait
        limits = {
            place: self._policy.budgets(item.record)
            for place, item in enumerate(pack.items)
            if place not in waits
        }
        charge = None
        if any(limits.values()):
            charge = await self._charge(limits, costs, waits)
        put_off = tuple((pack.items[place], wait) for place, wait in waits.items())
        return Admission(pack.without(waits), put_off, charge)

    async def _charge(
        self,
        limits: Mapping[int, Sequence[Budget]],
        costs: Sequence[Wei],
        waits: dict[int, Wait],
    ) -> Charge | None:
        """Take each call's cost out of its budgets in turn; what they cannot bear waits."""
        today = datetime.fromtimestamp(self._now(), UTC)
        names = sorted({budget.name for own in limits.values() for budget in own})
        taken = await self._store.spent(self._chain, today.date().isoformat(), names)
        before = dict(taken)
        expected = 0
        for place, own in limits.items():
            gwei = -(-costs[place] // GWEI)
            over = [one for one in own if (taken[one.name] + gwei) * GWEI > one.limit]
            if over:
                left = max(0, over[0].limit - taken[over[0].name] * GWEI)
                waits[place] = _until_tomorrow(today, over[0].name, costs[place], left)
                continue
            expected += costs[place]
            for one in own:
                taken[one.name] += gwei
        charges = {name: taken[name] - before[name] for name in names if taken[name] > before[name]}
        return Charge(today.date().isoformat(), charges, Wei(expected)) if charges else None


def _costs(pack: Pack, price: Wei, data_fee: Wei) -> list[Wei]:
    """Wei of each call, rounded up."""
    size = sum(len(item.call.data) for item in pack.items) or 1
    return [
        Wei(gas * price - (-data_fee * len(item.call.data) // size))
        for gas, item in zip(pack.shares, pack.items, strict=True)
    ]


def _until_tomorrow(today: datetime, budget: str, cost: int, left: int) -> Wait:
    tomorrow = (today + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    seconds = (tomorrow - today).total_seconds()
    return Wait(
        Reason.BUDGET_SPENT,
        f"costs about {cost} wei, {budget} has {left} left today (UTC)",
        recheck_s=min(seconds, LONGEST_WAIT_S),
        clocks=(Clock("next day", Timestamp(tomorrow.timestamp())),),
    )
