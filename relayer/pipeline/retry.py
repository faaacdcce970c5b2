"""When a failed message is tried again: a persisted deadline with jitter, and an end."""

from __future__ import annotations

import random
from dataclasses import dataclass

SCHEDULE_S = (5.0, 10.0, 30.0, 60.0, *([180.0] * 20))
LONGEST_S = 3600.0
JITTER = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds to wait after the nth failure, and how many failures end in the dead letters."""

    max_attempts: int
    schedule_s: tuple[float, ...] = SCHEDULE_S

    def delay_s(self, failures: int, rng: random.Random) -> float | None:
        """Seconds until the next try after `failures` (>= 1) failures; None to give up."""
        if failures >= self.max_attempts:
            return None
        if failures <= len(self.schedule_s):
            base = self.schedule_s[failures - 1]
        else:
            base = min(LONGEST_S, self.schedule_s[-1] * 2.0 ** (failures - len(self.schedule_s)))
        return base * rng.uniform(1.0 - JITTER, 1.0 + JITTER)
