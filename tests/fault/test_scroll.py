"""Scroll withdrawals through the relayer as its users run it, with everything that goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from relayer.devnet.accounts import ANNOUNCER
from relayer.devnet.anvil import free_port
from relayer.devnet.artefacts import encode_call
from relayer.devnet.ground import GroundPlan, Sent
from relayer.devnet.multicall import eth_call
from relayer.devnet.scroll import L1, L2, Parcel, ScrollLocal
from relayer.devnet.scroll_contracts import MESSAGE_QUEUE
from tests.fault.conftest import until
from tests.fault.scene import Scene

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]


class ScrollScene(Scene[ScrollLocal]):
    """Scroll's two chains."""

    def __init__(self, directory: Path, **chain_settings: Any) -> None:
        plan = GroundPlan(more_chain_settings=chain_settings)
        super().__init__(directory, ScrollLocal(), plan)

    async def has_reason(self, one: Sent, reason: str) -> bool:
        return await self.has(one, reason=reason)

    async def explains(self, one: Sent, words: str) -> bool:
        return words in (await self.view(one)).get("explanation", "")

    def look_through(self, chain: str, port: int) -> None:
        """Let the relayer see a chain through what listens on a port."""
        config = yaml.safe_load(self.ground.config_path.read_text(encoding="utf-8"))
        config["chains"][chain]["endpoints"] = [{"url": f"http://127.0.0.1:{port}"}]
        self.ground.config_path.write_text(yaml.safe_dump(config), encoding="utf-8")


async def test_killed_in_the_middle_it_delivers_each_message_once(tmp_path: Path) -> None:
    """Sixty messages in several batches, kill -9 half-way: one delivery each, no call wasted."""
    async with ScrollScene(tmp_path).playing() as scene:
        sent = list(await scene.bridge.spread(40))

        async def some() -> bool:
            return len(await scene.bridge.undelivered(sent)) < len(sent)

        await until(some)
        await scene.relayer.kill()
        sent += await scene.bridge.spread(20, label="meanwhile")
        await scene.relayer.start()
        await scene.delivered(sent)
        await scene.assert_exactly_once(sent)


async def test_bundles_of_several_batches_and_repeated_roots(tmp_path: Path) -> None:
    """A bundle's root stands under its last batch; a batch that repeats a root changes nothing."""
    scene = ScrollScene(tmp_path)
    async with scene.playing():
        await scene.ground.pause_operators()
        first = await scene.bridge.spread(5)
        assert (await scene.bridge.operator.finalize(batches=3)).batch == 3
        await scene.delivered(first)
        again = await scene.bridge.operator.finalize()
        second = await scene.bridge.spread(4, label="second")
        bundle = await scene.bridge.operator.finalize(batches=2)
        assert (again.batch, bundle.batch) == (4, 6)
        await scene.delivered(second)
        await scene.assert_exactly_once([*first, *second])


async def test_a_failing_target_costs_nothing_until_it_recovers(tmp_path: Path) -> None:
    """It waits as `target_failed` while others go; once the target takes it, it is delivered."""
    async with ScrollScene(tmp_path).playing() as scene:
        (bad,) = await scene.bridge.send([Parcel(b"later", "Switched")])
        good = await scene.bridge.spread(6)
        await scene.delivered(good)
        await until(lambda: scene.has_reason(bad, "target_failed"))
        assert await scene.bridge.undelivered([bad]) == [bad]
        await scene.bridge.switch_on("Switched")
        await scene.delivered([bad])
        await scene.assert_exactly_once([*good, bad])


async def test_a_target_that_fails_only_on_chain_is_no_delivery(tmp_path: Path) -> None:
    """The transaction succeeds with FailedRelayedMessage: undelivered, backed off, then dead."""
    async with ScrollScene(tmp_path, lane={"max_attempts": 2}).playing() as scene:
        (bad,) = await scene.bridge.send([Parcel(b"lie", "TwoFaced")])

        async def is_dead() -> bool:
            return (await scene.view(bad)).get("status") == "dead"

        await until(is_dead)
        view = await scene.view(bad)
        assert view["reason"] == "target_failed"
        assert any("the target failed in 0x" in line["detail"] for line in view["timeline"])
        assert await scene.bridge.undelivered([bad]) == [bad]
        assert await scene.wasted() == 2
        good = await scene.bridge.spread(3)
        await scene.delivered(good)


async def test_a_hungry_target_gets_its_gas(tmp_path: Path) -> None:
    """Estimates do not see how much a target needs; the calls that are sent know."""
    async with ScrollScene(tmp_path).playing() as scene:
        sent = await scene.bridge.send([Parcel(b"hungry %d" % n, "Hungry") for n in range(6)])
        await scene.delivered(sent)
        await scene.assert_exactly_once(sent)


class HidingNode:
    """A JSON-RPC node that passes everything on, but hides some leaves and some roots."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.hidden: set[str] = set()
        """Message hashes and finalized roots, as hex without 0x."""
        self.hid = 0

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[None]:
        """Listen on a loopback port."""
        app = web.Application()
        app.router.add_post("/", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._target, json=body) as response,
        ):
            answer = await response.json(content_type=None)
        for one in answer if isinstance(answer, list) else [answer]:
            if isinstance(one.get("result"), list):
                one["result"] = [log for log in one["result"] if not self._hides(log)]
        return web.json_response(answer)

    def _hides(self, log: Any) -> bool:
        hides = isinstance(log, dict) and log.get("data", "")[66:130] in self.hidden
        self.hid += hides
        return hides


async def test_a_leaf_that_an_endpoint_hid_is_noticed_and_healed(tmp_path: Path) -> None:
    """The finalized root tells that a leaf is missing; nothing is sent; the auditor heals it."""
    scene = ScrollScene(tmp_path)
    async with scene.ground:
        await scene.ground.pause_operators()
        node = HidingNode(scene.ground.nodes[L2].url)
        port = free_port()
        scene.look_through(L2, port)
        sent = list(await scene.bridge.spread(4))
        lost = (await scene.bridge.send([Parcel(b"lost")]))[0]
        sent += [lost, *await scene.bridge.spread(3, label="more")]
        await scene.bridge.operator.finalize()
        node.hidden.add(lost.id[2:])
        async with node.serving(port):
            await scene.relayer.start()
            try:
                await until(lambda: scene.explains(sent[0], "has 4 of 8 leaves"))
                assert await scene.has_reason(sent[0], "awaiting_leaf")
                assert node.hid > 0
                assert await scene.bridge.undelivered(sent) == sent
                node.hidden.clear()
                await scene.delivered(sent)
                assert scene.was_read_again()
            finally:
                await scene.relayer.stop()
        await scene.assert_exactly_once(sent)


async def test_a_hidden_root_is_asked_for_and_its_messages_arrive(tmp_path: Path) -> None:
    """No log tells of it ever again; ScrollChain itself says that it has it."""
    scene = ScrollScene(tmp_path)
    async with scene.ground:
        await scene.ground.pause_operators()
        node, port = HidingNode(scene.ground.nodes[L1].url), free_port()
        scene.look_through(L1, port)
        async with node.serving(port):
            await scene.relayer.start()
            try:
                first = await scene.bridge.spread(2)
                await scene.bridge.operator.finalize()
                await scene.delivered(first)
                second = await scene.bridge.spread(3, label="under the hidden root")
                await until(lambda: scene.has_reason(second[0], "awaiting_root"))
                ask = encode_call("messageRoot()")
                root = await eth_call(scene.ground.nodes[L2].rpc, MESSAGE_QUEUE, ask)
                node.hidden.add(root.hex())
                await scene.bridge.operator.finalize()

                async def is_hidden() -> bool:
                    return node.hid > 0

                await until(is_hidden)
                await scene.delivered(second)
                assert scene.events("root_not_told")
            finally:
                await scene.relayer.stop()
        await scene.assert_exactly_once([*first, *second])


async def test_a_claim_by_hand_while_ours_is_in_flight_is_a_success(tmp_path: Path) -> None:
    """`relayer prove` gives anybody the call; whoever is first, the message is delivered."""
    async with ScrollScene(tmp_path).playing() as scene:
        await scene.ground.pause_operators()
        layer_1 = scene.ground.nodes[L1]
        (sent,) = await scene.bridge.spread(1)
        await until(lambda: scene.has_reason(sent, "awaiting_root"))
        await layer_1.rpc.call("evm_setIntervalMining", 0)
        finalizing = asyncio.create_task(scene.bridge.operator.finalize())
        while not finalizing.done():  # the bundle is mined by hand, then made final
            await layer_1.mine()
            await asyncio.sleep(0.1)
        await layer_1.mine()
        await until(lambda: scene.has(sent, status="submitted"))
        step = await scene.command("prove", sent.id)
        claim = {
            "from": ANNOUNCER.address,
            "to": step["to"],
            "data": step["data"],
            "gas": hex(1_000_000),
            "maxFeePerGas": hex(500 * 10**9),
            "maxPriorityFeePerGas": hex(100 * 10**9),
        }
        tx_hash = await layer_1.rpc.call("eth_sendTransaction", claim)
        await layer_1.mine()
        receipt = await layer_1.rpc.call("eth_getTransactionReceipt", tx_hash)
        assert receipt["status"] == "0x1"
        await layer_1.rpc.call("evm_setIntervalMining", 1)
        await until(lambda: scene.has(sent, status="delivered"))
        view = await scene.view(sent)
        assert (view["reason"], view["tx"]) == ("delivered_by_other", tx_hash)
        ledger = await scene.bridge.deliveries([sent])
        assert ledger[sent.id].count == 1
        assert ledger[sent.id].body_arrived
        assert await scene.wasted() == 1
        assert not scene.events("message_dead")
