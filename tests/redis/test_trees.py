"""Tree nodes and leaves, on a real server and a real cluster."""

from __future__ import annotations

import pytest

from relayer.adapter import NodeAt
from relayer.errors import BadChainData, UnknownRecord
from relayer.keccak import keccak256
from relayer.message import TreeId
from relayer.store import Role, Store
from relayer.store.keys import base
from tests.redis.conftest import Leases, held
from tests.redis.sample_facts import ONE, cursor, hash_of

pytestmark = pytest.mark.redis

TREE = TreeId("hyper/outbox")


def leaf(index: int, salt: str = "") -> bytes:
    return keccak256(f"{salt}{index}".encode())


def nodes_between(old: int, new: int) -> dict[NodeAt, bytes]:
    """Every node that is complete at `new` and was not at `old` (its bytes do not matter here)."""
    found = {}
    for level in range(new.bit_length()):
        for index in range(old >> level, new >> level):
            found[NodeAt(level, index)] = leaf(index, f"{level}/" if level else "")
    return found


async def test_nodes_are_read_in_one_round_trip(store: Store, leases: Leases) -> None:
    """A thousand leaves written in one call; any node comes back; incomplete ones are left out."""
    assert await store.tree_size(ONE, TREE) == 0
    written = nodes_between(0, 1000)
    before = store.round_trips
    assert await store.extend_tree(leases.follower, TREE, 0, 1000, written)
    state, found = await store.tree_nodes(ONE, TREE, list(written))
    assert (state.size, found) == (1000, written)
    assert store.round_trips - before <= 4
    few = [NodeAt(0, 999), NodeAt(3, 124), NodeAt(3, 125), NodeAt(10, 0)]
    _, found = await store.tree_nodes(ONE, TREE, few)
    assert set(found) == {NodeAt(0, 999), NodeAt(3, 124)}


async def test_growth_is_compare_and_set(store: Store, leases: Leases) -> None:
    """A size or an epoch that is not as expected writes nothing."""
    assert await store.extend_tree(leases.follower, TREE, 0, 3, nodes_between(0, 3))
    assert not await store.extend_tree(leases.follower, TREE, 2, 4, nodes_between(2, 4))
    assert not await store.extend_tree(leases.follower, TREE, 3, 4, nodes_between(3, 4), epoch=1)
    state = await store.tree_state(ONE, TREE)
    assert state.size == 3
    assert await store.tree_nodes(ONE, TREE, [NodeAt(0, 3)]) == (state, {})


async def test_truncation_hides_what_it_cut(store: Store, leases: Leases) -> None:
    """Nodes beyond the new size are not served, and the epoch says that something was cut."""
    written = nodes_between(0, 8)
    await store.extend_tree(leases.follower, TREE, 0, 8, written)
    before = await store.tree_state(ONE, TREE)
    await store.truncate_tree(leases.follower, TREE, 5)
    after = await store.tree_state(ONE, TREE)
    assert (before.size, after.size) == (8, 5)
    assert after.epoch > before.epoch
    found = await store.tree_nodes(ONE, TREE, list(written))
    assert found == (after, nodes_between(0, 5))


async def test_no_two_trees_have_one_epoch(store: Store, leases: Leases) -> None:
    """A tree that was lost and is built anew is told from the one before, however large it is."""
    epochs = set()
    for _ in range(3):
        await store.extend_tree(leases.follower, TREE, 0, 4, nodes_between(0, 4))
        epochs.add((await store.tree_state(ONE, TREE)).epoch)
        await store.truncate_tree(leases.follower, TREE, 2)
        epochs.add((await store.tree_state(ONE, TREE)).epoch)
        await store.command("DEL", f"{base(store._prefix, ONE)}tree:{TREE}")
    assert len(epochs) == 6


@pytest.mark.parametrize(("field", "value"), [("size", "many"), ("size", "-1"), ("epoch", "x")])
async def test_a_garbage_size_is_named(
    store: Store, leases: Leases, field: str, value: str
) -> None:
    """The error says which key holds what, and what to do; the way out works."""
    await store.extend_tree(leases.follower, TREE, 0, 3, nodes_between(0, 3))
    key = f"{base(store._prefix, ONE)}tree:{TREE}"
    await store.command("HSET", key, field, value)
    leaves = {3: (leaf(3), 100, hash_of(100))}
    for call in (
        store.tree_state(ONE, TREE),
        store.tree_nodes(ONE, TREE, [NodeAt(0, 0)]),
        store.save_leaves(leases.follower, TREE, leaves),
        store.extend_tree(leases.follower, TREE, 3, 4, nodes_between(3, 4)),
        store.truncate_tree(leases.follower, TREE, 0),
    ):
        with pytest.raises(UnknownRecord, match=rf"tree:{TREE} holds {value}.*delete the key"):
            await call
    await store.command("DEL", key)
    assert await store.tree_size(ONE, TREE) == 0


async def test_leaves_wait_until_they_are_contiguous(store: Store, leases: Leases) -> None:
    """A gap stops the read; taking leaves into the tree removes them here."""
    leaves = {index: (leaf(index), 100, hash_of(100)) for index in (0, 1, 3)}
    await store.save_leaves(leases.follower, TREE, leaves)
    assert await store.loose_leaves(ONE, TREE, 0, 10) == {0: leaf(0), 1: leaf(1)}
    await store.extend_tree(leases.follower, TREE, 0, 2, nodes_between(0, 2))
    await store.save_leaves(leases.follower, TREE, {2: (leaf(2), 101, hash_of(101))})
    assert await store.loose_leaves(ONE, TREE, 0, 10) == {}
    assert await store.loose_leaves(ONE, TREE, 2, 10) == {2: leaf(2), 3: leaf(3)}


async def test_a_leaf_that_changes_replaces_the_one_before(store: Store, leases: Leases) -> None:
    """Of two answers one was a lie: the later counts, the tree is cut, and the caller is told."""
    first = {n: (leaf(n), 100, hash_of(100)) for n in range(4)}
    assert await store.save_leaves(leases.follower, TREE, first) is None
    await store.extend_tree(leases.follower, TREE, 0, 3, nodes_between(0, 3))
    await store.advance(leases.follower, cursor(100))
    assert await store.save_leaves(leases.follower, TREE, first) is None
    for index in (3, 1):
        changed = {n: (leaf(n, "x" if n == index else ""), 100, hash_of(100)) for n in range(4)}
        assert await store.save_leaves(leases.follower, TREE, changed) == index
        assert await store.tree_size(ONE, TREE) == min(index, 3)
        loose = await store.loose_leaves(ONE, TREE, index, 9)
        assert loose[index] == leaf(index, "x")


async def test_a_leaf_that_is_no_word_is_refused(store: Store, leases: Leases) -> None:
    """A zero leaf is no leaf."""
    for zero in (bytes(32), b"\x01" * 31):
        with pytest.raises(BadChainData):
            await store.save_leaves(leases.follower, TREE, {2: (zero, 101, hash_of(101))})


async def test_a_dead_owners_leaves_above_the_cursor_are_replaced(
    store: Store, leases: Leases
) -> None:
    """A block replaced between two owners may bring another leaf for the same index."""
    await store.advance(leases.follower, cursor(99))
    old = {n: (leaf(n), 100, hash_of(100)) for n in range(3)}
    await store.save_leaves(leases.follower, TREE, old)
    await store.extend_tree(leases.follower, TREE, 0, 3, nodes_between(0, 3))
    await store.release(leases.follower)
    fresh = await held(store, 1, Role.FOLLOWER, "two")
    new = {n: (leaf(n, "" if n == 0 else "new"), 100, hash_of(100, "b")) for n in range(3)}
    assert await store.save_leaves(fresh, TREE, new) is None
    assert await store.tree_size(ONE, TREE) == 1
    assert await store.loose_leaves(ONE, TREE, 1, 5) == {1: leaf(1, "new"), 2: leaf(2, "new")}


async def test_a_rollback_cuts_the_tree(store: Store, leases: Leases) -> None:
    """Leaves of replaced blocks leave the tree; leaves of older blocks stay."""
    leaves = {n: (leaf(n), 100 + n, hash_of(100 + n)) for n in range(6)}
    await store.save_leaves(leases.follower, TREE, leaves)
    await store.extend_tree(leases.follower, TREE, 0, 4, nodes_between(0, 4))
    await store.advance(leases.follower, cursor(105))
    undone = await store.rollback(leases.follower, cursor(102))
    assert undone.trees == {TREE: 3}
    assert await store.tree_size(ONE, TREE) == 3
    assert await store.loose_leaves(ONE, TREE, 3, 5) == {}
