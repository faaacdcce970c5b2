"""Messages to L1: what they wait for, what is hidden from us, and when there is a call."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import decode

from relayer.abi import word
from relayer.adapter import Call, Done, Refuse, Wait
from relayer.errors import EndpointDown
from relayer.message import BlockNumber, Reason, Record
from relayer.protocols.linea import contracts
from tests.unit.linea.world import DEPTH, FEE_RECIPIENT, L2, ROLLUP, World

CLAIM_KINDS = "(bytes32[],uint256,uint32,address,address,uint256,uint256,address,bytes32,bytes)"


@pytest.fixture
def world() -> World:
    return World()


def send_some(world: World, count: int, *, first_block: int = 10) -> list[Record]:
    """Messages of blocks 10, 11, ..., two to a block."""
    return [world.send(L2, block=first_block + turn // 2) for turn in range(count)]


async def test_a_finalised_message_has_a_call(world: World) -> None:
    """It names root, place and fee recipient, and says what it earns."""
    records = send_some(world, 7)
    world.finalise(records, block=50)
    call = await world.call(records[5])
    assert call.to == ROLLUP
    ((siblings, number, leaf, _, _, fee, _, payee, root, _),) = decode([CLAIM_KINDS], call.data[4:])
    assert (number, leaf, len(siblings), payee) == (6, 1, DEPTH, FEE_RECIPIENT)
    assert world.depths[root] == DEPTH
    assert (call.income, fee, call.shareable) == (5, 5, True)


async def test_before_its_finalisation_it_waits_at_the_gate(world: World) -> None:
    """The gate opens with the finalisation that covers its block, not with an earlier one."""
    early, late = send_some(world, 2), send_some(world, 2, first_block=20)
    wait = await world.wait(late[0])
    assert (wait.reason, wait.gate_value) == (Reason.AWAITING_ROOT, 20)
    assert wait.gate is not None
    assert (await world.adapter.levels([wait.gate]))[wait.gate] == -1
    world.finalise(early, block=50)
    assert (await world.adapter.levels([wait.gate]))[wait.gate] == 10
    assert (await world.wait(late[0])).gate == wait.gate
    world.finalise(late, block=60)
    assert (await world.adapter.levels([wait.gate]))[wait.gate] == 20
    await world.call(late[0])


async def test_a_batch_reads_each_finalisation_once(world: World) -> None:
    """Two finalisations, many messages: four log reads, then none, and one view read each time."""
    early, late = send_some(world, 9), send_some(world, 9, first_block=20)
    world.finalise(early, block=50)
    world.finalise(late, block=60)
    steps = await world.adapter.next_steps([*early, *late])
    assert all(isinstance(step, Call) for step in steps.values())
    assert len(world.l1.log_reads) == len(world.l2.log_reads) == 2
    views = len(world.l1.reads)
    await world.adapter.next_steps([*early, *late])
    assert len(world.l1.log_reads) == len(world.l2.log_reads) == 2
    assert len(world.l1.reads) == views + 2


async def test_what_is_claimed_is_done(world: World) -> None:
    """Whoever claimed it; the others of the batch go on."""
    records = send_some(world, 2)
    world.finalise(records, block=50)
    world.claimed.add(1)
    steps = await world.adapter.next_steps(records)
    assert isinstance(steps[records[0].id], Done)
    assert isinstance(steps[records[1].id], Call)


@pytest.mark.parametrize("kind", [1, 3])
async def test_a_pause_is_waited_for(world: World, kind: int) -> None:
    """Of everything, or of this direction; a pause of the other direction does not matter."""
    records = send_some(world, 1)
    world.finalise(records, block=50)
    world.paused["l1"] = {2}
    await world.call(records[0])
    world.paused["l1"] = {kind}
    assert (await world.wait(records[0])).reason is Reason.PAUSED


@pytest.mark.parametrize("hidden", [0, 3, 6])
async def test_a_message_hidden_by_l2_is_a_wait_that_heals(world: World, hidden: int) -> None:
    """The first, one in the middle or the last of seven: no call is made of what does not match."""
    records = send_some(world, 7)
    world.finalise(records, block=50)
    world.l2.hidden = {hidden}
    steps = await world.adapter.next_steps(records)
    for record in records[4:]:
        step = steps[record.id]
        assert isinstance(step, Wait)
        assert step.reason is Reason.ROOT_MISMATCH
        assert step.recheck_s <= 120
    world.l2.hidden = set()
    steps = await world.adapter.next_steps(records)
    assert all(isinstance(step, Call) for step in steps.values())


async def test_a_hidden_message_in_the_middle_is_named(world: World) -> None:
    """Numbers have no gap, so the wait can say what is missing."""
    records = send_some(world, 7)
    world.finalise(records, block=50)
    world.l2.hidden = {3}
    assert (await world.wait(records[0])).detail == "L2 shows message 5 right after 3"


async def test_a_root_hidden_by_l1_is_a_wait_that_heals(world: World) -> None:
    """The fact is there, but the logs of its block lack a root."""
    records = send_some(world, 7)
    world.finalise(records, block=50)
    world.l1.hidden = {1}
    assert (await world.wait(records[6])).reason is Reason.ROOT_MISMATCH
    await world.call(records[0])
    world.l1.hidden = {0, 1}
    assert (await world.wait(records[0])).reason is Reason.ROOT_MISMATCH
    world.l1.hidden = set()
    await world.call(records[6])


async def test_a_root_that_the_rollup_does_not_know_is_a_wait(world: World) -> None:
    """Logs are not enough: the view at the latest block must know the root, at that depth."""
    records = send_some(world, 2)
    world.finalise(records, block=50)
    known = dict(world.depths)
    world.depths = {}
    assert (await world.wait(records[0])).reason is Reason.ROOT_MISMATCH
    world.depths = dict.fromkeys(known, DEPTH + 1)
    assert (await world.wait(records[0])).reason is Reason.ROOT_MISMATCH
    world.depths = known
    await world.call(records[0])


async def test_a_finalisation_that_the_follower_missed_is_found(world: World) -> None:
    """The rollup says the block is final but no fact does: the log is looked for and found."""
    records = send_some(world, 3)
    world.l1.final = BlockNumber(5000)
    world.finalise(records, block=50, follow=False)
    await world.call(records[2])
    assert world.l1.log_reads[0] == (4001, 5000)
    assert (1, 1000) in world.l1.log_reads


async def test_a_missed_finalisation_before_a_known_one_is_found(world: World) -> None:
    """A later finalisation covers the gate's level, but not the block."""
    early, late = send_some(world, 3), send_some(world, 3, first_block=20)
    world.finalise(early, block=50, follow=False)
    world.finalise(late, block=60)
    await world.call(early[0])
    await world.call(late[0])


async def test_a_finalisation_that_nobody_shows_is_a_wait(world: World) -> None:
    """Said by the view, shown by no log: wait, and not at a gate that would never open."""
    records = send_some(world, 1)
    world.finalised = 1000
    wait = await world.wait(records[0])
    assert wait.reason is Reason.ROOT_MISMATCH
    assert wait.gate is None


async def test_a_finalisation_that_is_not_final_is_not_searched_for(world: World) -> None:
    """At the latest block it is there, at the final one not yet: the fact will come."""
    records = send_some(world, 1)
    at_final = iter([5, 0])  # the latest block's answer, then the final one's
    world.l1.answer(ROLLUP, contracts.LAST_FINALISED, lambda _: word(next(at_final) * 5))
    wait = await world.wait(records[0])
    assert wait.reason is Reason.AWAITING_ROOT
    assert "not final on L1" in wait.detail
    assert world.l1.log_reads == []


async def test_a_gate_that_is_open_already_is_not_waited_at(world: World) -> None:
    """Endpoints that lag behind the facts must not make a message go round and round."""
    early, late = send_some(world, 2), send_some(world, 2, first_block=20)
    world.finalise(early, block=50, follow=False)
    world.finalise(late, block=60)
    world.finalised = 5
    wait = await world.wait(early[0])
    assert (wait.reason, wait.gate) == (Reason.AWAITING_ROOT, None)


async def test_an_unreachable_l2_is_not_the_messages_fault(world: World) -> None:
    """Proofs wait for L2, claimed messages are done all the same."""
    records = send_some(world, 2)
    world.finalise(records, block=50)
    world.claimed.add(1)
    world.l2.log_failure = EndpointDown("two", "down")
    steps = await world.adapter.next_steps(records)
    assert isinstance(steps[records[0].id], Done)
    waiting = steps[records[1].id]
    assert isinstance(waiting, Wait)
    assert waiting.reason is Reason.SOURCE_UNREACHABLE


async def test_narrow_providers_are_asked_for_less(world: World) -> None:
    """A refusal of the range is answered with smaller ranges."""
    records = [world.send(L2, block=block) for block in (10, 900, 1800)]
    world.finalise(records, block=50)
    world.l2.widest = 500
    await world.call(records[1])


async def test_a_finalisation_of_impossible_size_is_not_read(world: World) -> None:
    """A finalisation names blocks by 16-bit distances; a wider one is a lie that costs nothing."""
    records = [world.send(L2, block=block) for block in (10, 10 + 2**16)]
    world.finalise(records, block=50)
    assert (await world.wait(records[0])).reason is Reason.ROOT_MISMATCH
    assert world.l2.log_reads == []


async def test_a_refused_proof_is_made_anew(world: World) -> None:
    """REBUILD_PROOF reads both chains again instead of repeating itself from memory."""
    records = send_some(world, 1)
    world.finalise(records, block=50)
    await world.call(records[0])
    reads = len(world.l2.log_reads)
    await world.call(replace(records[0], reason=Reason.REBUILD_PROOF))
    assert len(world.l2.log_reads) == reads + 1


async def test_a_replaced_finalisation_is_not_proved_from_memory(world: World) -> None:
    """The fact of a new block leads to a new reading, also of the same transaction."""
    records = send_some(world, 1)
    world.finalise(records, block=50)
    await world.call(records[0])
    fact = world.context.roots.facts.pop()
    moved = replace(fact, at=replace(fact.at, block_hash="0x" + "77" * 32))
    world.context.roots.facts.append(moved)
    assert (await world.wait(records[0])).reason is Reason.ROOT_MISMATCH


async def test_a_contract_that_does_not_answer_holds_nobody(world: World) -> None:
    """A wrong address or a lagging endpoint is a wait."""
    records = send_some(world, 1)
    world.l1.answer(ROLLUP, contracts.IS_CLAIMED, b"")
    assert (await world.wait(records[0])).reason is Reason.SOURCE_UNREACHABLE


async def test_stored_messages_are_checked(world: World) -> None:
    """A payload that does not hash to the id is refused for good."""
    record = send_some(world, 1)[0]
    payload = bytearray(record.message.payload)
    payload[3 * 32 - 1] ^= 1  # the fee
    for spoilt in (bytes(payload), b""):
        message = replace(record.message, payload=spoilt)
        step = await world.step(replace(record, message=message))
        assert isinstance(step, Refuse)
        assert step.dead


async def test_without_a_fee_recipient_the_caller_is_paid_and_calls_alone() -> None:
    """The zero address means the caller, who must then be us and not Multicall3."""
    world = World(fee_recipient=None)
    paid, free = world.send(L2, block=10), world.send(L2, block=10, fee=0)
    world.finalise([paid, free], block=50)
    call = await world.call(paid)
    assert not call.shareable
    assert decode([CLAIM_KINDS], call.data[4:])[0][7] == "0x" + "00" * 20
    assert (await world.call(free)).shareable
