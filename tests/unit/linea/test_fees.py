"""What a claim surely earns: the fee, or nothing where the contract pays only what it costs."""

from __future__ import annotations

import pytest

from relayer.errors import EndpointDown, RpcRefused, Transient
from relayer.message import Address, ChainId, Record
from relayer.protocols.linea.to_l2 import RECEIVED
from tests.unit.linea.world import BOB, L1, L2, LoggedChain, World

BOTH_WAYS = pytest.mark.parametrize("origin", [L1, L2])


def claimable(world: World, origin: ChainId, *records: Record) -> LoggedChain:
    """Let messages be claimed; gives the chain where that is."""
    if origin == L2:
        world.finalise(records, block=100)
        return world.l1
    world.status |= {bytes.fromhex(record.id[2:]): RECEIVED for record in records}
    return world.l2


@BOTH_WAYS
async def test_call_data_earn_the_fee_and_nobodys_code_is_looked_for(origin: ChainId) -> None:
    """Nor where there is no fee."""
    world = World()
    record, free = world.send(origin, block=10), world.send(origin, block=11, fee=0, body=b"")
    there = claimable(world, origin, record, free)
    assert (await world.call(record)).income == 5
    assert (await world.call(free)).income == 0
    assert there.codes_asked == []


@BOTH_WAYS
@pytest.mark.parametrize(("size", "income"), [(0, 0), (1, 5), (23, 5)])
async def test_ether_alone_earns_the_fee_only_from_an_account_with_code(
    origin: ChainId, size: int, income: int
) -> None:
    """A delegated account (EIP-7702) has 23 bytes of it, as the contract sees it."""
    world = World()
    record = world.send(origin, block=10, body=b"")
    claimable(world, origin, record).code_sizes[BOB] = size
    assert (await world.call(record)).income == income


@BOTH_WAYS
@pytest.mark.parametrize("answer", ["0x", "0x05", "nonsense", "0x" + "ff" * 64])
async def test_an_answer_that_makes_no_sense_promises_nothing(origin: ChainId, answer: str) -> None:
    """Deliveries go on; nothing is booked that may not come."""
    world = World()
    record = world.send(origin, block=10, body=b"")
    claimable(world, origin, record).code_answer = answer
    assert (await world.call(record)).income == 0


async def test_a_node_that_cannot_tell_promises_nothing() -> None:
    """The same for a node that refuses the question."""
    world = World()
    record = world.send(L1, block=10, body=b"")
    claimable(world, L1, record).code_failure = RpcRefused(-32602, "missing to")
    assert (await world.call(record)).income == 0


async def test_a_batch_is_one_question_for_each_account() -> None:
    """Many messages to few accounts, and many accounts in one request."""
    world = World()
    many = [Address(f"0x{place:040x}") for place in range(1, 301)]
    records = [world.send(L1, block=10, body=b"", to=to) for to in [*many, *many]]
    there = claimable(world, L1, *records)
    there.code_sizes = {many[299]: 7}
    steps = await world.adapter.next_steps(records)
    paid = [steps[record.id].income for record in records]  # type: ignore[union-attr]
    assert paid == ([0] * 299 + [5]) * 2
    assert there.codes_asked == [256, 44]


async def test_a_chain_that_is_down_is_down() -> None:
    """Then nothing is known of the message either."""
    world = World()
    record = world.send(L1, block=10, body=b"")
    world.l2.failure = EndpointDown("two", "gone")
    with pytest.raises(Transient):
        await world.step(record)
