"""A delivery that was seen in a block that never was is not believed for ever."""

from __future__ import annotations

import itertools

import pytest

from relayer.adapter import Done
from relayer.message import Reason, Status
from relayer.pipeline.settling import HEAD_MAY_LAG
from relayer.store import Store
from tests.redis.conftest import Clock, Leases
from tests.redis.lane_world import Bridge, LaneWorld, Sea
from tests.redis.sample_facts import TEN, cursor, id_of, message
from tests.redis.servers import Server
from tests.unit.chain_node import client_of

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


async def test_one_lie_about_head_and_delivery_hides_no_message(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """The block would never be final: with the true head the message is looked at again, while
    what an endpoint a little ahead of another has seen stays."""
    sea, ticks = Sea(), itertools.count(1_000.0)
    await store.advance(leases.far, cursor(sea.head - 2))
    async with client_of(sea, clock=lambda: next(ticks), id=TEN) as chain:
        world = LaneWorld(store, chain, leases.lane, clock, Bridge())
        await store.save_facts(leases.follower, [message(1), message(2)])
        await store.note_included(
            leases.lane, [(id_of(2), sea.head + HEAD_MAY_LAG, None, False, "")]
        )
        world.bridge.steps[id_of(1)] = Done()
        true_head, sea.head = sea.head, 10**9
        await world.prover.tick()
        assert (await world.record(1)).status is Status.INCLUDED
        sea.head = true_head
        await world.submitter.tick()
        lied, seen = await world.record(1), await world.record(2)
        assert (lied.status, lied.reason) == (Status.WAITING, Reason.SOURCE_UNREACHABLE)
        assert lied.wake_at == clock.time
        assert seen.status is Status.INCLUDED
