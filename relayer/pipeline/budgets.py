"""Whether a transaction's messages are worth sending now: fee rules at today's price, and budgets.

One lane spends on one destination, so its budgets are in that chain's wei and need no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from relayer.adapter import Clock, Wait
from relayer.message import ChainId, Gas, Reason, Timestamp, Wei
from relayer.pipeline.inbox import ReadyCall
from relayer.pipeline.policy import Offer, Policy
from relayer.store import Charge, Store

GWEI = 10**9
LONGEST_WAIT_S = 3600.0
"""An operator may raise a budget at any time."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The messages of a pack that may be sent, and what they take out of budgets."""

    items: tuple[ReadyCall, ...]
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

    async def admit(self, items: Sequence[ReadyCall], gas: Gas, cost: Wei) -> Admission:
        """Split a pack that needs `gas` and is expected to cost `cost` wei, shared evenly."""
        share = Wei(-(-cost // len(items)))
        each = Gas(gas // len(items))
        waits: list[tuple[ReadyCall, Wait]] = []
        paid: list[ReadyCall] = []
        for item in items:
            wait = self._policy.unpaid(item.record, Offer(each, share, item.call.income))
            if wait is None:
                paid.append(item)
            else:
                waits.append((item, wait))
        limits = {item.record.id: self._policy.budgets(item.record) for item in paid}
        if not any(limits.values()):
            return Admission(tuple(paid), tuple(waits), None)
        today = datetime.fromtimestamp(self._now(), UTC)
        names = sorted({budget.name for own in limits.values() for budget in own})
        taken = await self._store.spent(self._chain, today.date().isoformat(), names)
        before = dict(taken)
        gwei = -(-share // GWEI)
        kept: list[ReadyCall] = []
        for item in paid:
            own = limits[item.record.id]
            over = [one for one in own if (taken[one.name] + gwei) * GWEI > one.limit]
            if over:
                left = max(0, over[0].limit - taken[over[0].name] * GWEI)
                waits.append((item, _until_tomorrow(today, over[0].name, share, left)))
                continue
            for one in own:
                taken[one.name] += gwei
            kept.append(item)
        charges = {name: taken[name] - before[name] for name in names if taken[name] > before[name]}
        charge = Charge(today.date().isoformat(), charges, Wei(share * len(kept)))
        return Admission(tuple(kept), tuple(waits), charge if charges else None)


def _until_tomorrow(today: datetime, budget: str, cost: int, left: int) -> Wait:
    tomorrow = (today + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    seconds = (tomorrow - today).total_seconds()
    return Wait(
        Reason.BUDGET_SPENT,
        f"costs about {cost} wei, {budget} has {left} left today (UTC)",
        recheck_s=min(seconds, LONGEST_WAIT_S),
        clocks=(Clock("next day", Timestamp(tomorrow.timestamp())),),
    )
