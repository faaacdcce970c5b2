"""What recipients can do to us and to each other: words nobody should believe, wasted gas."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from relayer.adapter import Action, Done, Verdict
from relayer.message import Address, Reason, Status
from relayer.pipeline.nonces import body_of_raw
from relayer.store import Store
from tests.redis.conftest import Clock, Leases
from tests.redis.lane_world import (
    DELIVERED,
    INBOX,
    SIGNER,
    Bridge,
    LaneWorld,
    Sea,
    log_of,
    nonce_of,
)
from tests.redis.sample_facts import TEN, id_of
from tests.redis.servers import Server
from tests.unit.chain_node import Refused, client_of

pytestmark = pytest.mark.redis

MULTICALL = Address("0x" + "ca" * 20)
STRANGER = Address("0x" + "99" * 20)
REVERT = Refused(3, "execution reverted", "0xdead")
ITS_TARGET = Verdict(Action.RETRY, Reason.TARGET_FAILED, "no")


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def sea() -> Sea:
    made = Sea()
    made.on |= {"eth_getCode": lambda params: "0x60"}
    return made


@pytest.fixture
async def world(store: Store, leases: Leases, clock: Clock, sea: Sea) -> AsyncIterator[LaneWorld]:
    ticks = itertools.count(1_000.0)
    async with contextlib.AsyncExitStack() as stack:
        chain = client_of(sea, clock=lambda: next(ticks), id=TEN, multicall=MULTICALL)
        client = await stack.enter_async_context(chain)
        await client.start()
        made = LaneWorld(store, client, leases.lane, clock, Bridge())
        made.bridge.verdicts = {id_of(number): lambda: ITS_TARGET for number in range(20)}
        yield made


def targets(sea: Sea) -> list[str]:
    """Whom each transaction called, in the order they were taken."""
    return [body_of_raw(raw).to for raw in sea.taken.values()]


async def waste(world: LaneWorld, leases: Leases, sea: Sea, number: int) -> None:
    """One message's transaction is mined without effect."""
    await world.send(leases, number)
    sea.mine(ok=False)
    await world.submitter.tick()


# --- on chain --------------------------------------------------------------------------------


@pytest.mark.parametrize("ok", [False, True])
async def test_in_company_everybody_goes_again_at_once_and_alone(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea, ok: bool
) -> None:
    """Whatever is said of the failure: a neighbour that burnt the gas may have caused it."""
    await world.send(leases, 1, 2, 3)
    assert targets(sea) == [MULTICALL]
    sea.mine(log_of(DELIVERED, 1) if ok else log_of(DELIVERED, 9), ok=ok)
    await world.submitter.tick()
    for number in (2, 3):
        record = await world.record(number)
        assert (record.status, record.wake_at, record.alone) == (Status.WAITING, clock.time, True)
    await world.send(leases, 2, 3)
    assert targets(sea)[1:] == [INBOX, INBOX]


async def test_what_only_fails_on_chain_backs_off_and_ends(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Money is not burnt every block, nor for ever: after `lane.max_wasted` a person decides."""
    for spent in (1, 2):
        await waste(world, leases, sea, 1)
        record = await world.record(1)
        assert (record.attempts, record.wasted) == (spent, spent)
        assert record.wake_at is not None
        assert record.wake_at > clock.time + 4
    await waste(world, leases, sea, 1)
    record = await world.record(1)
    assert (record.status, record.wasted) == (Status.DEAD, 3)
    assert "lane.max_wasted" in record.detail


async def test_waste_in_company_is_nobodys_own(world: LaneWorld, leases: Leases, sea: Sea) -> None:
    """It neither counts against `lane.max_wasted` nor makes the next delivery dearer."""
    await world.send(leases, 1, 2, 3)
    sea.mine(ok=False)
    await world.submitter.tick()
    assert [(await world.record(number)).wasted for number in (1, 2, 3)] == [0, 0, 0]
    await waste(world, leases, sea, 1)
    assert (await world.record(1)).wasted == 1


async def test_a_two_faced_recipient_has_ever_less_company(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """It burns every pack and behaves alone; the others' packs soon arrive without it."""
    evil, good = "0x" + "bb" * 32, "0x" + "cc" * 32
    sizes: list[int] = []
    number = 100
    for _ in range(4):
        await world.mail(leases, {number: evil, **{number + n: good for n in range(1, 10)}})
        before = len(sea.taken)
        await world.submitter.tick()
        raws = list(sea.taken.values())[before:]
        with_evil = next(raw for raw in raws if id_of(number)[2:] in raw.hex())
        sizes.append(sum(id_of(number + n)[2:] in with_evil.hex() for n in range(10)))
        for raw in sorted(raws, key=nonce_of):
            numbers = [number + n for n in range(10) if id_of(number + n)[2:] in raw.hex()]
            burns = number in numbers and len(numbers) > 1
            sea.mine(*(() if burns else (log_of(DELIVERED, n) for n in numbers)), ok=not burns)
        await world.submitter.tick()
        world.inbox.take(1000)
        number += 20
    assert sizes[0] == 10
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


async def test_a_recipient_that_wasted_a_transaction_has_them_to_itself(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Its next messages share nothing; those to others still do."""
    await waste(world, leases, sea, 1)
    await world.ready(leases, 2, 3)
    await world.mail(leases, dict.fromkeys((4, 5), "0x" + "cc" * 32))
    await world.submitter.tick()
    assert sorted(targets(sea)[1:]) == sorted([MULTICALL, INBOX, INBOX])


# --- words -----------------------------------------------------------------------------------


async def test_only_the_inbox_says_that_a_message_is_delivered(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """A recipient that reverts with the inbox's words spends its own attempts."""
    sea.estimate = REVERT
    said = Verdict(Action.DONE, Reason.DELIVERED_BY_OTHER, "already delivered")
    world.bridge.verdicts = {id_of(1): lambda: said, id_of(2): lambda: said}
    world.bridge.steps[id_of(2)] = Done("the inbox has it")
    await world.send(leases, 1, 2)
    lied, delivered = await world.record(1), await world.record(2)
    assert (lied.status, lied.reason, lied.attempts) == (Status.WAITING, Reason.TARGET_FAILED, 1)
    assert "already delivered" in lied.detail
    assert (delivered.status, delivered.detail) == (Status.INCLUDED, "the inbox has it")


async def test_what_says_it_is_paused_is_asked_ever_less(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """It costs no attempt, and no more than a look an hour in the end."""
    sea.estimate = REVERT
    world.bridge.verdicts[id_of(1)] = lambda: Verdict(Action.WAIT, Reason.PAUSED, "paused")
    pauses: list[float] = []
    for _ in range(40):
        await world.send(leases, 1)
        record = await world.record(1)
        assert (record.reason, record.attempts) == (Reason.PAUSED, 0)
        assert record.wake_at is not None
        pauses.append(record.wake_at - clock.time)
        clock.time = record.wake_at
    assert pauses[0] == 15
    assert pauses == sorted(pauses)
    assert pauses[-1] == 3600


# --- who calls -------------------------------------------------------------------------------


async def test_a_call_for_one_sender_is_made_by_it_or_not_at_all(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """It travels alone, and a lane without that signer says who is needed."""
    asked: list[str] = []
    sea.on["eth_estimateGas"] = lambda params: asked.append(params[0]["from"]) or "0xc350"
    await world.ready(leases, 1, 2, 3, 4)
    senders = {id_of(1): STRANGER, id_of(2): SIGNER.address}
    for item in world.inbox.take(4):
        call = replace(item.call, sender=senders.get(item.record.id))
        world.inbox.put([replace(item, call=call)])
    await world.submitter.tick()
    held = await world.record(1)
    assert (held.status, held.reason) == (Status.HELD, Reason.UNSUPPORTED)
    assert STRANGER in held.detail
    assert (await world.record(2)).status is Status.SUBMITTED
    assert sorted(targets(sea)) == sorted([MULTICALL, INBOX])
    assert set(asked) == {SIGNER.address}
