"""What becomes of transactions on their way is counted: refused, replaced, given to nothing."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from relayer.store import Store
from tests.redis.conftest import Clock, Leases
from tests.redis.lane_world import Bridge, LaneWorld, Sea
from tests.redis.sample_facts import TEN
from tests.redis.servers import Server
from tests.unit.chain_node import Refused, client_of

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here."""
    return redis_server


@pytest.fixture
def sea() -> Sea:
    return Sea()


@pytest.fixture
async def world(store: Store, leases: Leases, clock: Clock, sea: Sea) -> AsyncIterator[LaneWorld]:
    ticks = itertools.count(1_000.0)
    async with client_of(sea, clock=lambda: next(ticks), id=TEN) as chain:
        yield LaneWorld(store, chain, leases.lane, clock, Bridge())


def counted(world: LaneWorld, outcome: str) -> float:
    labels = {"chain": world.chain.name, "outcome": outcome}
    return world.metrics.registry.get_sample_value("relayer_transactions_total", labels) or 0


async def test_a_refused_and_a_replaced_transaction_are_counted(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """A node's refusal counts once a try, a stuck transaction once a replacement."""
    sea.refusal = Refused(-32000, "some new wording")
    await world.send(leases, 1)
    assert (counted(world, "broadcast"), counted(world, "refused")) == (1, 1)
    sea.refusal = None
    for _ in range(2):
        sea.head += 100
        await world.submitter.tick()
    assert counted(world, "replaced") == 1
    assert counted(world, "refused") == 1
