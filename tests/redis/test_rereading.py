"""What the follower reads again: lost records, asked ranges, and old blocks in turn."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from relayer.adapter import Log
from relayer.message import BlockNumber, ChainId, Fact
from relayer.pipeline.rereading import LOOK_EVERY_S
from relayer.store import Lease, Store
from relayer.store.keys import base
from relayer.store.rescans import MOST_RESCANS
from tests.redis.conftest import Clock
from tests.redis.follower_world import (
    FINAL,
    MESSAGE,
    SEVEN,
    TEN,
    TWENTY,
    Bridge,
    following,
    id_of,
    said,
)
from tests.redis.servers import Server
from tests.unit.chain_node import Node, Refused

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def node() -> Node:
    """Two messages to chain 10 and one to chain 20."""
    node = Node()
    node.logs = [
        said(MESSAGE, 1, block=20, more=10),
        said(MESSAGE, 2, block=40, more=20),
        said(MESSAGE, 3, block=60, more=10),
    ]
    return node


async def lose_slot(store: Store, chain: int) -> None:
    """What a Cluster node that is gone for good leaves."""
    keys = await store.command("KEYS", base(store._prefix, str(chain)) + "*")
    await store.command("DEL", *keys)


async def lose_record(store: Store, number: int) -> None:
    await store.command("DEL", f"{base(store._prefix, TEN)}message:{id_of(number)}")


async def test_messages_of_a_lost_slot_come_back_while_running(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Only the records are gone, not the cursor: the blocks they came from are read again."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await lose_slot(store, TEN)
        assert await world.knows(1, 2, 3) == [False, True, False]
        await world.settle()
        assert await world.knows(1, 3) == [False, False]
        clock.time += LOOK_EVERY_S
        await world.settle()
        assert await world.knows(1, 2, 3) == [True, True, True]
        (line,) = world.told("records_lost")
        assert (line["destination"], line["reads_again_from"], line["to"]) == (TEN, 20, FINAL)
        assert world.counted("relayer_records_lost_total", chain="seven") == 1


async def test_messages_of_a_lost_slot_come_back_after_a_start(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """The next follower looks before it goes on, and only once."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
    await lose_slot(store, TWENTY)
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        assert await world.knows(1, 2, 3) == [True, True, True]
        clock.time += LOOK_EVERY_S
        await world.settle()
        assert len(world.told("records_lost")) == 1


async def test_a_destination_that_could_not_be_written_is_no_loss(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """A failed tick is repeated; nobody is told of lost records then."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        route = world.bridge.routes()[0]
        key = f"{base(store._prefix, TEN)}status:waiting:{route}"
        await store.command("SET", key, "garbage")
        for _ in range(2):
            with pytest.raises(Exception, match="another type"):
                await world.tick()
        await store.command("DEL", key)
        await world.settle()
        assert await world.knows(1, 2, 3) == [True, True, True]
        assert world.told("records_lost") == []


async def test_a_single_lost_record_comes_back_with_the_sweep(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Old blocks are read in turn, newest first, and again from the newest at the end."""
    async with following(node, store=store, lease=lease, clock=clock, max_log_range=30) as world:
        await world.settle()
        await lose_record(store, 1)
        for known in ([False], [False], [True]):  # blocks 61 to 90, 31 to 60, 1 to 30
            await world.sweep.turn()
            assert await world.knows(1) == known
        assert world.counted("relayer_records_lost_total", chain="seven") == 1
        await lose_record(store, 3)
        for _ in range(3):  # the end of the round, 61 to 90, 31 to 60
            await world.sweep.turn()
        assert await world.knows(3) == [True]
        assert len(world.told("records_restored")) == 2


async def test_the_sweep_waits_for_what_is_read_again(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """What a new route or a backfill brings was not lost; one that fails is not waited for."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        await lose_record(store, 1)
        await store.ask_rescan(SEVEN, BlockNumber(5), BlockNumber(9))
        await world.sweep.turn()
        assert await world.knows(1) == [False]
        (asked,) = await store.rescans(SEVEN)
        await store.note_rescan_failed(lease, asked, "no endpoint answers")
        await world.sweep.turn()
        assert await world.knows(1) == [True]


async def test_the_sweep_leaves_alone_what_may_be_forgotten(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """A message that was delivered and forgotten must not come anew."""
    async with following(node, store=store, lease=lease, clock=clock, max_log_range=30) as world:
        await world.settle()
        clock.time += store.retention_s + 45  # the node's blocks are a second apart
        await lose_record(store, 1)
        await lose_record(store, 3)
        for _ in range(8):
            await world.sweep.turn()
        assert await world.knows(1, 3) == [False, False]
        asked = [params[0] for name, params in node.asked if name == "eth_getLogs"]
        assert {int(one["fromBlock"], 16) for one in asked[-3:]} == {61}


async def test_a_range_that_cannot_be_read_stops_nothing_else(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """New blocks and other ranges go on; it is tried again later, and one can see why it waits."""

    def refuse_low(params: list[dict[str, str]]) -> object:
        if int(params[0]["fromBlock"], 16) < 10:
            raise Refused(-32000, "missing trie node")
        return Node.answer(node, "eth_getLogs", params)

    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
        node.on["eth_getLogs"] = refuse_low
        await store.ask_rescan(SEVEN, BlockNumber(5), BlockNumber(9))
        await store.ask_rescan(SEVEN, BlockNumber(50), BlockNumber(70))
        node.head += 10
        node.logs.append(said(MESSAGE, 4, block=FINAL + 5, more=10))
        await world.settle()
        assert await world.knows(4) == [True]
        (left,) = await store.rescans(SEVEN)
        assert left.name == "5-9"
        assert "missing trie node" in left.failure
        failed = world.told("rescan_failed")
        clock.time += failed[-1]["again_in_s"] - 1
        await world.settle()
        assert len(world.told("rescan_failed")) == len(failed)
        node.on.clear()
        clock.time += 2
        await world.settle()
        assert await store.rescans(SEVEN) == []


async def test_a_bug_in_reading_again_stops_no_new_blocks(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Even a crash of the decoder on old logs is that range's own."""

    class Fragile(Bridge):
        def decode(self, logs: Sequence[Log]) -> list[Fact]:
            if any(one.at.block == 20 for one in logs):
                raise KeyError("a bug")
            return super().decode(logs)

    bridge = Fragile(start=30)
    async with following(node, store=store, lease=lease, clock=clock, bridge=bridge) as world:
        await world.settle()
        await store.ask_rescan(SEVEN, BlockNumber(20), BlockNumber(20))
        await world.settle()
        assert [line["kind"] for line in world.told("rescan_failed")] == ["crash"]
        node.head += 10
        node.logs.append(said(MESSAGE, 4, block=FINAL + 5, more=10))
        await world.settle()
        assert await world.knows(4) == [True]


async def test_a_new_bridge_waits_for_ranges_to_become_fewer(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """With as many open as there may be, these are read first, and then the bridge's."""
    late = Bridge(start=50)
    async with following(node, store=store, lease=lease, clock=clock, bridge=late) as world:
        await world.settle()
    for block in range(MOST_RESCANS):
        await store.ask_rescan(SEVEN, BlockNumber(10 + block), BlockNumber(80))
    async with following(node, store=store, lease=lease, clock=clock) as world:
        for _ in range(2 * MOST_RESCANS):
            await world.tick()
        assert await store.rescans(SEVEN) == []
        assert len(world.told("bridge_waits")) == 1
        assert await world.knows(1, 2, 3) == [True, True, True]


async def test_a_range_can_be_taken_back(store: Store, lease: Lease) -> None:
    """What was asked for by mistake does not stay for ever."""
    await store.ask_rescan(SEVEN, BlockNumber(5), BlockNumber(9))
    assert await store.cancel_rescan(SEVEN, BlockNumber(5), BlockNumber(9))
    assert await store.rescans(SEVEN) == []
    assert not await store.cancel_rescan(SEVEN, BlockNumber(5), BlockNumber(9))


@pytest.mark.parametrize(
    ("before", "found"),
    [
        (Bridge(start=50), [False, False, True]),
        (Bridge(TWENTY), [False, True, False]),
        (Bridge(TEN, TWENTY, reading="domain 7"), [True, True, True]),
    ],
    ids=["an earlier start block", "a new route", "another reading of the logs"],
)
async def test_what_is_new_in_a_bridge_has_its_blocks_read(
    node: Node, store: Store, lease: Lease, clock: Clock, before: Bridge, found: list[bool]
) -> None:
    """What was passed under other settings is read again, although the cursor is above it."""
    async with following(node, store=store, lease=lease, clock=clock, bridge=before) as world:
        await world.settle()
        assert await world.knows(1, 2, 3) == found
    for times in (1, 0):
        async with following(node, store=store, lease=lease, clock=clock) as world:
            await world.settle()
            assert await world.knows(1, 2, 3) == [True, True, True]
            assert len(world.told("bridge_added")) == times


async def test_what_was_away_and_comes_back_has_its_blocks_read(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """Blocks that were passed while a route was not configured are read when it is again."""
    away = Bridge(TWENTY)
    for bridge, times in ((Bridge(), 0), (away, 0), (away, 0), (Bridge(), 1), (Bridge(), 0)):
        async with following(node, store=store, lease=lease, clock=clock, bridge=bridge) as world:
            await world.settle()
            assert len(world.told("bridge_added")) == times


async def test_a_store_of_a_version_without_routes_is_not_read_again(
    node: Node, store: Store, lease: Lease, clock: Clock
) -> None:
    """An upgrade alone changes nothing about what is followed."""
    async with following(node, store=store, lease=lease, clock=clock) as world:
        await world.settle()
    key = base(store._prefix, SEVEN) + "followed"
    for route in Bridge().routes():
        await store.command("HDEL", key, str(route))
    for bridge, times in ((Bridge(), 0), (Bridge(TEN, TWENTY, ChainId(30)), 1)):
        async with following(node, store=store, lease=lease, clock=clock, bridge=bridge) as world:
            await world.settle()
            assert len(world.told("bridge_added")) == times
