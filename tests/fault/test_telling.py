"""Two relayers tell what happens; one is killed, and neither listener nor webhook misses any."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web

from relayer.devnet.anvil import free_port
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from relayer.store import EmbeddedRedis
from tests.fault.conftest import all_delivered, plan_with_port, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]


class Hook:
    """A receiver of webhooks that refuses every third event once."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.delivered: dict[str, set[str]] = {}
        """Message id -> ids of the events that said it is delivered."""

    async def answer(self, request: web.Request) -> web.Response:
        posted = await request.json()
        is_new = posted["event_id"] not in self.known
        self.known.add(posted["event_id"])
        if is_new and len(self.known) % 3 == 0:
            return web.Response(status=500)
        self.delivered.setdefault(posted["event"]["id"], set()).add(posted["event_id"])
        return web.Response()


@pytest.fixture
async def hook() -> AsyncIterator[tuple[Hook, str]]:
    found = Hook()
    app = web.Application()
    app.router.add_post("/", found.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield found, f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


class Listener:
    """Hears `delivered` events of whichever replica answers, and goes on at the next."""

    def __init__(self, *replicas: RelayerProcess) -> None:
        self._replicas = replicas
        self._last_id = ""
        self.heard: list[str] = []
        self.resets = 0

    async def run(self) -> None:
        while True:
            for replica in self._replicas:
                try:
                    await self._listen(replica)
                except (aiohttp.ClientError, ConnectionError):
                    await asyncio.sleep(0.1)

    async def _listen(self, replica: RelayerProcess) -> None:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        url = f"{replica.url}/v1/events?status=delivered"
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout()) as session,
            session.get(url, headers=headers) as answer,
        ):
            async for raw in answer.content:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                if name == "id":
                    self._last_id = value
                elif name == "event":
                    self.resets += 1
                elif name == "data" and "status" in value:
                    self.heard.append(json.loads(value)["id"])


async def test_a_killed_replica_costs_no_event(tmp_path: Path, hook: tuple[Hook, str]) -> None:
    """Every delivery is heard once over the stream and told at least once to the webhook."""
    receiver, url = hook
    redis = EmbeddedRedis(tmp_path / "redis")
    await redis.start()
    plan, first_port = plan_with_port()
    try:
        async with Devnet(tmp_path / "world", plan) as world:
            first, second = (
                _replica(world, tmp_path, name, port, redis_url=redis.url, hook_url=url)
                for name, port in (("one", first_port), ("two", free_port()))
            )
            await first.start()
            await second.start()
            listener = Listener(first, second)
            listening = asyncio.create_task(listener.run())
            try:

                async def all_told() -> bool:
                    held = [
                        await one.metric("relayer_lease_held", role="webhooks")
                        for one in (first, second)
                    ]
                    return sum(held) == 3

                await until(all_told)
                sent = await world.traffic.spread(30)
                await first.kill()
                sent = [*sent, *await world.traffic.spread(30, label="after")]
                await all_delivered(world, sent)
                ids = {one.id for one in sent}

                async def everybody_knows() -> bool:
                    return ids <= set(listener.heard) and ids <= set(receiver.delivered)

                await until(everybody_knows)
                status = await second.get(f"/v1/messages/{sent[0].id}/proof")
                routes = await second.get("/v1/routes")
                chains = await second.get("/v1/chains")
            finally:
                listening.cancel()
                await asyncio.wait({listening})
                for replica in (first, second):
                    await replica.stop()
    finally:
        await redis.aclose()
    assert sorted(listener.heard) == sorted(ids)
    assert listener.resets == 0
    assert all(len(events) == 1 for events in receiver.delivered.values())
    assert status["step"] == "done"
    assert sum(one["messages"]["delivered"] for one in routes["routes"]) == len(ids)
    assert all(one["health"] == "ok" for one in routes["routes"])
    assert all(one["head"] and one["signers"][0]["balance_wei"] for one in chains["chains"])


def _replica(
    world: Devnet, tmp_path: Path, name: str, port: int, *, redis_url: str, hook_url: str
) -> RelayerProcess:
    config = world.config()
    config["instance"] = name
    config["http"] = {"host": "127.0.0.1", "port": port}
    config["redis"] = {"url": redis_url, "lease_s": 3}
    config["webhooks"] = [
        {
            "name": "shop",
            "url": hook_url,
            "secret": "0123456789abcdef0123456789abcdef",
            "statuses": ["delivered"],
            "allow_http": True,
            "allow_private": True,
        }
    ]
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return RelayerProcess(path, port, tmp_path / f"{name}.log")
