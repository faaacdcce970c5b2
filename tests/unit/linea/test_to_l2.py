"""Messages to L2: anchored by the coordinator, then called."""

from __future__ import annotations

import pytest
from eth_abi.abi import decode

from relayer.abi import word
from relayer.adapter import Done
from relayer.errors import EndpointDown
from relayer.message import Reason, Record
from relayer.protocols.linea import contracts
from tests.fakes import truths_of
from tests.unit.linea.world import FEE_RECIPIENT, L1, SERVICE, World


@pytest.fixture
def world() -> World:
    return World()


def anchor(world: World, record: Record) -> None:
    world.status[bytes.fromhex(record.id[2:])] = 1
    world.anchored = max(world.anchored, record.message.nonce)


async def test_it_waits_at_a_gate_until_it_is_anchored(world: World) -> None:
    """The gate counts message numbers, so one view opens it for all."""
    first, second = world.send(L1, block=1), world.send(L1, block=1)
    wait = await world.wait(second)
    assert (wait.reason, wait.gate_value) == (Reason.AWAITING_ROOT, 2)
    assert wait.gate is not None
    anchor(world, first)
    assert (await world.adapter.levels([wait.gate]))[wait.gate] == 1
    assert (await world.wait(second)).gate == wait.gate
    anchor(world, second)
    assert (await world.adapter.levels([wait.gate]))[wait.gate] == 2
    await world.call(second)


async def test_an_anchored_message_has_a_call(world: World) -> None:
    """With the fee recipient named, so that it may share a transaction."""
    record = world.send(L1, block=1)
    anchor(world, record)
    call = await world.call(record)
    kinds = ["address", "address", "uint256", "uint256", "address", "bytes", "uint256"]
    assert decode(kinds, call.data[4:])[2:] == (5, 7, FEE_RECIPIENT, b"hi", 1)
    assert (call.to, call.income, call.shareable) == (SERVICE, 5, True)


async def test_a_claimed_message_is_done(world: World) -> None:
    """Status 2, whoever claimed, also while the contract is paused."""
    record = world.send(L1, block=1)
    world.status[bytes.fromhex(record.id[2:])] = 2
    world.paused["l2"].add(1)
    assert isinstance(await world.step(record), Done)


@pytest.mark.parametrize(("kind", "waits"), [(1, True), (2, True), (3, False)])
async def test_a_pause_of_this_direction_is_waited_for(
    world: World, kind: int, waits: bool
) -> None:
    """Of everything, or of messages to L2."""
    record = world.send(L1, block=1)
    anchor(world, record)
    world.paused["l2"].add(kind)
    if waits:
        assert (await world.wait(record)).reason is Reason.PAUSED
    else:
        await world.call(record)


async def test_a_gate_that_is_open_already_is_not_waited_at(world: World) -> None:
    """A later number is anchored but this hash is unknown: look again later, not at once."""
    record = world.send(L1, block=1)
    world.anchored = 5
    wait = await world.wait(record)
    assert wait.gate is None
    assert 2 <= wait.recheck_s <= 120


async def test_a_contract_without_numbers_is_asked_by_status(world: World) -> None:
    """Old contracts have no last number: no gate, and the status decides."""
    record = world.send(L1, block=1)
    world.l2.answer(SERVICE, contracts.LAST_ANCHORED, b"")
    assert (await world.wait(record)).gate is None
    world.status[bytes.fromhex(record.id[2:])] = 1
    await world.call(record)


@pytest.mark.parametrize("answer", [b"", word(3), word(2**255)])
async def test_a_status_that_cannot_be_holds_nobody(world: World, answer: bytes) -> None:
    """No answer or nonsense is a wait."""
    record = world.send(L1, block=1)
    world.l2.answer(SERVICE, contracts.INBOX_STATUS, answer)
    assert (await world.wait(record)).reason is Reason.SOURCE_UNREACHABLE


async def test_a_batch_is_one_read(world: World) -> None:
    """Any number of messages."""
    records = [world.send(L1, block=1) for _ in range(20)]
    for record in records:
        anchor(world, record)
    await world.adapter.next_steps(records)
    assert len(world.l2.reads) == 1
    assert world.l1.reads == []


async def test_the_count_of_a_chain_that_is_down_is_left_out(world: World) -> None:
    """The other side is audited all the same."""
    world.send(L1, block=1)
    world.send(L1, block=1)
    world.l2.failure = EndpointDown("two", "down")
    (truth,) = await truths_of(world.adapter)
    assert (truth.size, truth.root, truth.tree) == (2, None, "linea/l1")
