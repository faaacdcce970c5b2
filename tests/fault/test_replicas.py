"""Two relayers on one Redis share the lanes and pay for nothing twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Sent
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from relayer.store import EmbeddedRedis
from tests.fault.conftest import all_delivered, assert_exactly_once, plan_with_port, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]


async def _lanes_held(relayer: RelayerProcess) -> float:
    return await relayer.metric("relayer_lease_held", role="lane")


async def test_a_dead_replicas_lanes_are_taken_over_and_nothing_is_paid_twice(
    tmp_path: Path,
) -> None:
    """Both replicas hold lanes; one is killed in mid-flight; the other delivers everything once."""
    redis = EmbeddedRedis(tmp_path / "redis")
    await redis.start()
    plan, first_port = plan_with_port()
    try:
        async with Devnet(tmp_path / "world", plan) as world:
            first = _replica(world, tmp_path, "one", first_port, redis.url)
            second = _replica(world, tmp_path, "two", free_port(), redis.url)
            await first.start()
            await second.start()
            try:

                async def shared_out() -> bool:
                    return sorted([await _lanes_held(first), await _lanes_held(second)]) == [1, 2]

                await until(shared_out)
                sent = await world.traffic.spread(60)
                holder, other = (first, second) if await _holds(first, 2) else (second, first)
                await holder.kill()
                more = await world.traffic.spread(12, label="after")
                await all_delivered(world, [*sent, *more])
                assert await _lanes_held(other) == 3
            finally:
                for replica in (first, second):
                    await replica.stop()
            await assert_exactly_once(world, [*sent, *more])
    finally:
        await redis.aclose()


@pytest.mark.parametrize("joins", ["a bridge of its own", "the bridge that is there"])
async def test_replicas_take_up_a_new_chain_one_after_another(tmp_path: Path, joins: str) -> None:
    """Its messages wait at a lane whose holder does not know it yet, and need nobody's release."""
    after = _with_new_bridge if joins == "a bridge of its own" else _unchanged
    redis = EmbeddedRedis(tmp_path / "redis")
    await redis.start()
    plan, first_port = plan_with_port()
    try:
        async with Devnet(tmp_path / "world", plan) as world:
            before = partial(_without_gamma, world.config())
            make = partial(_replica, lease_s=UNSHARED_S)
            holder = make(world, tmp_path, "holder", first_port, redis.url, before)
            other = make(world, tmp_path, "other", free_port(), redis.url, before)
            await holder.start()
            await until(lambda: _holds(holder, 2))  # the lanes of the two chains it knows
            await other.start()
            try:
                make(world, tmp_path, "other", other.port, redis.url, after)
                os.kill(other.pid, signal.SIGHUP)
                await until(lambda: _holds(other, 1))
                sent = await world.traffic.spread(12)
                new = next(one for one in sent if (one.origin, one.destination) == TO_OLD)
                await until(lambda: _waits_for_the_route(other, new))
                make(world, tmp_path, "holder", holder.port, redis.url, after)
                os.kill(holder.pid, signal.SIGHUP)
                await all_delivered(world, sent)
            finally:
                for replica in (holder, other):
                    await replica.stop()
            await assert_exactly_once(world, sent)
    finally:
        await redis.aclose()


UNSHARED_S = 120
"""Leases so long that nothing is shared out meanwhile: the old lanes stay with their holder."""
TO_OLD = ("gamma", "alpha")
OLD_PAIR = [["alpha", "beta"], ["beta", "alpha"]]
NEW_PAIRS = [["alpha", "gamma"], ["gamma", "alpha"], ["beta", "gamma"], ["gamma", "beta"]]


async def _holds(relayer: RelayerProcess, lanes: int) -> bool:
    return await _lanes_held(relayer) == lanes


async def _waits_for_the_route(relayer: RelayerProcess, sent: Sent) -> bool:
    told = await relayer.get(f"/v1/messages/{sent.id}")
    return (told.get("status"), told.get("reason")) == ("waiting", "unsupported")


def _without_gamma(whole: dict[str, Any], config: dict[str, Any]) -> None:
    bridge = whole["bridges"]["hyperlane"]
    known = {name: chain for name, chain in bridge["chains"].items() if name != "gamma"}
    config["bridges"] = {"hyperlane": {**bridge, "chains": known, "routes": OLD_PAIR}}
    config["chains"] = {n: chain for n, chain in config["chains"].items() if n != "gamma"}


def _with_new_bridge(config: dict[str, Any]) -> None:
    """The third chain, over a bridge of its own."""
    bridge = config["bridges"]["hyperlane"]
    config["bridges"] = {
        "hyperlane": {**bridge, "routes": OLD_PAIR},
        "new": {**bridge, "routes": NEW_PAIRS},
    }


def _unchanged(_: dict[str, Any]) -> None:
    """All three chains on one bridge."""


def _replica(
    world: Devnet,
    tmp_path: Path,
    name: str,
    port: int,
    url: str,
    change: Callable[[dict[str, Any]], None] = _unchanged,
    *,
    lease_s: int = 3,
) -> RelayerProcess:
    config = world.config()
    change(config)
    config["instance"] = name
    config["http"] = {"host": "127.0.0.1", "port": port}
    config["redis"] = {"url": url, "lease_s": lease_s}
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return RelayerProcess(path, port, tmp_path / f"{name}.log")
