"""Proofs for strangers: computed by the adapter, shared for a while, bounded, discreet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from relayer.adapter import Call, Done, Step
from relayer.errors import BadChainData, EndpointsExhausted, RelayerError
from relayer.message import Address, BridgeName, MessageId, Record
from relayer.ops.web import Refused
from relayer.self_relay import AT_ONCE, KEPT_S, MOST_WAITING, SelfRelay
from tests.unit.sample_records import id_of, record_of


@dataclass
class Oracle:
    """The part of an adapter that says what is next."""

    step: Step = field(default_factory=lambda: Done("seen"))
    error: RelayerError | None = None
    asked: list[MessageId] = field(default_factory=list)
    stalled: asyncio.Event | None = None

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


async def test_a_crowd_is_bounded(world: World) -> None:
    """A few are computed, some wait, the rest is sent away; room comes back."""
    world.oracle.stalled = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(world.prover.prove(record_of(n))) for n in range(MOST_WAITING)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(world.oracle.asked) == AT_ONCE
        with pytest.raises(Refused, match="too many proofs"):
            await world.prover.prove(record_of(99))
        world.oracle.stalled.set()
    assert {task.result()["step"] for task in crowd} == {"done"}
    await world.prover.prove(record_of(99))


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
