"""A delivery that only a log told of is asked about again: a forged one hides no message."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
import structlog

from relayer.adapter import Done, Wait
from relayer.errors import EndpointDown
from relayer.message import Reason, Status
from relayer.pipeline.second_look import AFTER_S, SecondLook
from relayer.store import Store
from tests.redis.conftest import Clock, Leases
from tests.redis.lane_world import Bridge, LaneWorld, Sea
from tests.redis.sample_facts import TEN, delivery, id_of, message, tx_of
from tests.redis.servers import Server
from tests.unit.chain_node import client_of

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
async def world(store: Store, leases: Leases, clock: Clock) -> AsyncIterator[LaneWorld]:
    """Three messages; a log says of each that somebody has delivered it."""
    ticks = itertools.count(1_000.0)
    async with client_of(Sea(), clock=lambda: next(ticks), id=TEN) as chain:
        made = LaneWorld(store, chain, leases.lane, clock, Bridge())
        await store.save_facts(leases.follower, [message(n) for n in (1, 2, 3)])
        await store.save_facts(leases.far, [delivery(n) for n in (1, 2, 3)])
        yield made


def look_of(world: LaneWorld) -> SecondLook:
    return SecondLook(
        chain=world.chain,
        ask=world.prover.steps,
        store=world.store,
        lease=world.lease,
        metrics=world.metrics,
        now=world.clock,  # type: ignore[arg-type]
    )


async def statuses(world: LaneWorld) -> list[Status]:
    return [(await world.record(n)).status for n in (1, 2, 3)]


async def test_what_the_inbox_could_take_was_never_delivered(world: LaneWorld) -> None:
    """It waits again, and can be delivered again; the others are not asked about any more."""
    world.bridge.steps = {id_of(1): Done(), id_of(3): Done()}
    look = look_of(world)
    await look.tick()
    assert world.bridge.asked == []
    world.clock.time += AFTER_S
    with structlog.testing.capture_logs() as lines:
        await look.tick()
    assert await statuses(world) == [Status.DELIVERED, Status.WAITING, Status.DELIVERED]
    assert [line["message_id"] for line in lines if line["log_level"] == "error"] == [id_of(2)]
    denied = await world.record(2)
    assert (denied.wake_at, denied.reason) == (world.clock.time, Reason.NEW)
    world.clock.time += AFTER_S
    await look.tick()
    assert world.bridge.asked == [[id_of(1), id_of(2), id_of(3)]]


async def test_what_nobody_can_tell_is_asked_again_later(world: LaneWorld) -> None:
    """A wait says nothing of a delivery, nor does an endpoint that is down."""
    world.bridge.steps = {id_of(1): Wait(Reason.AWAITING_ROOT), id_of(2): Done(), id_of(3): Done()}
    world.bridge.failure = EndpointDown("rpc", "gone")
    look = look_of(world)
    for _ in range(2):
        world.clock.time += AFTER_S
        await look.tick()
        await look.tick()
        assert await statuses(world) == [Status.DELIVERED] * 3
        world.bridge.failure = None
    assert world.bridge.asked == [[id_of(1), id_of(2), id_of(3)]] * 2
    del world.bridge.steps[id_of(1)]
    world.clock.time += AFTER_S
    await look.tick()
    assert world.bridge.asked[2:] == [[id_of(1)]]
    assert (await world.record(1)).status is Status.WAITING


async def test_a_crash_over_one_message_keeps_no_other_from_its_look(world: LaneWorld) -> None:
    """The adapter's bug is a wait of that message alone."""

    def crash_over_two() -> None:
        if id_of(2) in world.bridge.asked[-1]:
            raise ZeroDivisionError

    world.bridge.proving = crash_over_two
    world.clock.time += AFTER_S
    await look_of(world).tick()
    assert await statuses(world) == [Status.WAITING, Status.DELIVERED, Status.WAITING]


async def test_our_own_receipt_needs_no_second_look(
    store: Store, leases: Leases, world: LaneWorld
) -> None:
    """It was seen twice already: in the receipt, and in the final block's logs."""
    await store.save_facts(leases.follower, [message(4)])
    await store.note_included(leases.lane, [(id_of(4), 500, tx_of(900), True, "")])
    await store.save_facts(leases.far, [delivery(4)])
    world.bridge.steps = {id_of(n): Done() for n in (1, 2, 3)}
    world.clock.time += AFTER_S
    await look_of(world).tick()
    assert world.bridge.asked == [[id_of(1), id_of(2), id_of(3)]]


async def test_a_delivery_that_is_told_again_is_looked_at_again(
    store: Store, leases: Leases, world: LaneWorld
) -> None:
    """What is read anew counts anew, whoever was right."""
    world.clock.time += AFTER_S
    await look_of(world).tick()
    assert await statuses(world) == [Status.WAITING] * 3
    await store.save_facts(leases.far, [delivery(1)])
    assert (await world.record(1)).status is Status.DELIVERED
    world.clock.time += AFTER_S
    await look_of(world).tick()
    assert (await world.record(1)).status is Status.WAITING
    assert await store.doubted(TEN, world.clock(), limit=9) == []
