"""Which leaves an accepted root covers is found in our own tree, cheaply and for good."""

from __future__ import annotations

import pytest

from relayer.adapter import Call, Wait
from relayer.errors import EndpointDown
from relayer.message import Gate
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.missed import LATEST_S, SOONEST_S
from relayer.protocols.scroll.roots import AFRESH_S, PAGE, PAGES
from tests.unit.scroll.world import LEAVES, TREE, World, proof_of


async def level(world: World) -> int:
    """Leaves that can be proved now."""
    return (await world.adapter.levels([LEAVES]))[LEAVES]


@pytest.mark.parametrize("size", [1, 2, 5, 8])
async def test_the_size_of_a_root_is_found(world: World, size: int) -> None:
    """Also when the tree has grown past it."""
    world.send(8)
    assert await level(world) == 0
    world.finalize(3, world.root(size))
    assert await level(world) == size


async def test_a_repeated_root_costs_no_search(world: World) -> None:
    """Batches without messages repeat the root of the one before."""
    world.send(600)
    world.finalize(1, world.root(600))
    assert await level(world) == 600
    world.trees.computed = 0
    for batch in range(2, 12):
        world.finalize(batch, world.root(600))
        assert await level(world) == 600
    assert world.trees.computed == 10  # each time only: is it still the root of our tree?


async def test_after_a_root_the_search_goes_on_upwards(world: World) -> None:
    """Old leaves are not searched again."""
    world.send(2000)
    world.finalize(1, world.root(1990))
    assert await level(world) == 1990
    world.trees.computed = 0
    world.finalize(2, world.root(1993))
    assert await level(world) == 1993
    assert world.trees.computed <= 11


async def test_the_newest_root_is_looked_for_near_the_newest_leaf(world: World) -> None:
    """After a start with a large tree the search does not begin at its first leaf."""
    world.send(3000)
    world.finalize(9, world.root(2900))
    assert await level(world) == 2900
    assert world.trees.computed <= PAGE + 1


async def test_a_long_search_is_cut_into_turns(world: World) -> None:
    """No call computes more than so many roots; the search goes on where it stopped."""
    world.send(PAGE * PAGES + 300)
    world.finalize(1, world.root(5))
    records = world.send(1)
    assert await level(world) == 0
    assert world.trees.computed <= PAGE * PAGES
    world.context.now.pass_s(AFRESH_S + 1)
    assert isinstance(await world.step(records[0]), Wait)
    assert await level(world) == 5
    assert world.trees.computed < PAGE * PAGES + 310  # none twice


async def test_a_root_beyond_our_tree_is_found_when_its_leaves_come(world: World) -> None:
    """The rollup's follower may be behind that of layer 1."""
    world.send(4)
    world.send(3, follow=False)
    world.finalize(1, world.root(7))
    assert await level(world) == 0
    world.grow(2)
    assert await level(world) == 0
    world.grow(1)
    assert await level(world) == 7


async def test_meanwhile_the_older_root_serves(world: World) -> None:
    """What an older root covers does not wait for a newer root's leaves."""
    world.send(4)
    world.finalize(1, world.root(4))
    assert await level(world) == 4
    world.send(3, follow=False)
    world.finalize(2, world.root(7))
    assert await level(world) == 4


async def test_a_root_taken_back_by_layer_1_is_forgotten(world: World) -> None:
    """A roll-back of layer 1 takes its roots with it."""
    world.send(4)
    world.finalize(1, world.root(2))
    world.finalize(2, world.root(4))
    assert await level(world) == 4
    world.roots.seen.pop()
    assert await level(world) == 2
    world.roots.seen.pop()
    assert await level(world) == 0


async def test_a_tree_cut_back_by_the_rollup_is_noticed(world: World) -> None:
    """A roll-back of the rollup takes leaves away; what was found before counts no more."""
    world.send(4)
    world.finalize(1, world.root(4))
    assert await level(world) == 4
    world.trees.truncate(TREE, 2)
    assert await level(world) == 0
    world.grow(2)
    assert await level(world) == 4


async def test_leaves_replaced_behind_our_back_are_searched_again(world: World) -> None:
    """A fruitless search is begun anew after a while."""
    world.send(4)
    world.trees.truncate(TREE, 0)
    world.trees.grow(TREE, [bytes([n]) * 32 for n in range(1, 5)])
    world.finalize(1, world.root(4))
    assert await level(world) == 0
    world.trees.truncate(TREE, 0)
    world.grow(4)
    assert await level(world) == 0
    world.context.now.pass_s(AFRESH_S + 1)
    assert await level(world) == 4


async def test_a_root_of_which_no_log_told_is_asked_for(world: World) -> None:
    """ScrollChain's own word at a final block, matched with our tree, opens the gate."""
    records = world.send(5)
    world.finalize(1, world.root(2))
    world.finalize(4, world.root(5), hidden=True)
    assert await level(world) == 2
    world.context.now.pass_s(SOONEST_S)
    assert await level(world) == 5
    call = await world.step(records[4])
    assert isinstance(call, Call)
    assert proof_of(call)[0] == 4


async def test_before_any_log_the_first_root_is_asked_for_too(world: World) -> None:
    """The one log that we would know may be the hidden one."""
    world.send(3)
    world.finalize(1, world.root(3), hidden=True)
    assert await level(world) == 0
    world.context.now.pass_s(SOONEST_S)
    assert await level(world) == 3


@pytest.mark.parametrize("batch", [0, 1, 7, 2**53, 2**255])
async def test_a_root_that_is_none_of_our_tree_takes_nothing_away(world: World, batch: int) -> None:
    """A lying view is asked again later; what logs tell serves on, also newer ones."""
    world.send(5)
    world.finalize(1, world.root(2))
    world.finalize(batch, bytes([7]) * 32, hidden=True)
    world.withdraw_roots[1] = world.root(2)
    assert await level(world) == 2
    world.context.now.pass_s(SOONEST_S)
    assert await level(world) == 2
    world.finalize(2, world.root(5))
    assert await level(world) == 5
    world.context.now.pass_s(LATEST_S)
    assert await level(world) == 5


async def test_the_question_is_asked_ever_more_rarely(world: World) -> None:
    """However often gates and messages look."""
    records = world.send(5)
    world.finalize(1, world.root(2))
    for _ in range(3 * 3600):
        world.context.now.pass_s(1.0)
        await level(world)
        await world.step(records[4])
    asked = [views for views in world.l1.reads if views[0].data[:4] == contracts.LAST_FINALIZED]
    assert 3 * 3600 / LATEST_S < len(asked) < 40


async def test_a_layer_1_that_does_not_answer_leaves_what_logs_tell(world: World) -> None:
    """The question is a second opinion; failing, it takes nothing away."""
    world.send(5)
    world.finalize(1, world.root(2))
    assert await level(world) == 2
    world.context.now.pass_s(SOONEST_S)
    world.l1.failure = EndpointDown("main", "gone")
    assert await level(world) == 2


async def test_other_gates_are_not_ours(world: World) -> None:
    """A gate of a former release is left out, which opens it."""
    assert await world.adapter.levels([Gate(LEAVES.bridge, "older")]) == {}
