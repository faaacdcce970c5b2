"""Linea end to end: real contracts, its operator, and the relayer as its users run it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from relayer.devnet.accounts import ANNOUNCER, RELAYERS
from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Ground, GroundPlan, Sent
from relayer.devnet.ledger import wasted_calls
from relayer.devnet.linea import L1, L2, Letter, LineaLocal, LineaPlan
from relayer.devnet.linea_contracts import Limits
from relayer.devnet.linea_operator import MESSAGE_SENT
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.service import RelayerProcess
from tests.fault.conftest import until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

UNITS = 10**15
PERIOD_S = 15
RICH_TIP = hex(50 * 10**9)
TRIES = 5


@dataclass
class Scene:
    """The bridge on running chains, and a relayer that is not started yet."""

    ground: Ground
    bridge: LineaLocal
    relayer: RelayerProcess

    async def delivered(self, sent: Sequence[Sent], *, within_s: float = 90.0) -> None:
        """Wait until every message is claimed on chain."""

        async def done() -> bool:
            return not await self.bridge.undelivered(sent)

        await until(done, within_s=within_s)

    async def view(self, one: Sent) -> Any:
        """What the relayer says of a message."""
        return await self.relayer.get(f"/v1/messages/{one.id}")

    async def says(self, one: Sent, **fields: str) -> None:
        """Wait until the relayer says this of a message."""

        async def so() -> bool:
            return fields.items() <= (await self.view(one)).items()

        await until(so)

    async def assert_once(self, sent: Sequence[Sent], *, wasted: int = 0) -> None:
        """Each message was claimed once, its body arrived, and so many calls were in vain."""
        ledger = await self.bridge.deliveries(sent)
        assert {ledger[one.id].count for one in sent} == {1}
        assert all(ledger[one.id].body_arrived for one in sent)
        nodes = [node.rpc for node in self.ground.nodes.values()]
        assert await wasted_calls(nodes, self.bridge.outcomes) == wasted


@asynccontextmanager
async def scene_at(
    directory: Path, plan: LineaPlan | None = None, *, block_time_s: float = 1.0
) -> AsyncIterator[Scene]:
    port = free_port()
    more = {"http": {"host": "127.0.0.1", "port": port}}
    bridge = LineaLocal(plan)
    ground_plan = GroundPlan(block_time_s=block_time_s, more_settings=more)
    async with Ground(directory / "ground", [bridge], ground_plan) as ground:
        relayer = RelayerProcess(ground.config_path, port, directory / "relayer.log")
        yield Scene(ground, bridge, relayer)


async def test_kill_9_in_the_middle_loses_nothing_and_pays_nothing_twice(tmp_path: Path) -> None:
    """Both directions, several trees, a relayer killed in mid-flight: each arrives exactly once."""
    async with scene_at(tmp_path) as scene:
        await scene.relayer.start()
        try:
            sent = [*await scene.bridge.spread(90)]

            async def some() -> bool:
                return len(await scene.bridge.undelivered(sent)) < len(sent)

            await until(some)
            await scene.relayer.kill()
            sent += await scene.bridge.spread(20, label="while it was away")
            await scene.relayer.start()
            await scene.delivered(sent)
        finally:
            await scene.relayer.stop()
        await scene.assert_once(sent)


async def test_the_rate_limit_is_waited_for(tmp_path: Path) -> None:
    """What a period has no room for waits with that reason, and is delivered in the next one."""
    plan = LineaPlan(withdrawals=Limits(period_s=PERIOD_S, limit=5 * UNITS))
    async with scene_at(tmp_path, plan) as scene:
        await scene.relayer.start()
        try:
            letters = [Letter(L2, b"%d" % turn, fee=0, value=2 * UNITS) for turn in range(3)]
            sent = await scene.bridge.send(letters)

            async def two_arrived() -> bool:
                return len(await scene.bridge.undelivered(sent)) == 1

            await until(two_arrived)
            (held,) = await scene.bridge.undelivered(sent)
            await scene.says(held, status="waiting", reason="rate_limited")
            assert "are left in this period" in (await scene.view(held))["explanation"]
            await scene.delivered(sent, within_s=PERIOD_S + 45)
        finally:
            await scene.relayer.stop()
        await scene.assert_once(sent)


async def test_claimed_by_somebody_else_while_ours_is_in_flight(tmp_path: Path) -> None:
    """Ours reverts, which is no error: the message is delivered, by another."""
    async with scene_at(tmp_path, block_time_s=2.0) as scene:
        await scene.relayer.start()
        try:
            lost: list[Sent] = []
            for turn in range(TRIES):
                (one,) = await scene.bridge.send([Letter(L2, b"mine %d" % turn)])
                await _overtake(scene.ground.nodes[L1].rpc)
                await scene.delivered([one])
                await scene.says(one, status="delivered")
                if (await scene.view(one))["reason"] == "delivered_by_other":
                    lost.append(one)
                    break
            assert lost, "nobody ever overtook us"
        finally:
            await scene.relayer.stop()
        await scene.assert_once(lost, wasted=1)
        view_log = scene.relayer.log.read_text(encoding="utf-8")
        assert "message_dead" not in view_log


async def _overtake(rpc: NodeRpc) -> None:
    """Copy the relayer's claim from the transaction pool and pay more to be first."""
    ours = {str(account.address) for account in RELAYERS}
    found: list[dict[str, Any]] = []

    async def in_flight() -> bool:
        pool = await rpc.call("txpool_content")
        found[:] = [
            tx
            for sender, by_nonce in pool["pending"].items()
            if sender.lower() in ours
            for tx in by_nonce.values()
        ]
        return bool(found)

    async with asyncio.timeout(60):
        while not await in_flight():  # noqa: ASYNC110 - a pool rings no bell
            await asyncio.sleep(0.02)
    copy = {"from": ANNOUNCER.address, "to": found[0]["to"], "data": found[0]["input"]}
    fees = {"maxFeePerGas": hex(200 * 10**9), "maxPriorityFeePerGas": RICH_TIP}
    await rpc.call("eth_sendTransaction", {**copy, **fees, "gas": found[0]["gas"]})


@dataclass
class Censor:
    """A proxy in front of a node that keeps some logs to itself."""

    node: str
    hidden: set[str] = field(default_factory=set)
    """Message hashes whose `MessageSent` is not shown."""
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Censor]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.node, data=await request.read(), headers=_JSON) as answer,
        ):
            said = await answer.json()
        replies = said if isinstance(said, list) else [said]
        for reply in replies:
            if isinstance(reply, dict) and isinstance(reply.get("result"), list):
                reply["result"] = [one for one in reply["result"] if not self._is_hidden(one)]
        return web.Response(text=json.dumps(said), content_type="application/json")

    def _is_hidden(self, one: Any) -> bool:
        topics = one.get("topics", []) if isinstance(one, dict) else []
        return len(topics) == 4 and topics[0] == MESSAGE_SENT and topics[3] in self.hidden


_JSON = {"content-type": "application/json"}


async def test_a_message_hidden_by_an_endpoint_is_missed_by_nobody(tmp_path: Path) -> None:
    """While a log is hidden no proof matches and nothing is sent; then all heals by itself."""
    async with scene_at(tmp_path) as scene:
        node = scene.ground.nodes[L2]
        async with Censor(node.url).running() as censor:
            config = scene.ground.config()
            config["chains"][L2]["endpoints"] = [{"url": censor.url}, {"url": node.url}]
            scene.ground.config_path.write_text(yaml.safe_dump(config), encoding="utf-8")
            await scene.ground.pause_operators()
            sent = await scene.bridge.send([Letter(L2, b"%d" % turn) for turn in range(4)])
            censor.hidden = {sent[1].id}
            await scene.relayer.start()
            try:
                scene.ground.resume_operators()
                for one in (sent[0], sent[2], sent[3]):
                    await scene.says(one, status="waiting", reason="root_mismatch")
                assert await scene.bridge.undelivered(sent) == sent
                censor.hidden = set()
                await scene.delivered(sent)
                await scene.says(sent[1], status="delivered", reason="delivered_by_us")
            finally:
                await scene.relayer.stop()
        await scene.assert_once(sent)
