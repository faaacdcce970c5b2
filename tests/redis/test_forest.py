"""The forest's memory of nodes: cheap while nothing was cut, never wrong, and bounded."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence

import pytest

from relayer.adapter import EmptyRule, NodeAt, TreeShape, TreeSpec
from relayer.errors import Transient
from relayer.keccak import keccak256
from relayer.message import BlockNumber, LeafAdded, LogRef, Timestamp, TreeId, TxHash
from relayer.pipeline.forest import MAX_NODES, Forest, NodeMemory
from relayer.settings import RedisSettings
from relayer.store import Store, TreeState
from relayer.store.keys import base
from relayer.trees import append_only
from tests.redis.conftest import Clock, Leases
from tests.redis.sample_facts import ONE, hash_of

pytestmark = pytest.mark.redis

TREE, OTHER = TreeId("hyper/one"), TreeId("hyper/two")
SHAPE = TreeShape(EmptyRule.LADDER, 32)
SPECS = [TreeSpec(TREE, ONE, SHAPE), TreeSpec(OTHER, ONE, SHAPE)]


def leaf(index: int, salt: str = "") -> bytes:
    return keccak256(f"{salt}{index}".encode())


def leaves(first: int, end: int, *, tree: TreeId = TREE, salt: str = "") -> list[LeafAdded]:
    block = BlockNumber(100)
    at = LogRef(ONE, block, hash_of(block), TxHash("0x" + "01" * 32), 0, Timestamp(0.0))
    return [LeafAdded(tree, index, leaf(index, salt), at) for index in range(first, end)]


def root(values: Sequence[bytes]) -> bytes:
    """The root by a tree built in memory."""
    return append_only.root(SHAPE, len(values), append_only.build(SHAPE, values))


async def proves(forest: Forest, index: int, size: int, value: bytes) -> bytes:
    """The root that the forest's proof of a leaf leads to."""
    ((siblings),) = await forest.proofs(TREE, [(index, size)])
    return append_only.root_from_proof(value, index, siblings)


async def test_a_batch_costs_one_round_trip_at_most(store: Store, leases: Leases) -> None:
    """Nothing known, some known, all known: one round trip each."""
    await Forest(store, SPECS).grow(leases.follower, leaves(0, 300))
    await Forest(store, SPECS).roots(TREE, [300])  # the server knows the scripts from here on
    forest = Forest(store, SPECS)
    wanted = [(index, 300) for index in range(0, 300, 7)]
    costs = []
    for batch in (wanted[:20], wanted, wanted):
        before = store.round_trips
        await forest.proofs(TREE, batch)
        costs.append(store.round_trips - before)
    assert costs == [1, 1, 1]


async def test_a_cut_by_another_process_is_noticed(
    store: Store, leases: Leases, settings: RedisSettings, clock: Clock
) -> None:
    """What another process cuts and grows anew is proved anew, whatever was known before."""
    theirs = await Store.open(settings, "unused", clock)
    try:
        ours, other = Forest(store, SPECS), Forest(theirs, SPECS)
        await ours.grow(leases.follower, leaves(0, 8))
        old = [leaf(n) for n in range(8)]
        assert await ours.roots(TREE, [8]) == [root(old)]
        assert await proves(ours, 6, 8, leaf(6)) == root(old)
        await theirs.truncate_tree(leases.follower, TREE, 5)
        await other.grow(leases.follower, leaves(5, 9, salt="new"))
        new = [leaf(n, "" if n < 5 else "new") for n in range(9)]
        assert await proves(ours, 6, 8, leaf(6, "new")) == root(new[:8])
        assert await ours.roots(TREE, [8, 9]) == [root(new[:8]), root(new)]
        before = store.round_trips
        assert await ours.roots(TREE, [8, 9]) == [root(new[:8]), root(new)]
        assert store.round_trips - before == 1
    finally:
        await theirs.aclose()


async def test_a_cut_of_one_tree_leaves_the_others_known(store: Store, leases: Leases) -> None:
    """Each tree has an epoch of its own."""
    forest = Forest(store, SPECS)
    await forest.grow(leases.follower, [*leaves(0, 8), *leaves(0, 8, tree=OTHER, salt="o")])
    whole = await forest.roots(TREE, [8]), await forest.roots(OTHER, [8])
    await store.truncate_tree(leases.follower, TREE, 4)
    assert await forest.roots(TREE, [4]) == [root([leaf(n) for n in range(4)])]
    assert await forest.roots(OTHER, [8]) == whole[1]


async def test_what_was_cut_away_is_transient(store: Store, leases: Leases) -> None:
    """A reader whose tree was cut meanwhile is told to come back, known nodes or not."""
    forest = Forest(store, SPECS)
    await forest.grow(leases.follower, leaves(0, 8))
    await forest.roots(TREE, [8])
    await store.truncate_tree(leases.follower, TREE, 5)
    for reader in (forest, Forest(store, SPECS)):
        with pytest.raises(Transient, match="was cut to 5 leaves"):
            await reader.roots(TREE, [8])
        with pytest.raises(Transient, match="was cut to 5 leaves"):
            await reader.proofs(TREE, [(6, 8)])


async def test_a_store_that_was_wiped_is_noticed(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """A tree of another store is another one, also when it has grown as large meanwhile."""
    forest = Forest(store, SPECS)
    await forest.grow(leases.follower, leaves(0, 8))
    await forest.roots(TREE, [4, 8])
    for key in (f"tree:{TREE}", f"leaf_blocks:{TREE}", *(f"nodes:{TREE}:{n}:0" for n in range(4))):
        await store.command("DEL", base(settings.prefix, ONE) + key)
    await Forest(store, SPECS).grow(leases.follower, leaves(0, 9, salt="new"))
    assert await forest.roots(TREE, [8]) == [root([leaf(n, "new") for n in range(8)])]
    assert await forest.roots(TREE, [4]) == [root([leaf(n, "new") for n in range(4)])]


async def test_a_forest_of_any_memory_says_the_same(store: Store, leases: Leases) -> None:
    """Roots and proofs while a tree grows and is cut at random, with no, little and ample room."""
    rng = random.Random(7)
    forests = [Forest(store, SPECS, most_nodes=most) for most in (0, 5, MAX_NODES)]
    truth: list[bytes] = []
    for turn in range(30):
        if truth and rng.random() < 0.3:
            size = rng.randrange(len(truth))
            await store.truncate_tree(leases.follower, TREE, size)
            del truth[size:]
        fresh = leaves(len(truth), len(truth) + rng.randrange(1, 12), salt=f"{turn}/")
        await forests[turn % 3].grow(leases.follower, fresh)
        truth += [one.leaf for one in fresh]
        size = rng.randrange(1, len(truth) + 1)
        index = rng.randrange(size)
        for forest in forests:
            assert await forest.roots(TREE, [size]) == [root(truth[:size])]
            assert await proves(forest, index, size, truth[index]) == root(truth[:size])


def test_memory_is_bounded_and_forgets_the_least_recently_used() -> None:
    """The bound holds over all trees, and what is used stays."""
    memory = NodeMemory(4)
    state = TreeState(100, 0)
    memory.keep(TREE, state, {NodeAt(0, n): leaf(n) for n in range(3)})
    memory.keep(OTHER, state, {NodeAt(0, 0): leaf(0)})
    memory.recall(TREE, [NodeAt(0, 0)])
    memory.keep(OTHER, state, {NodeAt(0, 1): leaf(1), NodeAt(0, 2): leaf(2)})
    assert len(memory) == 4
    _, known = memory.recall(TREE, [NodeAt(0, n) for n in range(3)])
    assert set(known) == {NodeAt(0, 0)}


def test_a_full_memory_has_the_size_it_states() -> None:
    """The stated bound in bytes is that of a full memory."""
    tracemalloc.start()
    try:
        memory = NodeMemory(MAX_NODES)
        for first in range(0, 2 * MAX_NODES, 4096):
            nodes = {NodeAt(0, n): leaf(n) for n in range(first, first + 4096)}
            memory.keep(TREE, TreeState(2 * MAX_NODES, 0), nodes)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(memory) == MAX_NODES
    assert used < 26 * 2**20
