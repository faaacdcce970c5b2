"""Replaced blocks are noticed however deep they are, and however short the new chain is."""

from __future__ import annotations

import pytest

from relayer.errors import Transient
from relayer.message import Status
from relayer.pipeline.standing import SHORTER_AFTER_S, SURE_AFTER_S
from relayer.store import Lease, Store
from relayer.store.facts import REMEMBERED
from tests.redis.conftest import Clock
from tests.redis.follower_world import (
    FINAL,
    LEAF,
    MESSAGE,
    SEVEN,
    TREE,
    FollowerWorld,
    following,
    id_of,
    said,
)
from tests.redis.servers import Server
from tests.unit.chain_node import Node

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def node() -> Node:
    node = Node()
    node.logs = [said(MESSAGE, 1, block=20, more=10), said(LEAF, 0, block=20)]
    return node


async def statuses(store: Store, *numbers: int) -> list[Status | None]:
    records = [await store.get(id_of(number)) for number in numbers]
    return [None if record is None else record.status for record in records]


async def grow(world: FollowerWorld, blocks: int) -> None:
    """Let the chain grow block by block, each of them followed."""
    for _ in range(blocks):
        world.node.head += 1
        await world.settle()


def replace(node: Node, *logs: object) -> None:
    """Every block is another one now."""
    node.fork += 1
    node.logs = list(logs)  # type: ignore[arg-type]


async def test_a_history_that_is_gone_is_read_from_the_start(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Deeper than anything we remember: the chain starts over, after a second thought."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await grow(world, REMEMBERED + 1)
        replace(node, said(MESSAGE, 2, block=30, more=10, fork=1), said(LEAF, 0, block=30, fork=1))
        with pytest.raises(Transient, match="from its start"):
            await world.tick()
        assert await statuses(store, 1, 2) == [Status.WAITING, None]
        clock.time += SURE_AFTER_S
        await world.settle()
        assert await statuses(store, 1, 2) == [Status.ORPHANED, Status.WAITING]
        assert await world.forest.size(TREE) == 1
        assert world.counted("relayer_reorgs_total", chain="seven") == 1
        assert len(world.told("chain_started_over")) == 1
        cursor = await store.cursor(SEVEN)
        assert cursor is not None
        assert cursor.block == FINAL + REMEMBERED + 1


async def test_a_lie_about_the_whole_history_is_slept_over(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """One endpoint on a wrong chain for a moment costs nothing that was read."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await grow(world, REMEMBERED + 1)
        truth = node.logs
        for _ in range(2):
            replace(node)
            with pytest.raises(Transient, match="from its start"):
                await world.tick()
            clock.time += SURE_AFTER_S
            node.fork, node.logs = 0, truth
            await world.settle()
        assert await statuses(store, 1) == [Status.WAITING]
        assert world.told("chain_started_over") == []


async def test_the_newest_block_left_is_found_with_few_questions(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Halving finds the fork among hundreds of remembered blocks."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await grow(world, 200)
        fork_at = FINAL + 77

        def block(params: list[object]) -> object:
            found = Node.answer(node, "eth_getBlockByNumber", params)
            if isinstance(found, dict) and int(str(found["number"]), 16) > fork_at:
                found["hash"] = "0xff" + str(found["hash"])[4:]
            return found

        node.on["eth_getBlockByNumber"] = block
        node.asked.clear()
        await world.tick()
        (line,) = world.told("reorg_below_finality")
        assert line["back_to"] == fork_at
        assert node.methods().count("eth_getBlockByNumber") < 20


async def test_a_shorter_chain_is_noticed_before_it_has_grown(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """The final block went back below the cursor: what we remember up to there is checked."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await grow(world, 20)
        replace(node)
        node.head -= 15
        await world.settle()
        assert await statuses(store, 1) == [Status.ORPHANED]
        assert len(world.told("final_block_went_back")) == 1
        assert len(world.told("reorg_below_finality")) == 1


async def test_an_endpoint_that_lags_undoes_nothing(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """A final block below the cursor on the same chain is told of once and waited for."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await grow(world, 20)
        for lag in (15, 0, 15):
            node.head += -15 if lag else 15
            for _ in range(3):
                await world.tick()
        assert await statuses(store, 1) == [Status.WAITING]
        assert len(world.told("final_block_went_back")) == 2
        assert world.told("reorg_below_finality") == []
        gauge = world.counted("relayer_chain_cursor_block", chain="seven")
        assert gauge == FINAL + 20


async def test_a_final_block_that_was_too_high_once_stops_nothing(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """One lie, or a chain that lost its end: it lives below what was read, so it is followed there
    after a while, and what comes in the blocks that were passed is not missed."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        node.head += 500
        await world.settle()
        node.head -= 490
        await grow(world, 1)
        node.logs.append(said(MESSAGE, 2, block=FINAL + 5, more=10))
        clock.time += SHORTER_AFTER_S - 1
        await grow(world, 1)
        assert world.told("reorg_below_finality") == []
        clock.time += 1
        await grow(world, 1)
        assert await statuses(store, 1, 2) == [Status.WAITING, Status.WAITING]
        (line,) = world.told("reorg_below_finality")
        assert (line["replaced"], line["back_to"]) == (FINAL + 500, FINAL)
        cursor = await store.cursor(SEVEN)
        assert cursor is not None
        assert cursor.block == FINAL + 13


@pytest.mark.parametrize("heads", [0, 15])
async def test_a_node_that_stands_still_or_recovers_undoes_nothing(
    node: Node, store: Store, lease: Lease, clock: Clock, heads: int
) -> None:
    """An endpoint that is frozen says nothing new; one that catches up was only late."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await grow(world, 20)
        node.head -= 15
        await world.tick()
        clock.time += 2 * SHORTER_AFTER_S
        node.head += heads
        for _ in range(3):
            await world.tick()
            clock.time += SHORTER_AFTER_S
        assert world.told("reorg_below_finality") == []
        assert world.told("final_block_went_back")
