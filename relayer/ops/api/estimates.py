"""When a message will be delivered: by its clocks, its route's deliveries, its bridge's rules.

An estimate says what it rests on. What a person must end, a pause or an empty wallet say, has none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from relayer.message import Reason, Record, Status, Timestamp
from relayer.ops.api.ports import Outlook
from relayer.ops.views import iso, printable

LEAST_SAMPLES = 5
"""Fewer deliveries say nothing about the next."""
NOTICED_WITHIN_S = 60.0
"""Room for a final block to be read."""

_UNFORESEEABLE = frozenset(
    {
        Reason.PAUSED,
        Reason.RATE_LIMITED,
        Reason.ROOT_MISMATCH,
        Reason.DRY_RUN,
        Reason.BUDGET_SPENT,
        Reason.AWAITING_PAYMENT,
        Reason.AWAITING_TARGET,
        Reason.SOURCE_UNREACHABLE,
        Reason.INSUFFICIENT_BALANCE,
        Reason.FEE_CAP_EXCEEDED,
        Reason.GAS_CAP_EXCEEDED,
        Reason.TARGET_FAILED,
        Reason.INTERNAL_ERROR,
    }
)
"""Waits that end when somebody does something, not after the usual time."""
_UNDER_WAY = frozenset(
    {Status.SEEN, Status.WAITING, Status.READY, Status.SUBMITTED, Status.INCLUDED}
)
_CLOCK = "clock:"


def quantile(ordered: Sequence[float], part: float) -> float:
    """The value that `part` of the ascending values do not exceed."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def estimate_view(
    record: Record, times_s: Sequence[float], now: Timestamp, *, outlook: Outlook | None = None
) -> dict[str, Any] | None:
    """The estimate as JSON, None for a delivered message; the first that says anything counts.

    `times_s` are ascending.
    """
    if record.status is Status.DELIVERED:
        return None
    if record.status not in _UNDER_WAY or record.reason in _UNFORESEEABLE:
        return _view("unknown")
    if record.status is Status.INCLUDED:
        return _by_final_block(record, outlook, now) or _view("unknown")
    clock = _last_clock(record)
    if clock is not None and clock > now:
        return _view("clock", at=clock, earliest=clock)
    return (
        _by_statistics(record, times_s, now)
        or _by_rules(record, outlook, now, samples=len(times_s))
        or _view("unknown", samples=len(times_s))
    )


def _by_statistics(
    record: Record, times_s: Sequence[float], now: Timestamp
) -> dict[str, Any] | None:
    """What the route's deliveries that took longer than this one has taken so far took."""
    begin = _begin(record)
    age_s = now - begin
    longer = times_s[bisect_right(times_s, age_s) :]
    if len(times_s) < LEAST_SAMPLES or not longer:
        return None

    def after(seconds: float) -> Timestamp:
        return Timestamp(begin + seconds)

    return _view(
        "route_statistics",
        at=after(quantile(longer, 0.5)),
        earliest=after(longer[0]),
        latest=after(quantile(longer, 0.95)),
        samples=len(times_s),
    )


def _begin(record: Record) -> Timestamp:
    """When its time on the route begins: once its block is final, where that is still to come."""
    if record.status is Status.SEEN and record.wake_at is not None:
        return record.wake_at
    return record.seen_at


def _by_rules(
    record: Record, outlook: Outlook | None, now: Timestamp, *, samples: int
) -> dict[str, Any] | None:
    """A range, without a most likely moment; its begin is left out once it is over."""
    if outlook is None:
        return None
    sent_at = record.message.at.timestamp or record.seen_at
    latest = None if outlook.latest_s is None else Timestamp(sent_at + outlook.latest_s)
    if latest is not None and latest <= now:
        return None
    earliest = Timestamp(sent_at + outlook.earliest_s)
    return _view(
        "configured_delay",
        earliest=earliest if earliest > now else None,
        latest=latest,
        samples=samples,
        detail=printable(outlook.rests_on, 300),
    )


def _by_final_block(
    record: Record, outlook: Outlook | None, now: Timestamp
) -> dict[str, Any] | None:
    """It is delivered; what is left is that its block becomes final, which may take as long again.

    A moment that is over is left out, not moved on with the clock: the answer stays the same then.
    """
    if outlook is None or outlook.final_s is None:
        return None
    earliest = Timestamp(record.since + outlook.final_s)
    latest = Timestamp(record.since + 2 * outlook.final_s + NOTICED_WITHIN_S)
    if latest <= now:
        return None
    return _view(
        "configured_delay",
        earliest=earliest if earliest > now else None,
        latest=latest,
        detail=f"final blocks of the destination, {outlook.final_s:.0f} s now",
    )


def _last_clock(record: Record) -> Timestamp | None:
    """The last of the moments the message waits for."""
    found: list[Timestamp] = []
    for name, text in record.evidence.items():
        if name.startswith(_CLOCK):
            try:
                found.append(Timestamp(float(text)))
            except ValueError:
                continue
    return max(found, default=None)


def _view(
    basis: str,
    *,
    at: Timestamp | None = None,
    earliest: Timestamp | None = None,
    latest: Timestamp | None = None,
    samples: int = 0,
    detail: str = "",
) -> dict[str, Any]:
    return {
        "at": None if at is None else iso(at),
        "earliest": None if earliest is None else iso(earliest),
        "latest": None if latest is None else iso(latest),
        "basis": basis,
        "detail": detail,
        "samples": samples,
    }
