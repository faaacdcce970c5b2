"""Which leaves an accepted root covers is found in our own tree, cheaply and for good."""

from __future__ import annotations

import pytest

from relayer.adapter import Wait
from relayer.message import Gate
from relayer.protocols.scroll.roots import AFRESH_S, PAGE, PAGES
from tests.unit.scroll.world import LEAVES, TREE, World


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


async def test_other_gates_are_not_ours(world: World) -> None:
    """A gate of a former release is left out, which opens it."""
    assert await world.adapter.levels([Gate(LEAVES.bridge, "older")]) == {}
