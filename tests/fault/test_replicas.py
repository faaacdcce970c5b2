"""Two relayers on one Redis share the lanes and pay for nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from relayer.devnet.anvil import free_port
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

                async def every_lane_held() -> bool:
                    return await _lanes_held(first) + await _lanes_held(second) == 3

                await until(every_lane_held)
                sent = await world.traffic.spread(60)
                holder, other = (first, second) if await _lanes_held(first) else (second, first)
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


def _replica(world: Devnet, tmp_path: Path, name: str, port: int, url: str) -> RelayerProcess:
    config = world.config()
    config["instance"] = name
    config["http"] = {"host": "127.0.0.1", "port": port}
    config["redis"] = {"url": url, "lease_s": 3}
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return RelayerProcess(path, port, tmp_path / f"{name}.log")
