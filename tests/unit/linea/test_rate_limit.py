"""The rate limit: who passes, who waits how long, and calls of ours that are on their way."""

from __future__ import annotations

import pytest

from relayer.adapter import Call, Wait
from relayer.message import Reason, Record
from relayer.protocols.linea import contracts
from relayer.protocols.linea.rate_limit import LATEST_RECHECK_S, PROMISE_S
from tests.unit.linea.world import L2, ROLLUP, World


@pytest.fixture
def world() -> World:
    """A period with room for 30 wei, of which none is used, that ends in 100 s of chain time."""
    world = World()
    world.limit, world.used, world.period_end = 30, 0, 1_000_100
    return world


def ready(world: World, *amounts: int) -> list[Record]:
    records = [world.send(L2, block=10, fee=1, value=amount - 1) for amount in amounts]
    world.finalise(records, block=50)
    return records


async def passes(world: World, records: list[Record]) -> list[bool]:
    steps = await world.adapter.next_steps(records)
    assert all(
        isinstance(step, Call) or (isinstance(step, Wait) and step.reason is Reason.RATE_LIMITED)
        for step in steps.values()
    )
    return [isinstance(steps[record.id], Call) for record in records]


async def test_within_the_limit_nothing_more_is_read(world: World) -> None:
    """The views come with the others."""
    records = ready(world, 10, 20)
    assert await passes(world, records) == [True, True]
    assert len(world.l1.reads) == 2


async def test_as_many_as_fit_pass_together(world: World) -> None:
    """Fee and value count, of every message of the batch."""
    records = ready(world, 10, 15, 6, 5)
    assert await passes(world, records) == [True, True, False, True]


async def test_the_next_batch_knows_what_is_on_its_way(world: World) -> None:
    """Calls that are not mined yet take their room; what waits for them waits shortly."""
    first, second = ready(world, 20, 20)
    assert await passes(world, [first]) == [True]
    wait = await world.wait(second)
    assert wait.recheck_s < 10
    assert "on their way" in wait.detail


async def test_a_call_is_not_in_its_own_way(world: World) -> None:
    """The same message asked again has its room still."""
    (record,) = ready(world, 20)
    assert await passes(world, [record]) == [True]
    assert await passes(world, [record]) == [True]


async def test_what_is_claimed_is_not_counted_twice(world: World) -> None:
    """Once mined, a call is part of what the contract says is used."""
    first, second = ready(world, 20, 10)
    assert await passes(world, [first]) == [True]
    world.claimed.add(1)
    world.used = 20
    assert await passes(world, [second]) == [True]


async def test_a_call_that_never_came_is_forgotten(world: World) -> None:
    """Its room is free again after a while."""
    first, second = ready(world, 20, 20)
    assert await passes(world, [first]) == [True]
    world.clock.pass_s(PROMISE_S + 1)
    assert await passes(world, [second]) == [True]


async def test_a_used_up_period_is_waited_for_to_its_end(world: World) -> None:
    """With the time of its end, in the chain's own time."""
    (record,) = ready(world, 20)
    world.used = 11
    world.l1.time = 1_000_040.0
    wait = await world.wait(record)
    assert wait.recheck_s == 61
    assert [clock.at for clock in wait.clocks] == [1_000_101]


async def test_the_second_of_the_end_belongs_to_the_period(world: World) -> None:
    """The contract begins anew strictly after the end."""
    (record,) = ready(world, 20)
    world.used = 30
    world.l1.time = 1_000_100.0
    assert (await world.wait(record)).recheck_s == 1
    world.l1.time = 1_000_101.0
    await world.call(record)


async def test_a_long_period_is_looked_at_now_and_then(world: World) -> None:
    """Its manager may raise the limit or reset what is used."""
    (record,) = ready(world, 20)
    world.used, world.period_end = 30, 1_000_000 + 86_400
    assert (await world.wait(record)).recheck_s == LATEST_RECHECK_S


async def test_a_message_above_the_whole_limit_says_so(world: World) -> None:
    """No period has room for it."""
    (record,) = ready(world, 31)
    wait = await world.wait(record)
    assert wait.reason is Reason.RATE_LIMITED
    assert "whole period" in wait.detail
    assert wait.clocks == ()


async def test_a_contract_without_a_limiter_has_no_limit(world: World) -> None:
    """Views that are not there mean no limit; the contract itself would say otherwise."""
    records = ready(world, 100)
    world.l1.answer(ROLLUP, contracts.LIMIT, b"")
    assert await passes(world, records) == [True]
