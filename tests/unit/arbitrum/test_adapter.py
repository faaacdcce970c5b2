"""What messages need next: the newest accepted root, our own tree and the outbox must agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from relayer.adapter import Call, Done, Refuse, Step, Wait
from relayer.errors import EndpointDown
from relayer.message import Gate, MessageId, Reason, Record
from relayer.protocols.arbitrum.contracts import execute_call
from relayer.trees import append_only
from tests.fakes import Reverts, truths_of
from tests.unit.arbitrum.world import (
    ACCEPTED,
    BRIDGE,
    OUTBOX,
    PROVABLE,
    RECIPIENT,
    ROOTS,
    TREE,
    World,
    word,
)


async def step_of(world: World, record: Record) -> Step:
    return (await world.adapter.next_steps([record]))[record.id]


async def wait_of(world: World, record: Record) -> Wait:
    step = await step_of(world, record)
    assert isinstance(step, Wait)
    return step


async def test_messages_under_the_accepted_root_become_calls() -> None:
    """Each call carries the proof of its own leaf against the root that the outbox has."""
    world = World()
    records = [world.send() for _ in range(11)]
    root = world.accept_size(11)
    steps = await world.adapter.next_steps(records)
    for position, record in enumerate(records):
        call = steps[record.id]
        assert isinstance(call, Call)
        (proof,) = await world.trees.proofs(TREE, [(position, 11)])
        assert call.to == OUTBOX
        assert call.data == execute_call(proof, position, send=record.message.payload)
        leaf = keccak(keccak(record.message.payload))
        assert append_only.root_from_proof(leaf, position, proof) == root
        assert call.evidence["root"] == "0x" + root.hex()
        assert call.evidence["proof"].count("0x") == len(proof) == 4
        assert call.shareable
        assert call.final


async def test_a_batch_costs_one_read_of_the_outbox() -> None:
    """Delivered already and root still there: all asked in one packed read."""
    world = World()
    records = [world.send() for _ in range(50)]
    world.accept_size(50)
    await world.adapter.next_steps(records)
    assert [len(views) for views in world.parent.reads] == [51]
    assert world.child.asked == []


async def test_a_single_leaf_needs_no_siblings() -> None:
    """The tree of one leaf is its own root, the one case of an empty proof."""
    world = World()
    record = world.send()
    world.accept_size(1)
    call = await step_of(world, record)
    assert isinstance(call, Call)
    assert call.data == execute_call([], 0, send=record.message.payload)


async def test_spent_is_done_whatever_the_roots_say() -> None:
    """A claim by hand needs no root of ours."""
    world = World()
    record = world.send()
    world.spent.add(0)
    assert isinstance(await step_of(world, record), Done)


async def test_without_a_root_a_message_waits_at_the_gate() -> None:
    """The wait names the leaf and wakes when a root with one leaf more is accepted."""
    world = World()
    first, second = world.send(), world.send()
    for place, record in enumerate((first, second)):
        wait = await wait_of(world, record)
        assert (wait.reason, wait.gate, wait.gate_value) == (
            Reason.AWAITING_ROOT,
            ACCEPTED,
            place + 1,
        )
    assert await world.adapter.levels([ACCEPTED, PROVABLE]) == {ACCEPTED: 0, PROVABLE: 0}
    world.accept_size(1)
    assert await world.adapter.levels([ACCEPTED, PROVABLE]) == {ACCEPTED: 1, PROVABLE: 1}
    assert isinstance(await step_of(world, first), Call)
    assert (await wait_of(world, second)).gate_value == 2


async def test_the_newest_root_serves_all_leaves_below_it() -> None:
    """Proofs are always against the newest accepted root, never an older one."""
    world = World()
    records = [world.send() for _ in range(5)]
    world.accept_size(2, block=50)
    newest = world.accept_size(5, block=60)
    steps = await world.adapter.next_steps(records)
    roots = {step.evidence["root"] for step in steps.values() if isinstance(step, Call)}
    assert len(steps) == 5
    assert roots == {"0x" + newest.hex()}


async def test_a_missing_leaf_is_noticed_by_the_count() -> None:
    """With a leaf of the accepted root missing nothing is proved; healing opens the gate."""
    whole, world = World(), World()
    for _ in range(6):
        whole.send()
    records = [world.send() for _ in range(5)]
    root = whole.trees.root(TREE, 6)
    world.accept(root, 6)
    for record in records:
        wait = await wait_of(world, record)
        assert wait.reason is Reason.AWAITING_LEAF
        assert "6 leaves, of which 5" in wait.detail
        assert wait.gate == PROVABLE
    assert await world.adapter.levels([ACCEPTED, PROVABLE]) == {ACCEPTED: 6, PROVABLE: 0}
    healed = world.send()
    assert await world.adapter.levels([ACCEPTED, PROVABLE]) == {ACCEPTED: 6, PROVABLE: 6}
    steps = await world.adapter.next_steps([*records, healed])
    assert all(isinstance(step, Call) for step in steps.values())


async def test_another_tree_than_the_accepted_one_is_a_root_mismatch() -> None:
    """A forged leaf in our store makes no call, neither for itself nor for its neighbours."""
    honest, world = World(), World()
    for _ in range(4):
        honest.send()
    records = [world.send(payload=b"forged" if place == 2 else b"hello") for place in range(4)]
    world.accept(honest.trees.root(TREE, 4), 4)
    steps = await world.adapter.next_steps(records)
    waits = [step for step in steps.values() if isinstance(step, Wait)]
    assert len(waits) == len(steps) == 4
    assert {wait.reason for wait in waits} == {Reason.ROOT_MISMATCH}
    assert not any(wait.disproved for wait in waits)  # it may be our tree that is wrong
    assert (await world.adapter.levels([PROVABLE]))[PROVABLE] == 0


@pytest.mark.parametrize("count", [1, 2, 4, 5])
async def test_a_wrong_size_for_a_right_root_proves_nothing(count: int) -> None:
    """The size must prove itself: our root at it has to be the accepted one."""
    world = World()
    records = [world.send() for _ in range(5)]
    root = world.trees.root(TREE, 3)
    world.accept(root, count)
    reasons = {(await wait_of(world, record)).reason for record in records}
    assert reasons <= {Reason.ROOT_MISMATCH, Reason.AWAITING_ROOT}
    assert Reason.ROOT_MISMATCH in reasons


async def test_a_size_of_nothing_or_of_everything_is_refused() -> None:
    """Zero leaves, or more than exist anywhere, make a wait and no crash."""
    for count in (0, 2**64 - 1, 2**256 - 1):
        world = World()
        record = world.send()
        world.accept(world.trees.root(TREE, 1), count)
        assert isinstance(await step_of(world, record), Wait)


async def test_a_child_that_has_another_root_at_that_block_is_a_mismatch() -> None:
    """Parent and child contradict each other: nothing is sent, both roots are named."""
    world = World()
    record = world.send()
    root, other = world.trees.root(TREE, 1), keccak(b"other")
    world.accept(root, 1, sendCount="0x1", sendRoot="0x" + other.hex())
    wait = await wait_of(world, record)
    assert wait.reason is Reason.ROOT_MISMATCH
    assert root.hex() in wait.detail
    assert other.hex() in wait.detail


@pytest.mark.parametrize("raw", [{"sendCount": "lots", "sendRoot": "0x"}, {"no": "fields"}])
async def test_a_child_that_cannot_tell_the_size_is_a_wait(raw: dict[str, Any]) -> None:
    """Nonsense or silence of the child holds nobody: it is asked again soon."""
    world = World()
    record = world.send()
    world.accept(world.trees.root(TREE, 1), 1, **raw)
    wait = await wait_of(world, record)
    assert wait.reason is Reason.SOURCE_UNREACHABLE
    assert wait.recheck_s <= 10
    assert await world.adapter.levels([ACCEPTED, PROVABLE]) == {ACCEPTED: 0, PROVABLE: 0}


async def test_a_dead_child_does_not_hide_that_a_message_is_delivered() -> None:
    """What the parent alone can tell is told."""
    world = World()
    first, second = world.send(), world.send()
    world.accept_size(2)
    world.spent.add(0)
    world.child.failure = EndpointDown("child", "gone")
    steps = await world.adapter.next_steps([first, second])
    assert isinstance(steps[first.id], Done)
    assert isinstance(steps[second.id], Wait)


async def test_a_root_that_the_outbox_lacks_at_its_latest_block_waits() -> None:
    """An endpoint behind the others, or a replaced parent block, wastes no simulation."""
    world = World()
    record = world.send()
    world.known_roots.discard(world.accept_size(1))
    wait = await wait_of(world, record)
    assert (wait.reason, wait.gate) == (Reason.AWAITING_ROOT, None)
    assert wait.recheck_s <= 30


async def test_a_view_that_reverts_does_not_vouch_for_a_root() -> None:
    """Whatever it reverts with."""
    world = World()
    record = world.send()
    world.accept_size(1)

    def revert(_: bytes) -> bytes:
        raise Reverts(word(1))

    world.parent.answer(OUTBOX, ROOTS, revert)
    assert (await wait_of(world, record)).reason is Reason.AWAITING_ROOT


@pytest.mark.parametrize("answer", [b"", b"\x01", word(2), word(1) + b"\x00", b"\xff" * 32])
async def test_an_outbox_that_answers_nonsense_is_a_wait(answer: bytes) -> None:
    """No code at the address, or other code: neither delivered nor deliverable."""
    world = World()
    record = world.send()
    world.accept_size(1)
    world.parent.answer(OUTBOX, keccak(text="isSpent(uint256)")[:4], answer)
    assert (await wait_of(world, record)).reason is Reason.SOURCE_UNREACHABLE


@pytest.mark.parametrize(
    "change",
    [
        {"leaf_index": 1},
        {"leaf_index": None},
        {"payload": b"short"},
        {"id": MessageId("0x" + "ab" * 32)},
    ],
)
async def test_a_record_that_contradicts_itself_is_dead(change: dict[str, Any]) -> None:
    """A stored message must be what its id names."""
    world = World()
    record = world.send()
    world.accept_size(1)
    broken = replace(record, message=replace(record.message, **change))
    step = await step_of(world, broken)
    assert isinstance(step, Refuse)
    assert step.dead
    assert step.reason is Reason.INVALID_MESSAGE


async def test_a_payload_that_is_not_the_trees_leaf_is_never_called() -> None:
    """The message's own hash is the leaf that is proved, not whatever the tree holds there."""
    world = World()
    record, other = world.send(), world.send()
    world.accept_size(2)
    forged = replace(record, message=replace(record.message, payload=other.message.payload))
    wait = await wait_of(world, forged)
    assert wait.reason is Reason.ROOT_MISMATCH
    assert wait.disproved
    assert isinstance(await step_of(world, record), Call)


async def test_a_recipient_without_code_waits_for_code() -> None:
    """After NotContract the code is looked for before anything is tried again, once per address."""
    world = World()
    records = [replace(world.send(), reason=Reason.AWAITING_TARGET) for _ in range(3)]
    plain = replace(world.send(payload=b""), reason=Reason.AWAITING_TARGET)
    world.accept_size(4)
    code = {RECIPIENT: "0x"}
    world.parent.methods["eth_getCode"] = lambda params: code[params[0]]
    steps = await world.adapter.next_steps([*records, plain])
    for record in records:
        wait = steps[record.id]
        assert isinstance(wait, Wait)
        assert wait.reason is Reason.AWAITING_TARGET
        assert wait.recheck_s >= 600
    assert isinstance(steps[plain.id], Call)
    assert world.parent.asked == [("eth_getCode", [RECIPIENT, "latest"])]
    code[RECIPIENT] = "0x6000"
    steps = await world.adapter.next_steps(records)
    assert all(isinstance(step, Call) for step in steps.values())


def node_interface(root: bytes, proof: list[bytes]) -> str:
    answer = abi_encode(["bytes32", "bytes32", "bytes32[]"], [keccak(b"send"), root, proof])
    return "0x" + answer.hex()


async def test_the_cross_check_lets_equal_proofs_pass() -> None:
    """NodeInterface is asked for the leaf and size of each call."""
    world = World(cross_check=True)
    records = [world.send() for _ in range(3)]
    root = world.accept_size(3)
    proofs = await world.trees.proofs(TREE, [(place, 3) for place in range(3)])
    world.child.methods["eth_call"] = lambda params: node_interface(
        root, proofs[int(params[0]["data"][-64:], 16)]
    )
    steps = await world.adapter.next_steps(records)
    assert all(isinstance(step, Call) for step in steps.values())
    asked = {params[0]["data"] for _, params in world.child.asked}
    assert asked == {"0x42696350" + (word(3) + word(place)).hex() for place in range(3)}


@pytest.mark.parametrize("fault", ["root", "proof", "longer"])
async def test_a_different_proof_of_the_node_is_a_wait(fault: str) -> None:
    """The node sees another chain than we do, or a bug is in one of us: a person should look."""
    world = World(cross_check=True)
    record = world.send()
    world.send()
    root = world.accept_size(2)
    ((sibling,),) = await world.trees.proofs(TREE, [(0, 2)])
    answers = {
        "root": node_interface(keccak(root), [sibling]),
        "proof": node_interface(root, [keccak(sibling)]),
        "longer": node_interface(root, [sibling, sibling]),
    }
    world.child.methods["eth_call"] = lambda _: answers[fault]
    assert (await wait_of(world, record)).reason is Reason.ROOT_MISMATCH


@pytest.mark.parametrize("answer", ["0x", None, "0x" + "00" * 200, "0x" + "ff" * 160])
async def test_a_node_without_node_interface_is_named(answer: object) -> None:
    """A node that cannot cross-check is a wait that says so, not a delivery without it."""
    world = World(cross_check=True)
    record = world.send()
    world.accept_size(1)
    world.child.methods["eth_call"] = lambda _: answer
    wait = await wait_of(world, record)
    assert wait.reason is Reason.SOURCE_UNREACHABLE
    assert "NodeInterface" in wait.detail


async def test_unknown_gates_are_left_to_open() -> None:
    """A gate of an older version is not kept shut for ever."""
    assert await World().adapter.levels([Gate(BRIDGE, "of old")]) == {}


async def test_the_childs_own_word_for_the_auditor() -> None:
    """Count and root of the child's final block, by which a hidden log is noticed."""
    world = World()
    root = keccak(b"root")
    header = world.child.add_block(77, sendCount="0x9", sendRoot="0x" + root.hex())
    (truth,) = await truths_of(world.adapter)
    assert (truth.tree, truth.block, truth.size, truth.root) == (TREE, header.number, 9, root)
    world.child.failure = EndpointDown("child", "gone")
    assert list(await truths_of(world.adapter)) == []
