"""A node that does not run a view says nothing about the message: all wait, none dies."""

from __future__ import annotations

import pytest

from relayer.adapter import Refuse, Wait
from relayer.errors import RpcRefused
from relayer.message import Reason
from relayer.protocols.hyperlane.contracts import Lookup, encode_lookup
from tests.fakes import Reverts
from tests.unit.hyperlane.test_adapter import OTHER_ISM, called, waiting
from tests.unit.hyperlane.world import INBOX, ISM, RECIPIENT, World, selector

BAD = "0x" + "66" * 20


def refuse(_: bytes) -> bytes:
    """What a node does with a call it does not want to run."""
    raise RpcRefused(-32000, "stack limit reached 1024 (1023)")


@pytest.mark.parametrize("view", ["delivered(bytes32)", "recipientIsm(address)"])
async def test_a_mailbox_view_that_the_node_refuses(world: World, view: str) -> None:
    """The message waits with the node's words, and goes once the node answers."""
    (record,) = world.dispatch()
    world.all_sign(0)
    world.destination.answer(INBOX, selector(view), refuse)
    wait = waiting(await world.step(record), Reason.SOURCE_UNREACHABLE)
    assert "stack limit reached" in wait.detail
    world.set_up_contracts()
    called(await world.step(record))


@pytest.mark.parametrize(
    ("kind", "view"),
    [
        (None, "moduleType()"),
        (4, "validatorsAndThreshold(bytes)"),
        (9, "validatorsAndThresholdWeight(bytes)"),
        (2, "modulesAndThreshold(bytes)"),
        (1, "route(bytes)"),
        (6, "paused()"),
        (7, "getOffchainVerifyInfo(bytes)"),
    ],
)
async def test_an_ism_view_that_the_node_refuses(world: World, kind: int | None, view: str) -> None:
    """Only its own messages wait, and what was not told is not remembered."""
    if kind is not None:
        world.ism(OTHER_ISM, kind)
    world.destination.answer(OTHER_ISM, selector(view), refuse)
    world.recipient_isms[BAD] = OTHER_ISM
    records = [*world.dispatch(), *world.dispatch(recipient=BAD), *world.dispatch()]
    world.all_sign(2)
    steps = await world.adapter.next_steps(records)
    called(steps[records[0].id])
    called(steps[records[2].id])
    wait = waiting(steps[records[1].id], Reason.SOURCE_UNREACHABLE)
    assert "stack limit reached" in wait.detail
    world.multisig(OTHER_ISM, 2)
    if kind in (None, 4):  # of another kind, the kind itself is remembered for `cache_s`
        called(await world.step(records[1]))


async def test_what_a_node_never_tells_costs_ever_less(world: World) -> None:
    """A message that no node wants to look into is looked at ever more rarely."""
    world.destination.answer(ISM, selector("moduleType()"), refuse)
    (record,) = world.dispatch()
    pauses = []
    for _ in range(4):
        pauses.append(waiting(await world.step(record), Reason.SOURCE_UNREACHABLE).recheck_s)
        world.clock.pass_s(200)
    assert pauses == [15, 50, 100, 120]


async def test_an_aggregation_uses_what_it_was_told(world: World) -> None:
    """A module that no node describes counts as one to wait for."""
    world.null(ISM)
    world.destination.answer(OTHER_ISM, selector("moduleType()"), refuse)
    top = "0x" + "e9" * 20
    world.recipient_isms[RECIPIENT] = top
    world.aggregation(top, [OTHER_ISM, ISM], 2)
    (record,) = world.dispatch()
    waiting(await world.step(record), Reason.SOURCE_UNREACHABLE)
    world.aggregation(top, [OTHER_ISM, ISM], 1)
    world.clock.pass_s(100)
    called(await world.step(record))


async def test_a_mailbox_without_code_is_awaited(world: World) -> None:
    """An empty answer of the mailbox is a node or a block without it, not a bad recipient."""
    (record,) = world.dispatch()
    world.destination.answer(INBOX, selector("recipientIsm(address)"), b"")
    waiting(await world.step(record), Reason.SOURCE_UNREACHABLE)


async def test_a_recipient_whose_ism_is_no_address_is_held(world: World) -> None:
    """The recipient may be upgraded: a person can release the message, it is not dead."""
    (record,) = world.dispatch()
    world.recipient_isms[RECIPIENT] = "revert"
    step = await world.step(record)
    assert isinstance(step, Refuse)
    assert (step.reason, step.dead) == (Reason.UNDELIVERABLE, False)


async def test_a_lookup_that_the_node_refuses(world: World) -> None:
    """A refused question is a wait; an answered one that may not be followed is held."""
    world.ism(ISM, 7)
    question = selector("getOffchainVerifyInfo(bytes)")
    world.destination.answer(ISM, question, refuse)
    (record,) = world.dispatch()
    waiting(await world.step(record), Reason.SOURCE_UNREACHABLE)

    def asks(_: bytes) -> bytes:
        raise Reverts(encode_lookup(Lookup(ISM, ("ftp://x/",), b"")))

    world.destination.answer(ISM, question, asks)
    assert not isinstance(await world.step(record), Wait)
