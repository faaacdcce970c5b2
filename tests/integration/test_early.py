"""A message is shown before its block is final: a real relayer, real chains, Hyperlane on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relayer.devnet.ground import Sent
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from tests.fault.conftest import plan_with_port, until

pytestmark = [pytest.mark.chain, pytest.mark.timeout(180)]

DEPTH = 8
"""Blocks that must follow before one is final."""


@dataclass
class Scene:
    """Chains that move only when the test says so, and their relayer."""

    world: Devnet
    relayer: RelayerProcess

    async def send(self) -> tuple[Sent, str]:
        """A message from alpha to beta, and the transaction that sent it."""
        sent = await self.world.traffic.dispatch("alpha", "beta", body=b"early")
        block = await self.world.nodes["alpha"].rpc.call(
            "eth_getBlockByNumber", hex(sent.block), False
        )
        (tx,) = block["transactions"]
        return sent, tx

    async def of_tx(self, tx: str) -> Any:
        return await self.relayer.get(f"/v1/messages?tx={tx}")

    async def status(self, tx: str) -> str | None:
        """Of the one message of a transaction; None when there is none."""
        found = (await self.of_tx(tx))["messages"]
        return found[0]["status"] if found else None


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    plan, port = plan_with_port(block_time_s=None, finality={"depth": DEPTH})
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = RelayerProcess(world.config_path, port, tmp_path / "relayer.log")
        await relayer.start()
        try:

            async def is_read() -> bool:
                return await relayer.metric("relayer_chain_cursor_block", chain="alpha") > 0

            await world.nodes["alpha"].mine(DEPTH)
            await until(is_read)
            yield Scene(world, relayer)
        finally:
            await relayer.stop()


async def test_seen_then_delivered(scene: Scene) -> None:
    """From the first look after the transaction until it is there, it is never out of sight."""
    sent, tx = await scene.send()
    body = await scene.of_tx(tx)
    (view,) = body["messages"]
    assert (view["id"], view["status"]) == (sent.id, "seen")
    assert (view["reason"], view["origin_block"]) == ("awaiting_finality", sent.block)
    assert view["payment"]["count"] == 1
    assert view["estimate"] is not None
    assert body["chains_answered"] is True
    statuses = ["seen"]

    async def delivered() -> bool:
        for node in scene.world.nodes.values():
            await node.mine()
        now = await scene.status(tx)
        assert now is not None
        if now != statuses[-1]:
            statuses.append(now)
        return now == "delivered"

    await until(delivered)
    assert "seen" not in statuses[1:]
    walk = await scene.relayer.get(f"/v1/messages/{sent.id}")
    assert walk["timeline"][0]["status"] == "waiting"  # what was never stored is in no walk


async def test_a_replaced_block_makes_it_vanish(scene: Scene) -> None:
    """Nothing of it is left, here or in the store, when other blocks take its block's place."""
    _, tx = await scene.send()
    assert await scene.status(tx) == "seen"
    alpha = scene.world.nodes["alpha"]
    await alpha.rpc.call("anvil_reorg", 1, [])

    async def is_gone() -> bool:
        return await scene.status(tx) is None

    await until(is_gone)
    await alpha.mine(2 * DEPTH)
    kept, later = await scene.send()
    await alpha.mine(2 * DEPTH)

    async def is_followed() -> bool:
        return await scene.status(later) != "seen"

    await until(is_followed)
    listed = await scene.relayer.get("/v1/messages")
    assert [one["id"] for one in listed["messages"]] == [kept.id]
    assert await scene.relayer.metric("relayer_reorgs_total", chain="alpha") == 0
