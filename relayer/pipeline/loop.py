"""Runs an agent's `tick()` for ever: at once while there is work, else on a bell or after a pause.

The only broad `except` of the engine lives here, where it becomes a decision: transient errors
back off, anything else is an error log and a longer pause. Cancellation passes through.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import structlog

from relayer.cancelling import stop_if_cancelled
from relayer.errors import Fatal, LeaseLost, RelayerError, Transient

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0


class Agent(Protocol):
    """One endless worker, told apart by `name`."""

    @property
    def name(self) -> str: ...

    async def tick(self) -> bool:
        """Do one bounded piece of work; True when there is more to do right away."""
        ...


class Bell:
    """Wakes a sleeping loop; rings are remembered until the next wait."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the loop now, or make its next wait return at once."""
        self._event.set()

    async def wait(self, at_most_s: float) -> None:
        """Return at the next ring or after `at_most_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                await self._event.wait()
        self._event.clear()


async def run_agent(
    agent: Agent, bell: Bell, *, idle_s: float, on_failure: Callable[[str, str], None]
) -> None:
    """Tick until cancelled; raises only `LeaseLost` and `Fatal`, which its owner must act on.

    `on_failure` is told the agent's name and an error label, or `crash`, for each failed tick.
    """
    log = structlog.get_logger("relayer").bind(agent=agent.name)
    failures = 0
    while True:
        stop_if_cancelled()
        try:
            busy = await agent.tick()
            failures = 0
        except (LeaseLost, Fatal):
            raise
        except RelayerError as error:
            failures += 1
            kind = "transient" if isinstance(error, Transient) else error.label
            log.warning("tick_failed", kind=kind, error=str(error)[:500], failures=failures)
            on_failure(agent.name, error.label)
            busy = False
        except Exception as error:  # a bug must not stop the other agents
            failures += 1
            log.exception("tick_crashed", error=repr(error)[:500], failures=failures)
            on_failure(agent.name, "crash")
            busy = False
        stop_if_cancelled()
        if failures:
            pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
            await asyncio.sleep(pause)
        elif not busy:
            await bell.wait(idle_s)
        else:
            await asyncio.sleep(0)
