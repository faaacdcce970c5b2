"""Nothing is lost and nothing is paid twice, whatever dies in the middle."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from tests.fault.conftest import all_delivered, assert_exactly_once, plan_with_port, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

RelayerOn = Callable[[Devnet, int], RelayerProcess]


async def _delivered_some(world: Devnet, sent: list) -> None:  # type: ignore[type-arg]
    async def some() -> bool:
        return len(await world.traffic.undelivered(sent)) < len(sent)

    await until(some)


async def test_kill_9_in_the_middle_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path, relayer_on: RelayerOn
) -> None:
    """A relayer killed in mid-flight resumes: each message has exactly one delivery on chain."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.spread(60)
            await _delivered_some(world, sent)
            await relayer.kill()
            await relayer.start()
            await all_delivered(world, sent)
        finally:
            await relayer.stop()
        await assert_exactly_once(world, sent)


async def test_a_wiped_store_is_rebuilt_from_the_chain(
    tmp_path: Path, relayer_on: RelayerOn
) -> None:
    """With Redis gone altogether, what was delivered is not sent again and the rest is."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.spread(30)
            await _delivered_some(world, sent)
            await relayer.stop()
            shutil.rmtree(world.directory / "data")
            await relayer.start()
            await all_delivered(world, sent)
            more = await world.traffic.spread(6, label="after")
            await all_delivered(world, more)
        finally:
            await relayer.stop()
        await assert_exactly_once(world, [*sent, *more])


async def test_redis_killed_under_a_live_relayer_comes_back_and_loses_nothing(
    tmp_path: Path, relayer_on: RelayerOn
) -> None:
    """The embedded server is killed in the middle; the running relayer restarts it and goes on."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.spread(60)
            await _delivered_some(world, sent)
            pid_file = world.directory / "data" / "redis" / "redis.pid"
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
            more = await world.traffic.spread(6, label="after")
            await all_delivered(world, [*sent, *more])
        finally:
            code = await relayer.stop()
        assert code == 0
        await assert_exactly_once(world, [*sent, *more])


async def test_sigterm_in_the_middle_of_a_burst_ends_in_time_and_resumes(
    tmp_path: Path, relayer_on: RelayerOn
) -> None:
    """SIGTERM ends the process with code 0; the next start delivers what was left, once."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = relayer_on(world, port)
        await relayer.start()
        sent = await world.traffic.spread(60)
        await _delivered_some(world, sent)
        assert await relayer.stop() == 0
        await relayer.start()
        try:
            await all_delivered(world, sent)
        finally:
            await relayer.stop()
        await assert_exactly_once(world, sent)


async def test_a_taken_port_ends_the_start_with_the_words_that_help(
    tmp_path: Path, relayer_on: RelayerOn
) -> None:
    """No half-alive relayer without HTTP: one line that names the port, and exit code 2."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", port))
            squatter.listen()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relayer", "--config", str(world.config_path), "run"),
                stderr=asyncio.subprocess.PIPE,
            )
            _, words = await asyncio.wait_for(process.communicate(), 40)
        assert process.returncode == 2
        assert f"cannot listen on 127.0.0.1:{port}" in words.decode()
