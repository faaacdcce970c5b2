"""What the adapter answers for messages, honest and hostile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.adapter import Call, Done, Refuse, Step, Wait
from relayer.errors import EndpointDown, Transient
from relayer.message import Address, Gate, MessageId, Reason, Record, Route, Timestamp
from relayer.protocols.op_interop import contracts
from relayer.protocols.op_interop.contracts import INBOX, MESSENGER
from relayer.protocols.op_interop.identifier import Identifier
from relayer.protocols.op_interop.origin import spans
from relayer.protocols.op_interop.settings import EXPIRY_S
from tests.unit.op_interop.world import BLOCK_S, BRIDGE, START, A, B, World

SAFE = Gate(BRIDGE, "safe:901")
EMPTY = Address("0x" + "ee" * 20)


def called(step: Step) -> Call:
    assert isinstance(step, Call), step
    assert step.to == MESSENGER
    return step


def waits(step: Step, reason: Reason) -> Wait:
    assert isinstance(step, Wait), step
    assert step.reason is reason, step
    return step


def refused(step: Step, reason: Reason) -> Refuse:
    assert isinstance(step, Refuse), step
    assert step.reason is reason, step
    return step


async def test_a_call_names_the_log_where_it_is(world: World) -> None:
    """Identifier and access list are those of the log in the canonical chain."""
    records = world.send(3)
    steps = await world.adapter.next_steps(records)
    for index, record in enumerate(records):
        call = called(steps[record.id])
        identifier = Identifier(10, index, START + 10 * BLOCK_S, A)
        message = contracts.decode_message(record.message.payload)
        assert call.data == message.relay_call(identifier.words())
        assert call.access_list == ((INBOX, identifier.access_keys(message.log_payload())),)
        assert call.shareable
        assert call.evidence["log_index"] == str(index)


async def test_a_batch_costs_few_requests(world: World) -> None:
    """One read of the destination, one request for logs, one header a block and batch."""
    records = [*world.send(50), *world.send(50, block=11)]
    await world.adapter.next_steps(records)
    assert len(world.b.reads) == 1
    assert world.a.asked_logs == [(10, 11)]
    assert sorted(world.a.asked_headers) == [10, 11]
    await world.adapter.next_steps(records)
    assert sorted(world.a.asked_headers) == [10, 11]


async def test_what_was_relayed_is_done(world: World) -> None:
    """Whoever did it: the messenger's own word."""
    record, other = world.send(2)
    world.b.relayed.add(bytes.fromhex(record.id[2:]))
    steps = await world.adapter.next_steps([record, other])
    assert isinstance(steps[record.id], Done)
    called(steps[other.id])


# --- where it was said -----------------------------------------------------------------------


async def test_a_replaced_block_is_not_relayed_from(world: World) -> None:
    """The same log at the same place, but in another block of that number: stale."""
    (record,) = world.send()
    called(await world.step(record))
    world.a.fork, world.a.forked_at = 1, 10
    world.a.sent.clear()
    world.a.say(contracts.decode_message(record.message.payload), block=10)
    wait = waits(await world.step(record), Reason.AWAITING_FINALITY)
    assert "was replaced" in wait.detail


async def test_after_a_reorg_the_new_place_counts(world: World) -> None:
    """The follower's new fact has the same id and another identifier; that one is sent."""
    (record,) = world.send()
    world.a.fork, world.a.forked_at = 1, 10
    world.a.sent.clear()
    message = contracts.decode_message(record.message.payload)
    log = world.a.say(message, block=12, log_index=4)
    (again,) = world.records(world.adapter.decode([log]))
    assert again.id == record.id
    call = called(await world.step(again))
    assert call.data == message.relay_call(Identifier(12, 4, START + 24, A).words())
    waits(await world.step(record), Reason.AWAITING_FINALITY)


async def test_a_log_that_is_not_shown_is_not_relayed(world: World) -> None:
    """An endpoint that lags, hides, or shows another message there: nothing is sent."""
    (record,) = world.send()
    (log,) = world.a.sent
    world.a.sent = []
    hidden = waits(await world.step(record), Reason.AWAITING_FINALITY)
    assert "is not shown" in hidden.detail
    assert hidden.disproved
    other = world.message(body=b"other")
    world.a.sent = [replace(log, topics=(*log.topics[:3], log.topics[1]), data=other.log_data())]
    assert "another message" in waits(await world.step(record), Reason.AWAITING_FINALITY).detail
    world.a.sent = [replace(log, data=log.data[:-1])]
    waits(await world.step(record), Reason.AWAITING_FINALITY)
    world.a.sent = [replace(log, at=replace(log.at, log_index=1))]
    waits(await world.step(record), Reason.AWAITING_FINALITY)


async def test_a_block_beyond_the_source_s_head_is_not_relayed_from(world: World) -> None:
    """A source that went back behind the block has no such message."""
    (record,) = world.send(block=90)
    world.a.head = 80
    waits(await world.step(record), Reason.AWAITING_FINALITY)


async def test_a_stored_message_that_is_not_its_id_is_dead(world: World) -> None:
    """Payload, id, route and message must agree; a tampered store sends nothing."""
    (record,) = world.send()
    payload = record.message.payload
    for message in (
        replace(record.message, payload=payload[:-1] + b"\x01"),
        replace(record.message, payload=payload[:-32]),
        replace(record.message, id=MessageId("0x" + "12" * 32)),
        replace(record.message, route=Route(BRIDGE, B, A)),
    ):
        assert refused(
            await world.step(replace(record, message=message)), Reason.INVALID_MESSAGE
        ).dead


async def test_a_narrow_provider_is_asked_in_parts(world: World) -> None:
    """A range that is too wide is halved until it is served."""
    world.a.widest = 4
    records = [record for block in (10, 13, 19, 25) for record in world.send(block=block)]
    for step in (await world.adapter.next_steps(records)).values():
        called(step)
    assert world.a.asked_logs[0] == (10, 25)
    assert len(world.a.asked_logs) > 1


def test_spans_hold_all_blocks_and_are_bounded() -> None:
    """Old stragglers do not make one range of a whole chain."""
    assert spans([5, 1, 5, 300, 256, 900]) == [(1, 256), (300, 300), (900, 900)]  # type: ignore[list-item]


# --- safety ----------------------------------------------------------------------------------


async def test_nothing_is_relayed_from_a_block_below_the_required_safety() -> None:
    """It waits at the gate of the source's safe block, which opens when that block is reached."""
    world = World({"safety": "safe"})
    (record,) = world.send(block=60)
    wait = waits(await world.step(record), Reason.AWAITING_FINALITY)
    assert (wait.gate, wait.gate_value) == (SAFE, 60)
    assert await world.adapter.levels([SAFE]) == {SAFE: 50}
    assert world.a.asked_logs == []
    world.a.tags["safe"] = 60
    assert await world.adapter.levels([SAFE]) == {SAFE: 60}
    called(await world.step(record))


async def test_a_safe_head_that_goes_back_stops_the_relay() -> None:
    """Safety is read anew for each batch, never remembered for a message."""
    world = World({"safety": "safe"})
    (record,) = world.send(block=50)
    called(await world.step(record))
    world.a.tags["safe"] = 49
    waits(await world.step(record), Reason.AWAITING_FINALITY)


async def test_each_route_has_its_own_level() -> None:
    """Finalized for one direction, whatever the other waits for."""
    routes = [
        {"origin": "a", "destination": "b", "safety": "finalized"},
        {"origin": "b", "destination": "a"},
    ]
    world = World({"routes": routes})
    (record,) = world.send(block=30)
    wait = waits(await world.step(record), Reason.AWAITING_FINALITY)
    assert wait.gate == Gate(BRIDGE, "finalized:901")


async def test_a_source_that_does_not_answer_only_makes_its_messages_wait(world: World) -> None:
    """They wait with the reason, and the source's gate keeps the level it had."""
    (record,) = world.send()
    assert await world.adapter.levels([SAFE]) == {SAFE: 50}
    world.a.failure = EndpointDown("a", "gone")
    assert await world.adapter.levels([SAFE]) == {SAFE: 50}
    waits(await world.step(record), Reason.SOURCE_UNREACHABLE)
    world.a.failure = None
    called(await world.step(record))


async def test_a_destination_that_does_not_answer_is_transient(world: World) -> None:
    """The engine makes it a wait of the whole batch."""
    (record,) = world.send()
    world.b.failure = EndpointDown("b", "gone")
    with pytest.raises(Transient):
        await world.step(record)


# --- time ------------------------------------------------------------------------------------


async def test_what_is_about_to_expire_is_held_not_sent(world: World) -> None:
    """An executing message after 7 days invalidates a block, so the margin is ours to keep."""
    (record,) = world.send()
    said_at = START + 10 * BLOCK_S
    world.now.at = said_at + EXPIRY_S - 3600.0
    called(await world.step(record))
    world.now.pass_s(1.0)
    refuse = refused(await world.step(record), Reason.UNDELIVERABLE)
    assert not refuse.dead
    assert "expiry_margin_s" in refuse.detail


async def test_expiry_goes_by_the_destination_s_clock_too(world: World) -> None:
    """Our clock may be slow; the chain's time decides what its nodes refuse."""
    (record,) = world.send()
    world.b.head = 10 + EXPIRY_S // BLOCK_S
    refused(await world.step(record), Reason.UNDELIVERABLE)


async def test_a_message_from_the_future_waits_for_its_second(world: World) -> None:
    """Clocks of two chains differ: sent at once it would be refused."""
    (record,) = world.send()
    world.b.head = 1
    world.now.at = START + 10 * BLOCK_S - 5.0
    wait = waits(await world.step(record), Reason.AWAITING_TIME)
    assert wait.recheck_s == 5.0
    assert wait.clocks[0].at == Timestamp(START + 10 * BLOCK_S)
    world.now.pass_s(5.0)
    called(await world.step(record))


# --- targets and messengers ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "kind", "reason"),
    [
        ("hold", Refuse, Reason.DENIED_BY_POLICY),
        ("wait", Wait, Reason.AWAITING_TARGET),
    ],
)
async def test_a_target_without_code_is_not_relayed_to(
    policy: str, kind: type[Refuse | Wait], reason: Reason
) -> None:
    """Relayed, such a message succeeds, does nothing and is gone; with code it goes."""
    world = World({"codeless_targets": policy})
    (record,) = world.send(target=EMPTY)
    (good,) = world.send()
    steps = await world.adapter.next_steps([record, good])
    step = steps[record.id]
    assert isinstance(step, kind)
    assert step.reason is reason
    called(steps[good.id])
    world.b.codes.add(EMPTY)
    called(await world.step(record))


async def test_a_node_that_does_not_tell_code_is_no_messages_fault() -> None:
    """All of them wait for it: `Transient`, which the engine never holds against a message."""
    world = World()
    world.b.tells_codes = False
    with pytest.raises(Transient, match="code sizes"):
        await world.adapter.next_steps(world.send())


async def test_an_operator_may_want_codeless_targets_relayed_to() -> None:
    """Then nobody asks for their code."""
    world = World({"codeless_targets": "deliver"})
    (record,) = world.send(target=EMPTY)
    called(await world.step(record))


@pytest.mark.parametrize(("version", "safe"), [(b"1.3.0", True), (b"2.0.0", False)])
async def test_unsafe_targets_are_refused_where_the_messenger_refuses_them(
    version: bytes, safe: bool
) -> None:
    """Messenger 2.0.0 relays nothing to the bridge's own contracts."""
    world = World()
    world.b.version = version
    target = sorted(contracts.UNSAFE_TARGETS)[0]
    world.b.codes.add(target)
    (record,) = world.send(target=target)
    step = await world.step(record)
    if safe:
        called(step)
    else:
        assert refused(step, Reason.UNDELIVERABLE).dead


@pytest.mark.parametrize(
    ("version", "reason"),
    [(b"3.0.0", Reason.UNSUPPORTED), (b"one", Reason.SOURCE_UNREACHABLE)],
)
async def test_an_unknown_messenger_gets_nothing(
    world: World, version: bytes, reason: Reason
) -> None:
    """What a later version means by the same bytes is not known."""
    (record,) = world.send()
    world.b.version = version
    step = await world.step(record)
    assert isinstance(step, (Refuse, Wait))
    assert step.reason is reason


async def test_a_chain_without_a_messenger_is_waited_for(world: World) -> None:
    """Interop may not be active there yet."""
    (record,) = world.send()
    world.b.answer(MESSENGER, contracts.SUCCESSFUL_MESSAGES, b"")
    waits(await world.step(record), Reason.SOURCE_UNREACHABLE)


async def test_every_record_has_an_answer(world: World) -> None:
    """Good ones, stale ones and strangers in one batch."""
    good, stale = world.send(2)
    stale = replace(
        stale, message=replace(stale.message, at=replace(stale.message.at, log_index=9))
    )
    odd = replace(good, message=replace(good.message, id=MessageId("0x" + "77" * 32)))
    records: list[Record] = [good, stale, odd]
    assert set(await world.adapter.next_steps(records)) == {one.id for one in records}
