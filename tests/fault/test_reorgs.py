"""A replaced block takes its facts with it, also when we had held it final."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from tests.fault.conftest import (
    all_delivered,
    assert_exactly_once,
    plan_with_port,
    told_by_metric,
    until,
)

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(180)]

REPLACED_BLOCKS = 6


async def test_facts_of_replaced_blocks_are_undone_and_the_new_chain_is_followed(
    tmp_path: Path, relayer_on: Callable[[Devnet, int], RelayerProcess]
) -> None:
    """Messages of replaced blocks are orphaned, the tree is cut, later messages are delivered."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        await world.pause_operators()
        alpha = world.nodes["alpha"]
        relayer = relayer_on(world, port)
        await relayer.start()
        try:

            async def stands_on_a_block() -> bool:
                return await relayer.metric("relayer_chain_cursor_block", chain="alpha") > 0

            await until(stands_on_a_block)  # a block below the replaced ones is remembered
            await alpha.mine(REPLACED_BLOCKS)
            lost = [
                await world.traffic.dispatch("alpha", "beta", body=b"lost %d" % turn)
                for turn in range(2)
            ]

            async def has_status(status: str) -> bool:
                views = [await relayer.get(f"/v1/messages/{one.id}") for one in lost]
                return all(view.get("status") == status for view in views)

            async def waiting() -> bool:
                return await has_status("waiting")

            async def orphaned() -> bool:
                return await has_status("orphaned")

            await until(waiting)
            assert await relayer.metric("relayer_reorgs_total", chain="alpha") == 0
            await alpha.rpc.call("anvil_reorg", REPLACED_BLOCKS, [])
            await until(orphaned)
            await told_by_metric(relayer, "relayer_reorgs_total", chain="alpha")
            world.resume_operators()
            kept = await world.traffic.spread(6, label="kept")
            await all_delivered(world, kept)
            assert len(await world.traffic.undelivered(lost)) == len(lost)
        finally:
            await relayer.stop()
        await assert_exactly_once(world, kept)


async def test_a_reorg_of_everything_read_so_far_starts_over(
    tmp_path: Path, relayer_on: Callable[[Devnet, int], RelayerProcess]
) -> None:
    """When no remembered block is left, the chain is read again from the start, not given up."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        await world.pause_operators()
        alpha = world.nodes["alpha"]
        deployed = int(await alpha.rpc.call("eth_blockNumber"), 16)
        lost = await world.traffic.dispatch("alpha", "beta", body=b"lost")
        await alpha.mine(REPLACED_BLOCKS)
        relayer = relayer_on(world, port)
        await relayer.start()
        try:

            async def status(wanted: str) -> bool:
                view = await relayer.get(f"/v1/messages/{lost.id}")
                return bool(view.get("status") == wanted)

            await until(lambda: status("waiting"))
            head = int(await alpha.rpc.call("eth_blockNumber"), 16)
            await alpha.rpc.call("anvil_reorg", head - deployed, [])
            await until(lambda: status("orphaned"))
            world.resume_operators()
            kept = await world.traffic.spread(6, label="kept")
            await all_delivered(world, kept)
        finally:
            await relayer.stop()
        await assert_exactly_once(world, kept)
