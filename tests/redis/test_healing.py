"""Trees are put right from the chain: leaves that lack or are wrong, and wrong inner nodes."""

from __future__ import annotations

import pytest

from relayer.errors import LeaseLost
from relayer.pipeline.auditor import FIRST_PAUSE_S, LONGEST_PAUSE_S
from relayer.store import Lease, Store
from relayer.store.keys import base
from tests.redis.conftest import Clock
from tests.redis.follower_world import (
    FINAL,
    LEAF,
    MESSAGE,
    SEVEN,
    TREE,
    Bridge,
    FollowerWorld,
    following,
    said,
)
from tests.redis.servers import Server
from tests.unit.chain_node import Node

pytestmark = pytest.mark.redis

SIZE = 7


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def node() -> Node:
    """Seven leaves in blocks 10, 20, ... 70."""
    node = Node()
    node.logs = [said(LEAF, index, block=10 + 10 * index) for index in range(SIZE)]
    return node


async def is_right(world: FollowerWorld) -> bool:
    """Whether the stored tree has the contract's size and root."""
    (truth,) = world.bridge.truths
    if await world.forest.size(TREE) != truth.size:
        return False
    return await world.forest.roots(TREE, [truth.size]) == [truth.root]


async def spoil_node(store: Store, level: int, index: int) -> None:
    key = f"{base(store._prefix, SEVEN)}nodes:{TREE}:{level}:0"
    await store.command("SETRANGE", key, index * 32 + 3, b"\xde\xad")


async def test_a_wrong_leaf_is_replaced_from_the_chain(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """The audit has all blocks read again; the tree is cut where it differs and grows anew."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE)
        await world.settle()
        await world.auditor.tick()
        assert world.told("root_mismatch") == []
    for level in (0, 1):  # what an endpoint lied about is in the nodes above as well
        await spoil_node(store, level, 4 >> level)
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE)
        await world.auditor.tick()
        await world.settle()
        (replaced,) = world.told("leaf_replaced")
        assert (replaced["index"], replaced["block"]) == (4, 50)
        assert world.counted("relayer_leaves_replaced_total", tree=TREE) == 1
        assert await is_right(world)
        await world.auditor.tick()
        assert len(world.told("root_mismatch")) == 1


async def test_a_wrong_inner_node_is_built_anew(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """No leaf differs, so reading again does not help: the next attempt starts from nothing."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE)
        await world.settle()
    await spoil_node(store, 2, 0)
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE)
        await world.auditor.tick()
        await world.settle()
        assert not await is_right(world)
        await world.auditor.tick()
        assert len(world.told("tree_read_again")) == 1
        clock.time += FIRST_PAUSE_S
        await world.auditor.tick()
        await world.settle()
        assert [one["from_nothing"] for one in world.told("tree_read_again")] == [False, True]
        assert world.told("leaf_replaced") == []
        assert await is_right(world)


async def test_a_contract_that_will_not_agree_is_read_again_ever_more_seldom(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """A wrong address, or endpoints that lie for long, cost little."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE, salt=9)
        await world.settle()
        for _ in range(480):  # four hours of audits
            await world.auditor.tick()
            await world.settle()
            clock.time += 30
        assert len(world.told("root_mismatch")) > 400
        tries = len(world.told("tree_read_again"))
        assert 6 < tries < 8 + 4 * 3600 / LONGEST_PAUSE_S


async def test_a_late_start_block_is_told_and_not_read_for_ever(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Leaves before the start block cannot be found; an earlier one heals."""
    late = Bridge(start=35)
    late.says(SIZE)
    async with following(node, store=store, lease=lease, clock=clock, bridge=late) as world:
        await world.settle()
        for _ in range(3):
            await world.auditor.tick()
            clock.time += 10
        assert world.told("leaves_healed") == []
        (line,) = world.told("leaves_not_found")
        assert line["leaf"] == 0
        assert "start_block 35 is after leaf 0" in line["why"]
        clock.time += FIRST_PAUSE_S
        await world.auditor.tick()
        assert len(world.told("leaves_not_found")) == 2
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE)
        await world.settle()
        assert await is_right(world)


async def test_leaves_that_an_endpoint_left_out_are_healed(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """The contract's count is larger: the blocks below are read until the tree is whole."""
    everything = node.logs
    node.logs = everything[:3]
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE)
        await world.settle()
        node.logs = everything
        await world.auditor.tick()
        assert len(world.told("leaves_healed")) == 1
        assert await is_right(world)


async def test_a_tree_that_fails_stops_nothing_else(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Messages of the same blocks are stored and the cursor moves; the way out heals the tree."""
    key = f"{base(store._prefix, SEVEN)}tree:{TREE}"
    await store.command("HSET", key, "size", "many")
    node.logs.append(said(MESSAGE, 1, block=60, more=10))
    async with following(node, store=store, lease=lease, clock=clock) as world:
        world.bridge.says(SIZE)
        await world.settle()
        assert await world.knows(1) == [True]
        cursor = await store.cursor(SEVEN)
        assert cursor is not None
        assert cursor.block == FINAL
        (line,) = world.told("tree_failed")
        assert f"tree:{TREE} holds many" in line["error"]
        await world.auditor.tick()
        assert [one["of"] for one in world.told("audit_failed")] == [TREE]
        await store.command("DEL", key)
        await world.auditor.tick()
        assert await is_right(world)


async def test_a_live_leaf_that_contradicts_stops_no_other_bridge(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """A second leaf of an old index comes with new blocks: they are stored all the same."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        node.head += 5
        node.logs += [
            said(LEAF, 3, block=FINAL + 2, more=1),
            said(MESSAGE, 1, block=FINAL + 3, more=10),
        ]
        await world.settle()
        assert await world.knows(1) == [True]
        assert len(world.told("leaf_replaced")) == 1


async def test_an_owner_that_dies_while_it_heals_leaves_no_message_behind(
    store: Store, clock: Clock, lease: Lease, node: Node
) -> None:
    """The leaf is what is missed: while its message is not stored, neither may it be.

    The block is older than what is swept, so nothing else would ever read it again.
    """
    shown = [*node.logs, said(MESSAGE, 8, block=40, more=10)]
    node.logs = [log for log in node.logs if log["blockNumber"] != hex(40)]
    clock.time += 2 * store.retention_s
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        node.logs = shown
        world.bridge.says(SIZE)
        await store.command("HSET", f"{base(store._prefix, 10)}origins", SEVEN, lease.token + 1)
        with pytest.raises(LeaseLost):
            await world.auditor.tick()
        await store.command("DEL", f"{base(store._prefix, 10)}origins")
        await world.auditor.tick()
        assert await is_right(world)
        assert await world.knows(8) == [True]
