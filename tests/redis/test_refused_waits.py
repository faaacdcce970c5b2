"""A recipient that says for ever that the world is not ready is given up in the end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from itertools import cycle

import pytest

from relayer.acts import Verb
from relayer.adapter import Action, Verdict, Wait
from relayer.message import Reason, Status
from relayer.pipeline.judging import LATEST_S, SOONEST_S
from relayer.store import Store
from tests.redis.conftest import Clock, Leases
from tests.redis.lane_world import GAS, Bridge, LaneWorld, Sea
from tests.redis.sample_facts import TEN, id_of
from tests.redis.servers import Server
from tests.unit.chain_node import Refused, client_of

pytestmark = pytest.mark.redis

DAY_S = 86400.0
REVERT = Refused(3, "execution reverted: paused")


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


class Liar(Bridge):
    """Each simulation fails with another word that costs no attempt."""

    def __init__(self) -> None:
        super().__init__()
        words = cycle([Reason.PAUSED, Reason.RATE_LIMITED])
        self.verdicts = {id_of(1): lambda: Verdict(Action.WAIT, next(words), "not now")}


@contextlib.asynccontextmanager
async def refusing(
    store: Store, leases: Leases, clock: Clock
) -> AsyncIterator[tuple[LaneWorld, Sea]]:
    """One message that always waits, on a lane that gives up after a day."""
    sea = Sea()
    sea.estimate = REVERT
    async with client_of(sea, id=TEN, lane={"max_refused_s": DAY_S}) as chain:
        world = LaneWorld(store, chain, leases.lane, clock, Liar())
        await world.ready(leases, 1)
        yield world, sea


async def turn(world: LaneWorld) -> float:
    """One refusal more; seconds until the next."""
    await world.submitter.tick()
    record = await world.record(1)
    if record.wake_at is None:
        return 0.0
    pause_s = record.wake_at - world.clock.time
    world.clock.time += pause_s + 1
    await world.prover.tick()
    return pause_s


async def test_words_that_change_neither_hurry_nor_end_it(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Asked less and less often, by when it was first refused; after a day a person decides."""
    async with refusing(store, leases, clock) as (world, _):
        began, pauses = clock.time, []
        while (await world.record(1)).status is not Status.DEAD:
            pauses.append(await turn(world))
            assert len(pauses) < 100
        assert pauses[0] == SOONEST_S
        assert pauses[-2] == LATEST_S
        assert pauses[:-1] == sorted(pauses[:-1])
        record = await world.record(1)
        assert record.reason is Reason.RETRIES_EXHAUSTED
        assert "lane.max_refused_s" in record.detail
        assert "not now" in record.detail
        assert DAY_S <= clock.time - began < DAY_S + 2 * LATEST_S


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RELEASE])
async def test_a_person_gives_it_all_the_time_again(
    store: Store, leases: Leases, clock: Clock, verb: Verb
) -> None:
    """`retry` of a dead letter, and `release` of what was held meanwhile, begin anew."""
    async with refusing(store, leases, clock) as (world, _):
        await turn(world)
        clock.time += 2 * DAY_S
        if verb is Verb.RETRY:
            await turn(world)
            assert (await world.record(1)).status is Status.DEAD
        else:
            await store.note_waits(leases.lane, [(id_of(1), Wait(Reason.PAUSED))])
            await store.hold(id_of(1))
        await store.operate(verb, id_of(1))
        await world.prover.tick()
        assert await turn(world) == SOONEST_S


async def test_what_could_be_sent_once_was_not_refused_all_the_time(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """A transaction that is mined in vain ends the time that counts."""
    async with refusing(store, leases, clock) as (world, sea):
        await turn(world)
        assert (await world.record(1)).refused_since is not None
        sea.estimate = GAS
        await world.submitter.tick()
        record = await world.record(1)
        assert (record.status, record.refused_since) == (Status.SUBMITTED, None)
