"""Local chains with the real contracts, one world a test; it boots in a fraction of a second."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relayer.devnet.anvil import Anvil, AnvilOptions
from relayer.devnet.world import Devnet, WorldPlan

MakeWorld = Callable[[WorldPlan], Awaitable[Devnet]]


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """Start worlds as planned; they are ended with the test."""
    async with AsyncExitStack() as stack:
        made = 0

        async def make(plan: WorldPlan) -> Devnet:
            nonlocal made
            made += 1
            return await stack.enter_async_context(Devnet(tmp_path / f"world-{made}", plan))

        yield make


@pytest.fixture
async def still_world(make_world: MakeWorld) -> Devnet:
    """Three chains on which nothing moves by itself: a block a transaction, signing on demand."""
    world = await make_world(WorldPlan(block_time_s=None))
    await world.pause_operators()
    return world


@pytest.fixture
async def node() -> AsyncIterator[Anvil]:
    """One empty chain that makes a block for each transaction."""
    async with Anvil(AnvilOptions(chain_id=31337, block_time_s=None)) as anvil:
        yield anvil
