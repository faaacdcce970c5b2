"""Blocks that were passed are read again: for a bridge that came late, and for an operator."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from tests.fault.conftest import all_delivered, assert_exactly_once, plan_with_port, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(180)]

MakeRelayer = Callable[[Devnet, int], RelayerProcess]


def events(relayer: RelayerProcess, name: str) -> list[dict[str, Any]]:
    """The log lines of one kind."""
    lines = [json.loads(line) for line in relayer.log.read_text().splitlines() if line[:1] == "{"]
    return [line for line in lines if line.get("event") == name]


async def cursor_at(relayer: RelayerProcess, chain: str, block: int) -> None:
    """Wait until the follower has passed a block."""

    async def passed() -> bool:
        return await relayer.metric("relayer_chain_cursor_block", chain=chain) >= block

    await until(passed)


async def test_a_bridge_that_wants_older_blocks_has_them_read(
    tmp_path: Path, relayer_on: MakeRelayer
) -> None:
    """A start block below the cursor is honoured although the cursor never goes back."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        sent = await world.traffic.spread(6)
        heads = {
            name: int(await site.rpc.call("eth_blockNumber"), 16)
            for name, site in world.sites.items()
        }
        whole = world.config_path.read_text(encoding="utf-8")
        late = yaml.safe_load(whole)
        for name, head in heads.items():
            late["bridges"]["hyperlane"]["chains"][name]["start_block"] = head + 1
        world.config_path.write_text(yaml.safe_dump(late), encoding="utf-8")
        relayer = relayer_on(world, port)
        await relayer.start()
        for name, head in heads.items():
            await cursor_at(relayer, name, head + 1)
        await relayer.stop()
        assert len(await world.traffic.undelivered(sent)) == len(sent)
        world.config_path.write_text(whole, encoding="utf-8")
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            await all_delivered(world, sent)
        finally:
            await relayer.stop()
        assert {line["chain"] for line in events(relayer, "bridge_added")} == set(heads)
        assert events(relayer, "blocks_read_again")
        await assert_exactly_once(world, sent)


async def test_backfill_beside_a_running_relayer_is_done_by_it(
    tmp_path: Path, relayer_on: MakeRelayer
) -> None:
    """The command hands the range over, shows how it goes, and ends when it is read."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.spread(6)
            await all_delivered(world, sent)
            await cursor_at(relayer, "alpha", 3)
            code, answer = await backfill(world, first=1, last=3)
            assert (code, answer["blocks"]) == (0, 3)
            assert [line["of"] for line in events(relayer, "blocks_read_again")] == ["1-3"]
        finally:
            await relayer.stop()
        code, answer = await backfill(world, first=1, last=2)  # and without one, by itself
        assert (code, answer["blocks"]) == (0, 2)
        await assert_exactly_once(world, sent)


async def backfill(world: Devnet, *, first: int, last: int) -> tuple[int, dict[str, Any]]:
    """`relayer backfill --json` on alpha: exit code and answer."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relayer", "--config", str(world.config_path), "backfill"),
        *("--chain", "alpha", "--from", str(first), "--to", str(last), "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        answer, _ = await process.communicate()
    return process.returncode or 0, json.loads(answer)
