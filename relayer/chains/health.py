"""How one endpoint has been doing lately, and how fast it may be asked; pure, the clock comes in.

Only transport failures and nonsense count against an endpoint; what a node says about a
transaction, a call or a range never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FIRST_COOL_DOWN_S = 0.5
LONGEST_COOL_DOWN_S = 30.0
FAILURES_THAT_LAST = 2
"""Failures in a row after which only an answer makes an endpoint healthy again."""
BURST_S = 1.0
"""A quiet endpoint may be asked this much of its per-second allowance at once."""


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """What readiness and metrics say about one endpoint; `name` is redacted."""

    name: str
    healthy: bool
    lag_blocks: int
    errors: int
    latency_s: float


def trouble_of(endpoints: Sequence[EndpointHealth], quorum: int) -> str:
    """Why the chain cannot be read, in words for everybody; empty when it can."""
    answering = sum(one.healthy for one in endpoints)
    if not answering:
        return "no endpoint answers"
    if answering < quorum:
        return f"{answering} of {quorum} endpoints that must agree answer"
    return ""


class Health:
    """The cool-down of one endpoint: doubles with every failure in a row, ends with a success."""

    __slots__ = ("_row", "_until", "cause", "errors", "is_misfit", "lag_blocks", "latency_s")

    def __init__(self) -> None:
        self.errors = 0
        self.lag_blocks = 0
        self.latency_s = 0.0
        self.cause = ""
        self.is_misfit = False
        """Serves another chain: never asked again."""
        self._row = 0
        self._until = 0.0

    def is_cooling(self, now: float) -> bool:
        """Whether it should be left alone at `now`."""
        return self.is_misfit or now < self._until

    def is_failing(self, now: float) -> bool:
        """Whether it is not to be counted on at `now`; the end of a pause alone proves nothing."""
        return self.is_cooling(now) or self._row >= FAILURES_THAT_LAST

    def answered(self, seconds: float) -> None:
        """It answered after `seconds`: whatever was wrong is over."""
        self._row = 0
        self._until = 0.0
        weight = 0.2 if self.latency_s else 1.0
        self.latency_s += weight * (seconds - self.latency_s)

    def failed(self, now: float, cause: str, *, at_least_s: float = 0.0) -> None:
        """It failed at `now`; failures of requests that were under way together count once."""
        self.errors += 1
        self.cause = cause
        if self.is_cooling(now):
            return
        pause = FIRST_COOL_DOWN_S * 2.0 ** min(self._row, 16)
        self._row += 1
        self._until = now + min(max(pause, at_least_s), LONGEST_COOL_DOWN_S)


class Pace:
    """Spreads requests to at most `per_second` on average, with a short burst."""

    __slots__ = ("_free_at", "_per_second")

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._free_at = 0.0

    def reserve(self, requests: int, now: float) -> float:
        """Book `requests` and return the seconds to wait before sending them."""
        if self._per_second is None:
            return 0.0
        start = max(self._free_at, now - BURST_S)
        self._free_at = start + requests / self._per_second
        return max(0.0, start - now)
