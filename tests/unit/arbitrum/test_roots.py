"""Which accepted root is proved against: the newest good one, also when nobody told us of it."""

from __future__ import annotations

from dataclasses import replace

from eth_utils.crypto import keccak

from relayer.adapter import Call, Step, Wait
from relayer.errors import EndpointDown
from relayer.message import Reason, Record
from relayer.protocols.arbitrum.missed import LATEST_S, PAGE, SOONEST_S
from relayer.protocols.arbitrum.states import UNPROVED_S
from tests.unit.arbitrum.world import ACCEPTED, PROVABLE, ROOTS, TREE, World


async def steps_of(world: World, records: list[Record]) -> list[Step]:
    steps = await world.adapter.next_steps(records)
    return [steps[record.id] for record in records]


async def levels(world: World) -> tuple[int, int]:
    found = await world.adapter.levels([ACCEPTED, PROVABLE])
    return found[ACCEPTED], found[PROVABLE]


def accept_unheard(world: World, size: int) -> bytes:
    """The outbox accepts a root, and the log that says so is hidden from us."""
    root = world.trees.root(TREE, size)
    world.known_roots.add(root)
    world.parent.add_block(90)
    return root


def questions(world: World) -> list[int]:
    """How many roots each read of the outbox asked for, in reads of nothing else."""
    only = [[view.data[:4] for view in views] for views in world.parent.reads]
    return [len(selectors) for selectors in only if set(selectors) == {ROOTS}]


async def test_under_a_sick_newest_root_the_one_before_serves() -> None:
    """A newest root that our tree does not have stops only what it alone covers."""
    world = World()
    records = [world.send() for _ in range(5)]
    good = world.accept_size(3, block=50)
    assert await levels(world) == (3, 3)
    world.accept(keccak(b"another tree"), 5, block=60)
    steps = await steps_of(world, records)
    assert all(isinstance(step, Call) for step in steps[:3])
    assert {step.evidence["root"] for step in steps[:3] if isinstance(step, Call)} == {
        "0x" + good.hex()
    }
    for step in steps[3:]:
        assert isinstance(step, Wait)
        assert (step.reason, step.gate) == (Reason.ROOT_MISMATCH, PROVABLE)
    assert await levels(world) == (5, 3)


async def test_a_silent_child_stops_only_what_is_new() -> None:
    """The size of the newest root is unknown, that of the one before is not."""
    world = World()
    records = [world.send() for _ in range(5)]
    world.accept_size(3, block=50)
    assert await levels(world) == (3, 3)
    world.accept_size(5, block=60)
    world.child.failure = EndpointDown("child", "gone")
    steps = await steps_of(world, records)
    assert [isinstance(step, Call) for step in steps] == [True] * 3 + [False] * 2
    assert await levels(world) == (3, 3)


async def test_a_root_that_was_taken_back_is_not_held_on_to() -> None:
    """The parent replaced the block: what the outbox lacks gives way to the fact that is left."""
    world = World()
    records = [world.send() for _ in range(4)]
    world.accept_size(2, block=50)
    newest = world.accept_size(4, block=60)
    assert await levels(world) == (4, 4)
    world.roots.seen.pop()
    world.known_roots.discard(newest)
    assert isinstance((await steps_of(world, records))[0], Wait)
    steps = await steps_of(world, records)
    assert [isinstance(step, Call) for step in steps] == [True] * 2 + [False] * 2


async def test_a_tree_that_was_cut_back_is_not_proved_from() -> None:
    """A replaced block of the child takes leaves with it, and the root that we had."""
    world = World()
    for _ in range(4):
        world.send()
    world.accept_size(2, block=50)
    world.accept_size(4, block=60)
    assert await levels(world) == (4, 4)
    world.trees.truncate(TREE, 3)
    assert await levels(world) == (4, 0)


async def test_a_root_of_which_no_log_told_is_asked_for() -> None:
    """The outbox has it at a final block, and our tree: gates open and messages go."""
    world = World()
    records = [world.send() for _ in range(5)]
    world.accept_size(2)
    root = accept_unheard(world, 5)
    assert await levels(world) == (2, 2)
    world.clock.pass_s(SOONEST_S)
    assert await levels(world) == (5, 5)
    steps = await steps_of(world, records)
    assert {step.evidence["root"] for step in steps if isinstance(step, Call)} == {
        "0x" + root.hex()
    }
    assert len(steps) == 5


async def test_a_root_that_only_a_view_had_is_dropped_when_the_outbox_refuses_it() -> None:
    """A lying view cannot keep messages from the root that logs tell of."""
    world = World()
    records = [world.send() for _ in range(5)]
    told = world.accept_size(2)
    accept_unheard(world, 5)
    await levels(world)
    world.clock.pass_s(SOONEST_S)
    assert await levels(world) == (5, 5)
    refused = replace(records[0], reason=Reason.REBUILD_PROOF)
    (call,) = await steps_of(world, [refused])
    assert isinstance(call, Call)
    assert call.evidence["root"] == "0x" + told.hex()


async def test_before_any_fact_the_newest_sizes_are_asked_first() -> None:
    """Also where the one log that we would know was hidden, or the newest root is sick."""
    world = World()
    for _ in range(PAGE + 10):
        world.send()
    accept_unheard(world, PAGE + 5)
    assert await levels(world) == (0, 0)
    world.clock.pass_s(SOONEST_S)
    assert await levels(world) == (PAGE + 5, PAGE + 5)
    assert questions(world) == [10]


async def test_the_question_is_one_read_now_and_then_however_many_wait() -> None:
    """A page of sizes at a time in turn, and ever more rarely while nothing comes."""
    world = World()
    records = [world.send() for _ in range(2 * PAGE + 100)]
    world.accept_size(50)
    world.parent.add_block(90)
    for _ in range(3 * 3600):
        world.clock.pass_s(1.0)
        await levels(world)
        await world.adapter.next_steps(records[60:61])
    pages = questions(world)
    assert pages[:4] == [PAGE, PAGE, 50, PAGE]
    assert 3 * 3600 / LATEST_S < len(pages) < 40


async def test_without_newer_leaves_nothing_is_asked() -> None:
    """When the newest root covers all that we have, none can be missing for our messages."""
    world = World()
    for _ in range(5):
        world.send()
    world.accept_size(5)
    for _ in range(10):
        world.clock.pass_s(LATEST_S)
        assert await levels(world) == (5, 5)
    assert questions(world) == []


async def test_a_parent_that_does_not_answer_leaves_what_logs_tell() -> None:
    """The question is a second opinion; failing, it takes nothing away."""
    world = World()
    for _ in range(5):
        world.send()
    world.accept_size(2)
    assert await levels(world) == (2, 2)
    world.clock.pass_s(SOONEST_S)
    world.parent.failure = EndpointDown("parent", "gone")
    assert await levels(world) == (2, 2)


async def test_one_wrong_size_is_forgotten() -> None:
    """A lie about a block is asked for again; a size that our tree confirms is kept."""
    world = World()
    record = world.send()
    world.accept(world.trees.root(TREE, 1), 99)
    assert isinstance((await steps_of(world, [record]))[0], Wait)
    world.child.add_block(50, sendCount="0x1", sendRoot="0x" + world.trees.root(TREE, 1).hex())
    world.clock.pass_s(UNPROVED_S)
    assert isinstance((await steps_of(world, [record]))[0], Call)
    world.child.blocks.clear()
    world.clock.pass_s(UNPROVED_S)
    assert isinstance((await steps_of(world, [record]))[0], Call)
