"""Whether the store answers, asked within a bound: for readiness and for metrics."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from relayer.errors import RelayerError
from relayer.ops.http import Readiness
from relayer.ops.metrics import Metrics

ANSWER_WITHIN_S = 2.0
"""Far above what Redis takes, and below what a balancer's probe waits."""


class Vital(Protocol):
    """The part of the store that says how it is."""

    async def memory_bytes(self) -> int:
        """Memory it uses; answers only when all of it can be reached."""
        ...


async def ask_store(
    store: Vital, metrics: Metrics, *, within_s: float = ANSWER_WITHIN_S
) -> Readiness:
    """Ask the store how it is, count the answer, and say whether it is ready."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(within_s):
            memory = await store.memory_bytes()
    except TimeoutError:
        metrics.store_failed("timeout")
        return Readiness(False, f"Redis did not answer within {within_s:g} s")
    except RelayerError as error:
        metrics.store_failed(error.label)
        return Readiness(False, f"Redis does not answer ({error.label}); the log says more")
    metrics.store_answered(time.monotonic() - started, memory)
    return Readiness(True)
