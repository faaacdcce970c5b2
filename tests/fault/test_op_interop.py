"""Interop messages between supersim's chains through the relayer as its users run it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayer.devnet.accounts import RELAYERS
from relayer.devnet.anvil import free_port
from relayer.devnet.ground import GroundPlan
from relayer.devnet.op_interop import NOWHERE, A, B, InteropPlan, OpInteropLocal, Parcel
from relayer.devnet.op_interop_supervisor import SupervisorStub
from relayer.devnet.supersim import CHAINS, SupersimOptions, supersim_obstacle
from tests.fault.conftest import until
from tests.fault.scene import Scene
from tests.fault.test_scroll import HidingNode

OBSTACLE = supersim_obstacle()
pytestmark = [
    pytest.mark.chain,
    pytest.mark.redis,
    pytest.mark.timeout(240),
    pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or ""),
]


class InteropScene(Scene[OpInteropLocal]):
    """Supersim's chains."""

    def __init__(
        self, directory: Path, plan: InteropPlan | None = None, **chain_settings: Any
    ) -> None:
        ground_plan = GroundPlan(finality={"depth": 0}, more_chain_settings=chain_settings)
        super().__init__(directory, OpInteropLocal(plan), ground_plan)

    async def transactions(self) -> int:
        """How many our accounts have sent on both chains."""
        counts = [
            int(await node.rpc.call("eth_getTransactionCount", one.address, "latest"), 16)
            for node in self.ground.nodes.values()
            for one in RELAYERS
        ]
        return sum(counts)


async def test_a_burst_both_ways_survives_a_kill_exactly_once(tmp_path: Path) -> None:
    """Several hundred messages, kill -9 in the middle: one delivery each, no call in vain."""
    async with InteropScene(tmp_path).playing() as scene:
        sent = list(await scene.bridge.spread(240))

        async def some() -> bool:
            return len(await scene.bridge.undelivered(sent)) < len(sent)

        await until(some)
        await scene.relayer.kill()
        sent += await scene.bridge.spread(60, label="meanwhile")
        await scene.relayer.start()
        await scene.delivered(sent)
        await scene.assert_exactly_once(sent)


async def test_a_failing_target_is_delivered_after_it_recovers(tmp_path: Path) -> None:
    """It costs nothing while the target reverts; a target that lies about it is no delivery."""
    async with InteropScene(tmp_path).playing() as scene:
        bad, lying = await scene.bridge.send(
            [Parcel(A, b"later", "Switched"), Parcel(A, b"later too", "Lying")]
        )
        good = await scene.bridge.spread(10)
        await scene.delivered(good)
        await until(lambda: scene.has(bad, reason="target_failed"))
        await until(lambda: scene.has(lying, reason="target_failed"))
        assert await scene.bridge.undelivered([bad, lying]) == [bad, lying]
        assert await scene.wasted() == 0
        for target in ("Switched", "Lying"):
            await scene.bridge.switch_on(B, target)
        await scene.delivered([bad, lying])
        await scene.assert_exactly_once([*good, bad, lying], wasted=None)


async def test_supersim_s_autorelayer_and_ours_lose_nothing(tmp_path: Path) -> None:
    """Both carry the same burst; what the rival drops for good is delivered by us."""
    plan = InteropPlan(SupersimOptions(autorelay=True))
    async with InteropScene(tmp_path, plan).playing() as scene:
        bad = (await scene.bridge.send([Parcel(B, b"dropped", "Switched")]))[0]
        sent = list(await scene.bridge.spread(200))
        await scene.delivered(sent)
        await until(lambda: scene.has(bad, reason="target_failed"))
        await scene.bridge.switch_on(A, "Switched")
        await scene.delivered([bad])
        await scene.assert_exactly_once([*sent, bad], wasted=None)
        assert await scene.relayer.stop() == 0
        assert scene.events("adapter_crashed") == []


async def test_a_codeless_target_is_held_until_there_is_code(tmp_path: Path) -> None:
    """Held with the reason, never relayed for nothing."""
    async with InteropScene(tmp_path).playing() as scene:
        (empty,) = await scene.bridge.send([Parcel(A, b"nobody", str(NOWHERE))])
        await until(lambda: scene.has(empty, status="held", reason="denied_by_policy"))
        assert "has no code" in (await scene.view(empty))["explanation"]
        good = await scene.bridge.spread(4)
        await scene.delivered(good)
        assert await scene.bridge.undelivered([empty]) == [empty]


async def test_what_the_node_refuses_is_isolated_and_tried_again(tmp_path: Path) -> None:
    """Supersim with a delay refuses fresh messages whole packs at a time: no nonce is held up."""
    plan = InteropPlan(SupersimOptions(delay_s=6))
    async with InteropScene(tmp_path, plan).playing() as scene:
        sent = await scene.bridge.spread(12)
        await until(lambda: scene.has(sent[0], reason="awaiting_time"))
        assert scene.events("broadcast_refused")
        await scene.delivered(sent)
        await scene.assert_exactly_once(sent)


async def test_a_message_of_a_replaced_block_is_never_relayed(tmp_path: Path) -> None:
    """It waits for its block to be safe; the block is replaced first, and it is gone."""
    plan = InteropPlan(safety="finalized")
    async with InteropScene(tmp_path, plan).playing() as scene:
        (lost,) = await scene.bridge.send([Parcel(A, b"lost")])
        await until(lambda: scene.has(lost, status="waiting", reason="awaiting_finality"))
        node = scene.ground.nodes[A]
        head = int(await node.rpc.call("eth_blockNumber"), 16)
        await node.rpc.call("anvil_reorg", head - lost.block + 1, [])
        await until(lambda: scene.has(lost, status="orphaned"))
        assert await scene.bridge.undelivered([lost]) == [lost]
        assert await scene.transactions() == 0


async def test_a_message_that_was_tried_before_its_block_was_replaced_is_dropped(
    tmp_path: Path,
) -> None:
    """It waits for its target, its block is replaced, the target recovers: stale, so not sent."""
    async with InteropScene(tmp_path).playing() as scene:
        (bad,) = await scene.bridge.send([Parcel(A, b"stale", "Switched")])
        await until(lambda: scene.has(bad, reason="target_failed"))
        node = scene.ground.nodes[A]
        head = int(await node.rpc.call("eth_blockNumber"), 16)
        await node.rpc.call("anvil_reorg", head - bad.block + 1, [])
        await scene.bridge.switch_on(B, "Switched")
        await until(lambda: scene.has(bad, status="orphaned"))
        good = await scene.bridge.spread(6, label="after")
        await scene.delivered(good)
        assert await scene.bridge.undelivered([bad]) == [bad]
        assert await scene.wasted() == 0


async def test_a_message_said_again_in_another_block_is_relayed_from_there(tmp_path: Path) -> None:
    """After a reorg the same message hash returns under another identifier; that one is sent."""
    plan = InteropPlan(safety="finalized")
    async with InteropScene(tmp_path, plan).playing() as scene:
        (first,) = await scene.bridge.send([Parcel(A, b"again", "Switched")])
        await until(lambda: scene.has(first, reason="awaiting_finality"))
        node = scene.ground.nodes[A]
        head = int(await node.rpc.call("eth_blockNumber"), 16)
        await node.rpc.call("anvil_reorg", head - first.block + 1, [])
        await until(lambda: scene.has(first, status="orphaned"))
        (second,) = await scene.bridge.send([Parcel(A, b"again", "Switched")])
        assert second.id == first.id
        assert second.block != first.block
        await until(lambda: scene.has(second, status="waiting"))
        await scene.bridge.switch_on(B, "Switched")
        await node.mine(200)
        await scene.delivered([second])
        await scene.assert_exactly_once([second])


class HidingMessages(HidingNode):
    """Hides the SentMessage logs with some nonces, by their topic."""

    def _hides(self, log: Any) -> bool:
        hides = (
            isinstance(log, dict) and len(log["topics"]) == 4 and log["topics"][3] in self.hidden
        )
        self.hid += hides
        return hides


async def test_a_message_that_an_endpoint_hid_is_noticed_and_carried(tmp_path: Path) -> None:
    """The messenger's nonce tells that one is missing; the auditor reads the blocks again."""
    scene = InteropScene(tmp_path)
    async with scene.ground:
        node, port = HidingMessages(scene.ground.nodes[A].url), free_port()
        config = yaml.safe_load(scene.ground.config_path.read_text(encoding="utf-8"))
        config["chains"][A]["endpoints"] = [{"url": f"http://127.0.0.1:{port}"}]
        scene.ground.config_path.write_text(yaml.safe_dump(config), encoding="utf-8")
        node.hidden.add(f"0x{1:064x}")
        async with node.serving(port):
            await scene.relayer.start()
            try:
                sent = await scene.bridge.send([Parcel(A, b"%d" % turn) for turn in range(3)])

                async def all_but_one() -> bool:
                    return len(await scene.bridge.undelivered(sent)) == 1

                await until(all_but_one)
                assert node.hid > 0
                node.hidden.clear()
                await scene.delivered(sent)
            finally:
                await scene.relayer.stop()
        await scene.assert_exactly_once(sent)
        assert scene.was_read_again()


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[InteropScene, SupervisorStub]]:
    """A scene whose relayer asks a supervisor on both chains; it is not started yet."""
    async with AsyncExitStack() as stack:
        nodes: dict[int, Any] = {}
        stub = SupervisorStub(nodes)
        url = await stack.enter_async_context(stub.serving(free_port()))
        scene = InteropScene(tmp_path, InteropPlan(supervisors={A: url, B: url}))
        await stack.enter_async_context(scene.ground)
        nodes.update({CHAINS[name]: node for name, node in scene.ground.nodes.items()})
        yield scene, stub


async def test_failsafe_on_means_wait_with_the_reason_and_resume(tmp_path: Path) -> None:
    """While the filter refuses everything nothing is sent and no attempt is spent."""
    async with guarded(tmp_path) as (scene, stub):
        stub.failsafe = True
        await scene.relayer.start()
        try:
            sent = await scene.bridge.spread(20)

            async def all_paused() -> bool:
                views = await asyncio.gather(*(scene.view(one) for one in sent))
                return all(is_paused(view) for view in views)

            await until(all_paused)
            assert await scene.transactions() == 0
            stub.failsafe = False
            await scene.delivered(sent)
            await scene.assert_exactly_once(sent)
            assert await scene.wasted() == 0
            assert stub.asked > 0
        finally:
            await scene.relayer.stop()


def is_paused(view: Mapping[str, Any]) -> bool:
    return view.get("reason") == "paused" and "failsafe" in view["explanation"]
