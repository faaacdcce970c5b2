"""Redis loses a part of what it took, or holds garbage: all is delivered all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from redis import Redis

from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Sent
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet, WorldPlan
from relayer.store import EmbeddedRedis
from tests.fault.conftest import all_delivered, assert_exactly_once, told_by_metric, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

ALPHA, BETA = b"{31337}:", b"{31338}:"
AUDIT_S = 45.0
"""Longer than the auditor's and the sweep's pause."""


@dataclass
class Parts:
    """Chains, a relayer, and a Redis of its own that a test can hurt."""

    world: Devnet
    relayer: RelayerProcess
    redis: Redis

    def keys(self, slot: bytes) -> list[bytes]:
        return [key for key in self.redis.scan_iter("*") if slot in key]

    def key_of(self, sent: Sent) -> bytes:
        (key,) = [key for key in self.keys(BETA) if key.endswith(b"message:" + sent.id.encode())]
        return key

    async def waiting(self, count: int) -> list[Sent]:
        """Messages that are known and cannot be delivered yet."""
        await self.world.pause_operators()
        sent = [
            await self.world.traffic.dispatch("alpha", "beta", body=b"%d" % n) for n in range(count)
        ]

        async def known() -> bool:
            views = [await self.relayer.get(f"/v1/messages/{one.id}") for one in sent]
            return all(view.get("status") == "waiting" for view in views)

        await until(known)
        return sent


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    server = EmbeddedRedis(tmp_path / "redis")
    await server.start()
    try:
        async with Devnet(tmp_path / "world", WorldPlan()) as world:
            port = free_port()
            settings = world.config() | {"redis": {"url": server.url, "lease_s": 3}}
            settings["http"] = {"host": "127.0.0.1", "port": port}
            path = tmp_path / "relayer.yaml"
            path.write_text(yaml.safe_dump(settings), encoding="utf-8")
            relayer = RelayerProcess(path, port, tmp_path / "relayer.log")
            await relayer.start()
            try:
                with Redis.from_url(server.url) as client:
                    yield Parts(world, relayer, client)
            finally:
                await relayer.stop()
    finally:
        await server.aclose()


def whole(parts: Parts, sent: list[Sent]) -> None:
    """A Cluster node that is gone for good."""
    parts.redis.delete(*parts.keys(BETA))


def some(parts: Parts, sent: list[Sent]) -> None:
    """Somebody deleted and overwrote records."""
    for place, one in enumerate(sent):
        key = parts.key_of(one)
        parts.redis.delete(key)
        if place % 2:
            parts.redis.set(key, "junk")


@pytest.mark.parametrize("lose", [whole, some])
async def test_messages_whose_records_are_lost_are_delivered_once(
    parts: Parts, lose: Callable[[Parts, list[Sent]], None]
) -> None:
    """Nobody asks for it: the relayer misses them, and reads their blocks again."""
    sent = await parts.waiting(4)
    lose(parts, sent)
    parts.world.resume_operators()
    await all_delivered(parts.world, sent, within_s=30 + AUDIT_S)
    await told_by_metric(parts.relayer, "relayer_records_lost_total", chain="alpha")
    await assert_exactly_once(parts.world, sent)


async def test_a_wrong_stored_leaf_delays_and_stops_nothing(parts: Parts) -> None:
    """An endpoint lied once: the audit finds it, the chain's word replaces it."""
    first = [await parts.world.traffic.dispatch("alpha", "beta", body=b"%d" % n) for n in range(3)]
    await all_delivered(parts.world, first)
    nodes = next(key for key in parts.keys(ALPHA) if b"nodes:" in key and key.endswith(b":0:0"))
    parts.redis.setrange(nodes, 2 * 32 + 3, b"\xde\xad")
    await parts.relayer.kill()  # what it remembers of the tree is right
    await parts.relayer.start()
    later = [await parts.world.traffic.dispatch("alpha", "beta", body=b"later %d" % 1)]
    await all_delivered(parts.world, later, within_s=30 + AUDIT_S)
    tree = f"hyperlane/{parts.world.sites['alpha'].chain_id}"
    await told_by_metric(parts.relayer, "relayer_leaves_replaced_total", tree=tree)
    await assert_exactly_once(parts.world, [*first, *later])


async def test_garbage_in_the_store_ends_no_process(parts: Parts) -> None:
    """A value nobody of ours wrote is passed over, before and after a start."""
    parts.redis.sadd("relayer:{meta}:chains", "x")
    first = [await parts.world.traffic.dispatch("alpha", "beta", body=b"first")]
    await all_delivered(parts.world, first)
    parts.redis.hset(b"relayer:" + BETA + b"counts", "x", "y")
    await parts.relayer.kill()
    await parts.relayer.start()
    later = [await parts.world.traffic.dispatch("alpha", "beta", body=b"later")]
    await all_delivered(parts.world, later)
    await assert_exactly_once(parts.world, [*first, *later])
