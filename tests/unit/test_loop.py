"""The loop around an agent: failed ticks are counted and do not end it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest

from relayer.errors import BadChainData, EndpointDown, LeaseLost
from relayer.pipeline.loop import Bell, run_agent


class Stumbling:
    """An agent that fails in the ways it is given, then works and is done."""

    name = "stumbling:1"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.worked = asyncio.Event()

    async def tick(self) -> bool:
        if self.failures:
            raise self.failures.pop(0)
        self.worked.set()
        return False


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (EndpointDown("rpc", "gone"), "endpoint_down"),
        (BadChainData("odd"), "bad_chain_data"),
        (ZeroDivisionError(), "crash"),
    ],
)
async def test_a_failed_tick_is_counted_and_tried_again(failure: Exception, kind: str) -> None:
    """By the agent's name and the error's label."""
    counted: Counter[tuple[str, str]] = Counter()
    agent = Stumbling(failure)

    def count(name: str, label: str) -> None:
        counted[name, label] += 1

    running = asyncio.create_task(run_agent(agent, Bell(), idle_s=60, on_failure=count))
    try:
        async with asyncio.timeout(10):
            await agent.worked.wait()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert counted == {("stumbling:1", kind): 1}


async def test_what_ends_a_tenure_passes_uncounted() -> None:
    """A lost lease is its owner's to act on."""
    with pytest.raises(LeaseLost):
        await run_agent(
            Stumbling(LeaseLost("gone")),
            Bell(),
            idle_s=60,
            on_failure=lambda *_: pytest.fail("counted"),
        )


class Swallowing:
    """An agent whose tick loses the cancellation that arrives during it, as libraries do."""

    name = "swallowing:1"

    def __init__(self) -> None:
        self.ticking = asyncio.Event()

    async def tick(self) -> bool:
        self.ticking.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return False


async def test_a_swallowed_cancellation_ends_it_all_the_same() -> None:
    """Not after its idle time: a stop has thirty seconds for everything."""
    agent = Swallowing()
    running = asyncio.create_task(
        run_agent(agent, Bell(), idle_s=3600, on_failure=lambda *_: pytest.fail("counted"))
    )
    await agent.ticking.wait()
    running.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await running
