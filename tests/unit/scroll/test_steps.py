"""What the adapter answers for messages, honest and hostile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.abi import word
from relayer.adapter import Call, Done, Refuse, Step, Wait
from relayer.errors import EndpointDown, Transient
from relayer.keccak import keccak256
from relayer.message import MessageId, Reason, Record, Timestamp
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.settings import MESSAGE_QUEUE
from relayer.trees.append_only import root_from_proof
from tests.fakes import truths_of
from tests.unit.scroll.world import (
    L1_MESSENGER,
    LEAVES,
    SCROLL_CHAIN,
    TREE,
    World,
    proof_of,
)


def called(step: Step) -> Call:
    assert isinstance(step, Call), step
    assert step.to == L1_MESSENGER
    return step


def waits(step: Step, reason: Reason) -> Wait:
    assert isinstance(step, Wait), step
    assert step.reason is reason, step
    return step


def refused(step: Step, reason: Reason) -> Refuse:
    assert isinstance(step, Refuse), step
    assert step.reason is reason, step
    return step


def finalized(world: World, count: int = 3) -> list[Record]:
    """Messages that a finalized batch covers."""
    records = world.send(count)
    world.finalize(5, world.root(count))
    return records


async def test_a_call_proves_the_message_s_own_hash(world: World) -> None:
    """The proof leads from the hash of what is delivered to the root that layer 1 holds."""
    records = finalized(world)
    for index, record in enumerate(records):
        call = called(await world.step(record))
        batch, siblings = proof_of(call)
        assert batch == 5
        leaf = keccak256(record.message.payload)
        assert root_from_proof(leaf, index, siblings) == world.root(3)
        assert call.evidence["proof"] == "0x" + b"".join(siblings).hex()
        assert call.shareable


async def test_the_only_leaf_is_its_own_root(world: World) -> None:
    """With one message the proof is empty, and only then."""
    (record,) = finalized(world, 1)
    assert proof_of(called(await world.step(record))) == (5, [])


async def test_a_batch_costs_one_read_and_one_trial(world: World) -> None:
    """Two hundred messages: one multicall, one read of proofs, thirteen trials of sixteen."""
    records = finalized(world, 200)
    steps = await world.adapter.next_steps(records)
    assert all(isinstance(step, Call) for step in steps.values())
    assert len(world.l1.reads) == 1
    assert [len(trial) for trial in world.l1.trials] == [16] * 12 + [8]


async def test_executed_ones_are_done(world: World) -> None:
    """Whoever delivered it, with or without a root for it."""
    records = finalized(world)
    late = world.send(1)
    world.executed |= {bytes.fromhex(one.id[2:]) for one in (records[1], late[0])}
    steps = await world.adapter.next_steps([*records, *late])
    kinds = [type(steps[record.id]) for record in [*records, *late]]
    assert kinds == [Call, Done, Call, Done]


async def test_without_a_root_it_waits_at_the_gate(world: World) -> None:
    """Ten thousand messages then cost one look at one level."""
    records = world.send(2)
    for index, record in enumerate(records):
        wait = waits(await world.step(record), Reason.AWAITING_ROOT)
        assert (wait.gate, wait.gate_value) == (LEAVES, index + 1)
    world.finalize(1, world.root(1))
    called(await world.step(records[0]))
    wait = waits(await world.step(records[1]), Reason.AWAITING_ROOT)
    assert wait.detail == "leaf 1: finalized batch 1 covers 1 leaves"


async def test_a_missing_leaf_is_told_by_the_queue_s_count(world: World) -> None:
    """Nothing is handed out against a root that our tree does not have."""
    world.send(2)
    (unknown,) = world.send(1, follow=False)
    world.finalize(1, world.root(3))
    wait = waits(await world.step(unknown), Reason.AWAITING_LEAF)
    assert "2 of 3 leaves" in wait.detail
    assert wait.gate == LEAVES
    assert world.l1.trials == []


async def test_a_root_that_our_whole_tree_lacks_is_a_mismatch(world: World) -> None:
    """All leaves are here and the root is not: somebody lies, or a reorganisation is under way."""
    records = world.send(3)
    world.finalize(1, b"\x66" * 32)
    assert "no root of our 3" in waits(await world.step(records[0]), Reason.ROOT_MISMATCH).detail


async def test_when_the_rollup_is_silent_the_count_is_unknown(world: World) -> None:
    """The origin's trouble is told, and what an older root covers goes on."""
    records = finalized(world)
    called(await world.step(records[0]))
    (late,) = world.send(1, follow=False)
    world.finalize(6, world.root(4))
    world.l2.failure = EndpointDown("rollup", "gone")
    assert "unknown number" in waits(await world.step(late), Reason.AWAITING_LEAF).detail
    called(await world.step(records[0]))
    world.l2.failure = None
    world.l2.answer(MESSAGE_QUEUE, contracts.NEXT_MESSAGE_INDEX, b"")
    waits(await world.step(late), Reason.AWAITING_LEAF)


async def test_a_root_that_layer_1_no_longer_holds_is_not_used(world: World) -> None:
    """Intermediate batches have none, a reorganisation takes one away, an endpoint lags."""
    (record,) = finalized(world, 1)
    for held in (bytes(32), b"\x01" * 32):
        world.withdraw_roots[5] = held
        waits(await world.step(record), Reason.ROOT_MISMATCH)
    assert world.l1.trials == []


async def test_our_tree_must_hold_the_message_itself(world: World) -> None:
    """A record whose leaf is another one in our tree is not proved, though its number fits."""
    world.send(1)
    (record,) = world.send(1, follow=False)
    world.trees.grow(TREE, [b"\x07" * 32])
    world.finalize(1, world.trees.root(TREE, 2))
    wait = waits(await world.step(record), Reason.ROOT_MISMATCH)
    assert "another leaf 1" in wait.detail


async def test_a_failing_target_costs_nothing_and_is_asked_ever_more_rarely(world: World) -> None:
    """It waits with the reason, and is called as soon as the target takes it."""
    records = finalized(world)
    world.l1.failing = {1}
    pauses = []
    for hours in (0, 1, 100):
        world.context.now.at = records[1].seen_at + hours * 3600
        steps = await world.adapter.next_steps(records)
        called(steps[records[0].id])
        wait = waits(steps[records[1].id], Reason.TARGET_FAILED)
        assert str(records[1].message.recipient) in wait.detail
        pauses.append(wait.recheck_s)
    assert pauses == [10.0, 900.0, 3600.0]
    world.l1.failing = set()
    called(await world.step(records[1]))


async def test_a_payout_without_money_is_named(world: World) -> None:
    """The messenger's balance comes with the trial."""
    (record,) = world.send(1, value=10**19)
    world.finalize(1, world.root(1))
    world.l1.failing = {0}
    detail = waits(await world.step(record), Reason.TARGET_FAILED).detail
    assert detail == f"the messenger is to pay out {10**19} wei and has {10**18}"


async def test_a_failure_in_company_is_tried_alone(world: World) -> None:
    """Neighbours that burn the gas, or change the state, do not condemn a message."""
    records = finalized(world, 4)
    world.l1.starving = True
    steps = await world.adapter.next_steps(records)
    assert all(isinstance(step, Call) for step in steps.values())
    assert world.l1.trials == [[0, 1, 2, 3], [1], [2], [3]]


async def test_what_the_messenger_reverts_is_left_to_the_simulation(world: World) -> None:
    """A pause, say: the submitter's own simulation tells the reason by its revert data."""
    (record,) = finalized(world, 1)
    world.l1.reverting = {0}
    call = called(await world.step(record))
    assert (call.gas_floor, call.evidence["trial"]) == (0, "the messenger reverted")


async def test_the_gas_floor_leaves_the_target_what_it_used(world: World) -> None:
    """With 63/64 of the rest handed on, a target may run dry although the call succeeds."""
    (record,) = finalized(world, 1)
    world.l1.gas = 630_000
    call = called(await world.step(record))
    assert call.gas_floor == 21_000 + 16 * len(call.data) + 30_000 + 640_000


@pytest.mark.parametrize("garbage", ["0x", "0x" + "00" * 127, "nonsense", "0x" + "00" * 160])
async def test_a_node_that_cannot_try_does_not_stop_deliveries(world: World, garbage: str) -> None:
    """Then each message goes alone, with all the gas that a delivery may use."""
    records = finalized(world, 2)
    world.l1.garbage = garbage
    for step in (await world.adapter.next_steps(records)).values():
        call = called(step)
        assert not call.shareable
        assert call.gas_floor > 2_000_000
        assert call.evidence["trial"] == "not possible"


async def test_a_node_that_refuses_trials_does_not_stop_deliveries(world: World) -> None:
    """Some providers want every call to have an address."""
    (record,) = finalized(world, 1)
    world.l1.refuses_trials = True
    assert not called(await world.step(record)).shareable


async def test_a_message_too_long_for_a_trial_goes_alone(world: World) -> None:
    """Creation code is bounded; the others are tried in as many programs as they need."""
    records = [*world.send(1, size=50_000), *world.send(3, size=20_000)]
    world.finalize(1, world.root(4))
    steps = await world.adapter.next_steps(records)
    assert [called(steps[one.id]).shareable for one in records] == [False, True, True, True]
    assert world.l1.trials == [[1, 2], [3]]


async def test_after_a_failure_on_chain_it_is_left_alone_for_a_while(world: World) -> None:
    """The log of the failure wakes it, but the back-off stands; an executed one is done."""
    (record,) = finalized(world, 1)
    failed = replace(
        record,
        reason=Reason.TARGET_FAILED,
        detail="mined in vain",
        attempts=3,
        since=world.context.now(),
    )
    wait = waits(await world.step(failed), Reason.TARGET_FAILED)
    assert (wait.recheck_s, wait.detail) == (40.0, "mined in vain")
    world.executed.add(bytes.fromhex(record.id[2:]))
    assert isinstance(await world.step(failed), Done)
    world.executed.clear()
    world.context.now.pass_s(41)
    called(await world.step(failed))


async def test_silence_of_the_contracts_is_a_wait(world: World) -> None:
    """A wrong address or a sick node holds nobody up for ever."""
    (record,) = finalized(world, 1)
    world.l1.answer(SCROLL_CHAIN, contracts.WITHDRAW_ROOTS, b"")
    waits(await world.step(record), Reason.SOURCE_UNREACHABLE)
    world.l1.answer(L1_MESSENGER, contracts.IS_EXECUTED, word(1) + word(1))
    waits(await world.step(record), Reason.SOURCE_UNREACHABLE)
    world.l1.failure = EndpointDown("main", "gone")
    with pytest.raises(Transient):
        await world.step(record)


async def test_records_that_are_not_what_they_say_are_refused(world: World) -> None:
    """A payload that is no message, and one of another id."""
    (record,) = finalized(world, 1)
    message = record.message
    junk = replace(message, payload=b"junk")
    other = replace(message, id=MessageId("0x" + "12" * 32))
    for bad in (junk, other):
        step = refused(await world.step(replace(record, message=bad)), Reason.INVALID_MESSAGE)
        assert step.dead


async def test_the_truth_is_the_queue_s(world: World) -> None:
    """The auditor compares our tree with count and root at a final block."""
    world.send(3)
    world.l2.answer(MESSAGE_QUEUE, contracts.MESSAGE_ROOT, world.root(3))
    (truth,) = await truths_of(world.adapter)
    assert (truth.tree, truth.block, truth.size, truth.root) == (TREE, 100, 3, world.root(3))


async def test_the_truth_of_a_silent_rollup_is_left_out(world: World) -> None:
    """The auditor goes on with the others."""
    world.l2.failure = EndpointDown("rollup", "gone")
    assert list(await truths_of(world.adapter)) == []


async def test_times_of_old_records_do_not_matter(world: World) -> None:
    """A clock that went backwards gives the shortest pause, not a negative one."""
    (record,) = finalized(world, 1)
    world.l1.failing = {0}
    ahead = replace(record, seen_at=Timestamp(world.context.now() + 1000))
    assert waits(await world.step(ahead), Reason.TARGET_FAILED).recheck_s == 10.0
