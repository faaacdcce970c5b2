"""Arbitrum end to end: crashes, refusing recipients, a hidden leaf, and users who claim by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from relayer.devnet.accounts import ANNOUNCER, SENDERS
from relayer.devnet.anvil import Anvil, free_port
from relayer.devnet.arbitrum import ACCEPTED as UPDATED
from relayer.devnet.arbitrum import SENT, ArbitrumLocal, Withdrawal
from relayer.devnet.arbitrum_contracts import SILENT, WELCOMING
from relayer.devnet.artefacts import encode_call
from relayer.devnet.ground import Ground, GroundPlan, Sent
from relayer.devnet.ledger import wasted_calls
from relayer.devnet.service import RelayerProcess
from relayer.message import Address
from relayer.protocols.arbitrum.message import item_of
from tests.fault.conftest import until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

GWEI = 10**9
AUDITED_WITHIN_S = 100
"""An audit comes every 30 s; it passes when the follower is a block behind, so allow for three."""


@dataclass
class Censor:
    """A JSON-RPC endpoint that passes everything on but some logs."""

    node: Anvil
    session: aiohttp.ClientSession
    hidden: int | None = None
    """The leaf that nobody is to hear of."""
    hides_roots: bool = False
    """No root that the outbox accepts is told any more."""
    forged: int | None = None
    """The leaf that another message is said to be."""
    cut: int = 0
    """Logs left out, or changed, so far."""
    url: str = ""

    async def serve(self, request: web.Request) -> web.Response:
        """Ask the node; keep what it says, but for the hidden log."""
        asked = await request.json()
        async with self.session.post(self.node.url, json=asked) as response:
            answer = await response.json(content_type=None)
        for reply in answer if isinstance(answer, list) else [answer]:
            if isinstance(reply.get("result"), list):
                kept = [log for log in reply["result"] if not self._hides(log)]
                self.cut += len(reply["result"]) - len(kept)
                reply["result"] = [self._told(log) for log in kept]
        return web.json_response(answer)

    def _hides(self, log: dict[str, Any]) -> bool:
        topics = log.get("topics", [])
        if self.hides_roots and topics[:1] == [UPDATED]:
            return True
        return (
            self.hidden is not None and topics[:1] == [SENT] and int(topics[3], 16) == self.hidden
        )

    def _told(self, log: dict[str, Any]) -> dict[str, Any]:
        topics = log.get("topics", [])
        if topics[:1] != [SENT] or self.forged is None or int(topics[3], 16) != self.forged:
            return log
        self.cut += 1
        return forge(log)


def forge(log: dict[str, Any]) -> dict[str, Any]:
    """The same L2ToL1Tx with a value that nobody sent, and the hash that belongs to it."""
    topics, raw = list(log["topics"]), bytearray.fromhex(log["data"][2:])
    raw[128:160] = (10**20).to_bytes(32, "big")
    size = int.from_bytes(raw[192:224], "big")
    recipient = bytes.fromhex(topics[1][2:])[12:]
    topics[2] = "0x" + item_of(raw[12:32] + recipient + raw[32:160] + raw[224 : 224 + size]).hex()
    return {**log, "topics": topics, "data": "0x" + raw.hex()}


@contextlib.asynccontextmanager
async def censored(node: Anvil) -> AsyncIterator[Censor]:
    """A censor in front of a node, on a free loopback port."""
    async with aiohttp.ClientSession() as session:
        censor = Censor(node, session)
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/", censor.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            censor.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield censor
        finally:
            await runner.cleanup()


@dataclass
class Field:
    """A bridge on running chains and the relayer, not yet started, on its configuration."""

    ground: Ground
    local: ArbitrumLocal
    relayer: RelayerProcess

    @property
    def parent(self) -> Anvil:
        return self.ground.nodes[self.local.plan.parent]

    async def view(self, sent: Sent) -> dict[str, Any]:
        """What the relayer says of a message, {} when it knows nothing."""
        view: dict[str, Any] = await self.relayer.get(f"/v1/messages/{sent.id}")
        return view

    async def has(self, sent: Sequence[Sent], **fields: str) -> None:
        """Wait until the relayer says this of every message."""

        async def said() -> bool:
            views = [await self.view(one) for one in sent]
            return all(view.get(key) == value for view in views for key, value in fields.items())

        await until(said, within_s=100)

    async def delivered(self, sent: Sequence[Sent], *, within_s: float = 90) -> None:
        """Wait until the outbox has every message."""

        async def done() -> bool:
            return not await self.local.undelivered(sent)

        await until(done, within_s=within_s)

    async def delivered_some(self, sent: Sequence[Sent]) -> None:
        """Wait until the outbox has the first one."""

        async def some() -> bool:
            return len(await self.local.undelivered(sent)) < len(sent)

        await until(some)

    async def become(self, mood: int) -> None:
        """Change how the test recipient receives."""
        call = {
            "from": ANNOUNCER.address,
            "to": self.local.parent.doorstep,
            "data": "0x" + encode_call("become(uint256)", [mood]).hex(),
        }
        await self.parent.rpc.call("eth_sendTransaction", call)

    @contextlib.asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """The relayer runs, and is stopped in the end."""
        await self.relayer.start()
        try:
            yield
        finally:
            await self.relayer.stop()

    async def command(self, *words: str) -> Any:
        """What a command of the relayer answers as JSON."""
        config = str(self.ground.config_path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relayer", "--config", config, "--json", *words),
            stdout=asyncio.subprocess.PIPE,
        )
        answer, _ = await process.communicate()
        assert process.returncode == 0
        return json.loads(answer)

    def look_through(self, censor: Censor, chain: str) -> None:
        """Let the relayer see a chain with somebody else's eyes; new heads it still hears of."""
        config = yaml.safe_load(self.ground.config_path.read_text(encoding="utf-8"))
        config["chains"][chain]["endpoints"][0]["url"] = censor.url
        self.ground.config_path.write_text(yaml.safe_dump(config), encoding="utf-8")

    async def misses(self, leaves: int) -> bool:
        """Whether the auditor says that so many leaves are missing."""
        name = "relayer_audit_missing_leaves"
        return await self.relayer.metric(name, tree=self.local.name) == leaves

    def lines(self) -> list[str]:
        """The relayer's log, as far as it is JSON."""
        text = self.relayer.log.read_text(encoding="utf-8")
        return [line for line in text.splitlines() if line[:1] == "{"]

    async def assert_exactly_once(self, sent: Sequence[Sent], *, wasted: int = 0) -> None:
        """Every message has one delivery, its body arrived, and no call of ours was wasted."""
        ledger = await self.local.deliveries(sent)
        assert {one.id: ledger[one.id].count for one in sent} == {one.id: 1 for one in sent}
        assert all(ledger[one.id].body_arrived for one in sent)
        nodes = [node.rpc for node in self.ground.nodes.values()]
        assert await wasted_calls(nodes, self.local.outcomes) == wasted


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Field]:
    """A child and its parent with blocks every second, and the relayer's configuration."""
    port = free_port()
    local = ArbitrumLocal()
    plan = GroundPlan(more_settings={"http": {"host": "127.0.0.1", "port": port}})
    async with Ground(tmp_path / "ground", [local], plan) as ground:
        relayer = RelayerProcess(ground.config_path, port, tmp_path / "relayer.log")
        yield Field(ground, local, relayer)


async def test_kill_9_in_the_middle_delivers_each_withdrawal_exactly_once(here: Field) -> None:
    """Killed with messages waiting, in flight and delivered, it goes on where the chain is."""
    async with here.relaying():
        sent = await here.local.spread(60)
        await here.delivered_some(sent)
        await here.relayer.kill()
        more = await here.local.spread(20, label="meanwhile")
        await here.relayer.start()
        await here.delivered([*sent, *more])
    await here.assert_exactly_once([*sent, *more])


async def test_a_recipient_that_refuses_waits_and_is_served_when_it_recovers(here: Field) -> None:
    """BridgeCallFailed is the message's own trouble: others pass, it succeeds later, once."""
    await here.become(SILENT)
    plain = Withdrawal(SENDERS[1].address, b"", 7)
    async with here.relaying():
        refused = await here.local.spread(3)
        passing = await here.local.send([plain, plain])
        await here.delivered(passing)
        await here.has(refused, reason="target_failed", status="waiting")
        assert len(await here.local.undelivered(refused)) == len(refused)
        view = await here.view(refused[0])
        assert view["attempts"] >= 1
        assert view["next_wake_up"] is not None
        await here.become(WELCOMING)
        await here.delivered(refused)
        await here.has([*refused, *passing], status="delivered", reason="delivered_by_us")
    await here.assert_exactly_once(refused)


async def test_call_data_for_nobody_waits_for_code_and_spends_no_attempt(here: Field) -> None:
    """NotContract: waiting, never dead; once there is code an operator's retry delivers it."""
    nowhere = Address("0x" + "0d" * 20)
    async with here.relaying():
        (sent,) = await here.local.send([Withdrawal(nowhere, b"anybody there?")])
        await here.has([sent], reason="awaiting_target", status="waiting")

        async def waits_for_code() -> bool:
            return "has no code" in (await here.view(sent))["explanation"]

        await until(waits_for_code)
        assert (await here.view(sent))["attempts"] == 0
        await here.parent.rpc.call("anvil_setCode", nowhere, "0x00")
        await here.command("retry", sent.id)
        await here.delivered([sent])


async def test_a_hidden_leaf_is_noticed_before_anything_is_sent_and_healed(here: Field) -> None:
    """An endpoint that leaves one log out: all wait, the auditor says how many, then all arrive."""
    hidden = 2
    await here.ground.pause_operators()
    async with censored(here.ground.nodes[here.local.plan.child]) as censor:
        censor.hidden = hidden
        here.look_through(censor, here.local.plan.child)
        async with here.relaying():
            sent = await here.local.spread(6)
            here.ground.resume_operators()
            by_leaf = sorted(sent, key=here.local.position)
            seen = [one for one in by_leaf if here.local.position(one) != hidden]
            await here.has(seen, reason="awaiting_leaf", status="waiting")
            await until(lambda: here.misses(len(sent) - hidden), within_s=AUDITED_WITHIN_S)
            assert censor.cut > 0
            assert len(await here.local.undelivered(sent)) == len(sent)
            assert (await here.view(by_leaf[hidden]))["error"]["code"] == "not_found"
            censor.hidden = None
            await here.delivered(sent, within_s=AUDITED_WITHIN_S)
    await here.assert_exactly_once(sent)


async def test_a_forged_message_gives_way_to_the_true_one(here: Field) -> None:
    """One answer names another message at a leaf: nothing is sent on it, the auditor finds the
    wrong root, and once the true leaf is back the true message takes the forged one's place."""
    forged = 2
    await here.ground.pause_operators()
    async with censored(here.ground.nodes[here.local.plan.child]) as censor:
        censor.forged = forged
        here.look_through(censor, here.local.plan.child)
        async with here.relaying():
            sent = await here.local.spread(6)
            await here.has(sent, status="waiting")
            censor.forged = None
            assert censor.cut > 0
            assert len(await here.local.undelivered(sent)) == len(sent)
            here.ground.resume_operators()
            await here.delivered(sent, within_s=2 * AUDITED_WITHIN_S)
    await here.assert_exactly_once(sent)
    events = {json.loads(line)["event"] for line in here.lines()}
    assert {"leaf_replaced", "messages_read_otherwise"} <= events


async def test_a_hidden_root_is_asked_for_and_its_messages_arrive(here: Field) -> None:
    """No log tells of it ever again; the outbox itself says that it has it."""
    async with censored(here.parent) as censor:
        here.look_through(censor, here.local.plan.parent)
        async with here.relaying():
            first = await here.local.spread(2)
            await here.delivered(first)
            await here.ground.pause_operators()
            second = await here.local.spread(3, label="under the hidden root")
            await here.has(second, reason="awaiting_root")
            censor.hides_roots = True
            assert await here.local.confirm()
            await here.delivered(second)
            assert censor.cut > 0
    await here.assert_exactly_once([*first, *second])
    events = {json.loads(line)["event"] for line in here.lines()}
    assert "root_not_told" in events


async def test_a_claim_by_hand_while_ours_is_in_flight_is_a_success(here: Field) -> None:
    """`relayer prove` gives anybody the call; whoever is first, the message is delivered."""
    await here.ground.pause_operators()
    async with here.relaying():
        (sent,) = await here.local.spread(1)
        await here.has([sent], reason="awaiting_root")
        await here.parent.rpc.call("evm_setIntervalMining", 0)
        confirming = asyncio.create_task(here.local.confirm())
        while not confirming.done():  # the outbox's update is mined by hand, then made final
            await here.parent.mine()
            await asyncio.sleep(0.1)
        await here.parent.mine()
        await here.has([sent], status="submitted")
        step = await here.command("prove", sent.id)
        assert step["step"] == "call"
        claim = {
            "from": ANNOUNCER.address,
            "to": step["to"],
            "data": step["data"],
            "maxFeePerGas": hex(500 * GWEI),
            "maxPriorityFeePerGas": hex(100 * GWEI),
        }
        tx_hash = await here.parent.rpc.call("eth_sendTransaction", claim)
        await here.parent.mine()
        receipt = await here.parent.rpc.call("eth_getTransactionReceipt", tx_hash)
        assert receipt["status"] == "0x1"
        await here.parent.rpc.call("evm_setIntervalMining", 1)
        await here.has([sent], status="delivered", reason="delivered_by_other")
        assert (await here.view(sent))["tx"] == tx_hash
    await here.assert_exactly_once([sent], wasted=1)
    levels = {json.loads(line)["level"] for line in here.lines()}
    assert not levels & {"error", "critical"}
