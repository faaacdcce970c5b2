"""Proofs for strangers: computed by the adapter, shared for a while, bounded, discreet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from relayer.adapter import Call, Done, Step
from relayer.errors import BadChainData, EndpointsExhausted, RelayerError
from relayer.message import Address, BridgeName, ChainId, MessageId, Reason, Record, Route, Status
from relayer.ops.web import Refused
from relayer.self_relay import AT_ONCE, KEPT_S, MOST_ALTOGETHER, MOST_WAITING, SelfRelay
from tests.unit.sample_records import id_of, record_of


@dataclass
class Oracle:
    """The part of an adapter that says what is next."""

    step: Step = field(default_factory=lambda: Done("seen"))
    error: RelayerError | None = None
    asked: list[MessageId] = field(default_factory=list)
    stalled: asyncio.Event | None = None

    def routes(self) -> list[Route]:
        return [to_chain(1, chain).route for chain in range(100)]

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        self.asked += [record.id for record in records]
        if self.stalled is not None:
            await self.stalled.wait()
        if self.error is not None:
            raise self.error
        return {record.id: self.step for record in records}


@dataclass
class World:
    oracle: Oracle = field(default_factory=Oracle)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        adapters = {BridgeName("hyper"): self.oracle}
        self.prover = SelfRelay(lambda: adapters, lambda: self.seconds)  # type: ignore[arg-type,return-value]


async def settled() -> None:
    """Everything that can go on has."""
    for _ in range(5):
        await asyncio.sleep(0)


def to_chain(number: int, chain: int) -> Record:
    """A message to another chain than the samples'."""
    record = record_of(number)
    route = replace(record.route, destination=ChainId(chain))
    return replace(record, message=replace(record.message, route=route))


@pytest.fixture
def world() -> World:
    return World()


async def test_a_call_is_ready_to_send(world: World) -> None:
    """Target, data and the chain it is for."""
    world.oracle.step = Call(
        id_of(1), Address("0x" + "11" * 20), b"\xab\xcd", evidence={"root": "0x1"}
    )
    view = await world.prover.prove(record_of(1))
    assert (view["step"], view["to"], view["data"]) == ("call", "0x" + "11" * 20, "0xabcd")
    assert (view["chain"], view["evidence"]) == (10, {"root": "0x1"})


async def test_many_askers_cost_one_proof(world: World) -> None:
    """The answer is shared for a few seconds, then computed anew."""
    for _ in range(5):
        await world.prover.prove(record_of(1))
    assert world.oracle.asked == [id_of(1)]
    world.seconds += KEPT_S
    await world.prover.prove(record_of(1))
    assert world.oracle.asked == [id_of(1)] * 2


async def test_who_asks_meanwhile_shares_the_computation(world: World) -> None:
    """However many ask for one message at once, it is computed once, in one place."""
    world.oracle.stalled = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(world.prover.prove(record_of(1))) for _ in range(10)]
        other = group.create_task(world.prover.prove(record_of(2)))
        await settled()
        assert world.oracle.asked == [id_of(1), id_of(2)]
        world.oracle.stalled.set()
    assert {id(task.result()) for task in crowd} == {id(crowd[0].result())}
    assert other.result()["step"] == "done"
    assert world.oracle.asked == [id_of(1), id_of(2)]


async def test_another_takes_over_when_the_first_goes_away(world: World) -> None:
    """A client that hangs up takes nobody's answer with it."""
    world.oracle.stalled = asyncio.Event()
    first = asyncio.create_task(world.prover.prove(record_of(1)))
    await settled()
    second = asyncio.create_task(world.prover.prove(record_of(1)))
    await settled()
    first.cancel()
    world.oracle.stalled.set()
    assert (await second)["step"] == "done"


async def test_a_step_is_not_kept_for_a_message_that_went_on(world: World) -> None:
    """A call that was computed before the delivery would only waste its sender's gas."""
    world.oracle.step = Call(id_of(1), Address("0x" + "11" * 20), b"")
    assert (await world.prover.prove(record_of(1)))["step"] == "call"
    world.oracle.step = Done("seen")
    delivered = record_of(1, status=Status.DELIVERED, reason=Reason.DELIVERED_BY_OTHER)
    assert (await world.prover.prove(delivered))["step"] == "done"


async def test_a_crowd_is_bounded(world: World) -> None:
    """A few are computed, some wait, the rest is sent away; room comes back."""
    world.oracle.stalled = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(world.prover.prove(record_of(n))) for n in range(MOST_WAITING)]
        await settled()
        assert len(world.oracle.asked) == AT_ONCE
        with pytest.raises(Refused, match="too many proofs"):
            await world.prover.prove(record_of(99))
        world.oracle.stalled.set()
    assert {task.result()["step"] for task in crowd} == {"done"}
    await world.prover.prove(record_of(99))


async def test_a_destination_that_hangs_leaves_room_for_others(world: World) -> None:
    """Its crowd fills its own places; the whole is bounded too."""
    stalled = world.oracle.stalled = asyncio.Event()
    full = MOST_ALTOGETHER // MOST_WAITING
    async with asyncio.TaskGroup() as group:
        for chain in range(full - 1):
            for n in range(MOST_WAITING):
                group.create_task(world.prover.prove(to_chain(1000 * chain + n, chain)))
        await settled()
        world.oracle.stalled = None
        assert (await world.prover.prove(to_chain(9999, 77)))["step"] == "done"
        world.oracle.stalled = stalled
        for n in range(MOST_WAITING):
            group.create_task(world.prover.prove(to_chain(5000 + n, 78)))
        await settled()
        with pytest.raises(Refused, match="too many proofs"):
            await world.prover.prove(to_chain(9998, 77))
        stalled.set()


async def test_errors_are_named_and_not_told(world: World) -> None:
    """An endpoint that is down is for the server to report; nonsense is refused by its label."""
    world.oracle.error = EndpointsExhausted("http://secret@rpc")
    with pytest.raises(EndpointsExhausted):
        await world.prover.prove(record_of(1))
    world.oracle.error = BadChainData("http://secret@rpc said so")
    with pytest.raises(Refused, match=r"^no proof now: bad_chain_data$"):
        await world.prover.prove(record_of(1))


async def test_a_bridge_that_is_not_served_any_more(world: World) -> None:
    """Its messages are still known, its proofs are not."""
    stranger = SelfRelay(dict, lambda: 0.0)
    with pytest.raises(Refused, match="not served any more"):
        await stranger.prove(record_of(1))
