"""A whole world per test: real chains, real contracts, and the relayer as its users run it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Sent
from relayer.devnet.ledger import wasted_calls
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet, WorldPlan


async def until(what: Callable[[], Awaitable[bool]], *, within_s: float = 60.0) -> None:
    """Wait for a condition of the outside world; fails by time-out, never passes by waiting."""
    async with asyncio.timeout(within_s):
        while not await what():  # noqa: ASYNC110 - the world outside rings no bell
            await asyncio.sleep(0.2)


async def told_by_metric(
    relayer: RelayerProcess, name: str, least: float = 1, **labels: str
) -> None:
    """Wait until a metric is that high: scrapes of the same second share one rendering."""

    async def there() -> bool:
        return await relayer.metric(name, **labels) >= least

    await until(there)


async def all_delivered(world: Devnet, sent: Sequence[Sent], *, within_s: float = 90.0) -> None:
    """Wait until every message is delivered on chain."""

    async def done() -> bool:
        return not await world.traffic.undelivered(sent)

    await until(done, within_s=within_s)


async def assert_exactly_once(world: Devnet, sent: Sequence[Sent]) -> None:
    """Every message has one delivery, its body arrived, and no transaction of ours was wasted."""
    ledger = await world.hyperlane.deliveries(sent)
    assert {one.id: ledger[one.id].count for one in sent} == {one.id: 1 for one in sent}
    assert all(ledger[one.id].body_arrived for one in sent)
    assert (
        await wasted_calls([site.rpc for site in world.sites.values()], world.hyperlane.outcomes)
        == 0
    )


@pytest.fixture
def relayer_on(tmp_path: Path) -> Callable[[Devnet, int], RelayerProcess]:
    """Makes (not yet started) relayers on a world's configuration."""

    def make(world: Devnet, port: int) -> RelayerProcess:
        return RelayerProcess(world.config_path, port, tmp_path / "relayer.log")

    return make


def plan_with_port(**more: object) -> tuple[WorldPlan, int]:
    """A world plan whose relayer listens on a free port."""
    port = free_port()
    settings = {"http": {"host": "127.0.0.1", "port": port}}
    return WorldPlan(more_settings=settings, **more), port  # type: ignore[arg-type]
