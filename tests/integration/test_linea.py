"""The Linea adapter against the real contracts: what it proves is what they accept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relayer.adapter import Action, Call, Done, Outcome, Step, Verdict, Wait
from relayer.chains.client import ChainClient
from relayer.devnet.accounts import ANNOUNCER, RELAYERS, Account
from relayer.devnet.artefacts import encode_call, node_modules
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Ground, GroundPlan, Sent
from relayer.devnet.linea import L1, L2, Letter, LineaLocal, LineaPlan
from relayer.devnet.linea_contracts import MAILBOX, Limits
from relayer.devnet.linea_operator import roots_of
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.message import (
    Address,
    BlockNumber,
    BridgeName,
    DeliverySeen,
    Fact,
    LeafAdded,
    MessageSeen,
    ProgressSeen,
    Reason,
    Record,
    RootSeen,
)
from relayer.protocols.linea.adapter import SHAPE, LineaAdapter
from relayer.protocols.linea.settings import LineaSettings
from relayer.settings import load_settings
from tests.fakes import FakeClock, FakeTrees, truths_of
from tests.unit.linea.world import LineaContext, MemoryRoots, confirmed
from tests.unit.sample_records import record_of

pytestmark = pytest.mark.chain

SILENT = Address("0x00000000000000000000000000000000000bad11")
SILENT_CODE = "0x5f5ffd"  # PUSH0 PUSH0 REVERT
CURSING = Address("0x00000000000000000000000000000000000bad12")
CURSING_CODE = "0x63deadbeef60e01b5f5260045ffd"  # reverts with the four bytes deadbeef
NOBODY = Address("0x000000000000000000000000000000000000e0a0")
GREEDY = Address("0x00000000000000000000000000000000000bad13")
GREEDY_CODE = "0x5b5f56"  # JUMPDEST PUSH0 JUMP: for ever


@dataclass
class Scene:
    """The bridge, clients of its chains, and the adapter; trees and roots are kept in memory."""

    bridge: LineaLocal
    clients: dict[str, ChainClient]
    adapter: LineaAdapter
    roots: MemoryRoots
    trees: FakeTrees
    clock: FakeClock = field(default_factory=FakeClock)

    async def facts(self) -> list[Fact]:
        """Everything both chains have said so far."""
        found: list[Fact] = []
        for source in self.adapter.sources():
            client = next(c for c in self.clients.values() if c.chain_id == source.chain)
            head, _ = await client.tip()
            logs = await client.logs(
                BlockNumber(source.start_block),
                head.number,
                addresses=source.addresses,
                topics=[source.topics],
            )
            found.extend(self.adapter.decode(logs))
        return found

    async def follow(self) -> dict[str, Record]:
        """Take in what is new; gives a record of every message."""
        facts = await self.facts()
        self.roots.facts = [fact for fact in facts if isinstance(fact, RootSeen)]
        for fact in facts:
            if isinstance(fact, LeafAdded) and fact.index == await self.trees.size(fact.tree):
                self.trees.grow(fact.tree, [fact.leaf])
        return {
            fact.message.id: record_of(message=fact.message)
            for fact in facts
            if isinstance(fact, MessageSeen)
        }

    async def confirm(self) -> None:
        """Let the operator do all its work."""
        await self.bridge.operator.finalise()
        await self.bridge.operator.anchor()
        for site in self.bridge.sites.values():  # the final block is one behind the newest
            await site.rpc.call("anvil_mine", "0x1")

    async def steps(self, sent: Sequence[Sent]) -> list[Step]:
        """What each message needs now."""
        records = await self.follow()
        steps = await self.adapter.next_steps([records[one.id] for one in sent])
        return [steps[one.id] for one in sent]

    async def make(self, calls: Sequence[Call], to: str) -> None:
        """Send calls as anybody could; raises when one reverts."""
        deployer = await Deployer.open(self.bridge.sites[to].rpc, ANNOUNCER)
        for call in calls:
            deployer.call(call.to, call.data)
        await deployer.flush()

    async def refusal(self, call: Call, to: str) -> Outcome:
        """How the contract refuses a call."""
        client = self.clients[to]
        request = {
            "from": ANNOUNCER.address, "to": call.to, "data": "0x" + call.data.hex(),
            "gas": hex(3_000_000),
        }  # fmt: skip
        with pytest.raises(CallReverted) as caught:
            await client.call(request)
        return Outcome(caught.value.revert, str(caught.value), mined=False)

    async def verdict(self, one: Sent, call: Call) -> Verdict:
        """What the adapter says of the refusal."""
        record = (await self.follow())[one.id]
        outcome = await self.refusal(call, one.destination)
        return self.adapter.classify(record, call, outcome)

    async def council(self, side: str, signature: str, *arguments: object) -> None:
        """Let the security council do something."""
        site = self.bridge.sites[side]
        deployer = await Deployer.open(site.rpc, Account(site.operator, b""))
        deployer.call(site.service, encode_call(signature, arguments))
        await deployer.flush()


def calls_in(steps: Sequence[Step]) -> list[Call]:
    calls = [step for step in steps if isinstance(step, Call)]
    assert len(calls) == len(steps), steps
    return calls


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def open_scene(
    stack: AsyncExitStack, directory: Path, plan: LineaPlan | None = None
) -> Scene:
    """Chains on which nothing moves by itself."""
    bridge = LineaLocal(plan)
    ground = await stack.enter_async_context(
        Ground(directory / "ground", [bridge], GroundPlan(block_time_s=None))
    )
    await ground.pause_operators()
    settings = load_settings(ground.config_path, {})
    clients: dict[str, ChainClient] = {}
    for name, section in settings.chains.items():
        clients[name] = ChainClient(name, section, clock=time.time)
        stack.push_async_callback(clients[name].aclose)
        await clients[name].start()
    trees, roots, clock = FakeTrees(SHAPE), MemoryRoots(), FakeClock()
    section = {k: v for k, v in settings.bridges["linea"].items() if k != "protocol"}
    context = LineaContext(clients, trees, roots, clock)
    adapter = LineaAdapter(BridgeName("linea"), LineaSettings.model_validate(section), context)
    return Scene(bridge, clients, adapter, roots, trees, clock)


async def deliver(scene: Scene, sent: Sequence[Sent]) -> None:
    steps = await scene.steps(sent)
    for side in (L1, L2):
        arriving = [step for one, step in zip(sent, steps, strict=True) if one.destination == side]
        await scene.make(calls_in(arriving), side)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 70])
async def test_the_contracts_take_every_proof(
    stack: AsyncExitStack, tmp_path: Path, count: int
) -> None:
    """One tree with room, full trees, and more than one: every message arrives both ways, once."""
    scene = await open_scene(stack, tmp_path)
    sent = await scene.bridge.spread(2 * count)
    await scene.confirm()
    await deliver(scene, sent)
    assert await scene.bridge.undelivered(sent) == []
    assert all(isinstance(step, Done) for step in await scene.steps(sent))
    ledger = await scene.bridge.deliveries(sent)
    assert all(ledger[one.id].count == 1 and ledger[one.id].body_arrived for one in sent)
    facts = await scene.facts()
    assert {f.message_id for f in facts if isinstance(f, DeliverySeen)} == {s.id for s in sent}
    anchored = {f.message_id for f in facts if isinstance(f, ProgressSeen)}
    assert anchored == {one.id for one in sent if one.destination == L2}


async def test_several_finalisations_and_late_claims(stack: AsyncExitStack, tmp_path: Path) -> None:
    """Messages of different finalisations are proved in one batch, each against its own root."""
    scene = await open_scene(stack, tmp_path)
    sent: list[Sent] = []
    for turn in range(3):
        sent += await scene.bridge.spread(10, label=f"turn {turn}")
        await scene.confirm()
    roots = {
        call.evidence["root"]
        for one, call in zip(sent, calls_in(await scene.steps(sent)), strict=True)
        if one.destination == L1
    }
    assert len(roots) == 3
    await deliver(scene, sent)
    assert await scene.bridge.undelivered(sent) == []


async def test_before_they_are_confirmed_messages_wait_at_gates(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    """Each direction has its gate, which opens when the operator has done its work."""
    scene = await open_scene(stack, tmp_path)
    sent = await scene.bridge.spread(2)
    waits = [step for step in await scene.steps(sent) if isinstance(step, Wait)]
    assert [wait.reason for wait in waits] == [Reason.AWAITING_ROOT] * 2
    gates = [wait.gate for wait in waits if wait.gate]
    assert len(gates) == 2
    before = await scene.adapter.levels(gates)
    assert all(before[wait.gate] < wait.gate_value for wait in waits if wait.gate)
    await scene.confirm()
    await scene.follow()
    after = await scene.adapter.levels(gates)
    assert all(after[wait.gate] >= wait.gate_value for wait in waits if wait.gate)


async def test_the_contracts_count_is_the_trees(stack: AsyncExitStack, tmp_path: Path) -> None:
    """nextMessageNumber of both contracts says how many leaves there must be."""
    scene = await open_scene(stack, tmp_path)
    await scene.bridge.spread(14)
    await scene.confirm()
    await scene.follow()
    truths = await truths_of(scene.adapter)
    assert {truth.tree: truth.size for truth in truths} == {"linea/l1": 7, "linea/l2": 7}
    assert all(truth.root is None for truth in truths)
    for truth in truths:
        assert await scene.trees.size(truth.tree) == truth.size


async def test_the_fee_goes_to_the_named_recipient(stack: AsyncExitStack, tmp_path: Path) -> None:
    """Whoever calls, `fee_recipient` is paid, as much as `Call.income` says."""
    scene = await open_scene(stack, tmp_path)
    sent = await scene.bridge.spread(2)
    await scene.confirm()
    calls = calls_in(await scene.steps(sent))
    assert all(call.shareable for call in calls)
    for one, call in zip(sent, calls, strict=True):
        before = await scene.clients[one.destination].balance(RELAYERS[0].address)
        await scene.make([call], one.destination)
        after = await scene.clients[one.destination].balance(RELAYERS[0].address)
        assert after - before == call.income > 0


@pytest.mark.parametrize("origin", [L1, L2])
async def test_ether_for_an_account_without_code_promises_no_fee(
    stack: AsyncExitStack, tmp_path: Path, origin: str
) -> None:
    """There the contract keeps what the claim costs and hands the rest to the recipient."""
    scene = await open_scene(stack, tmp_path)
    letters = [Letter(origin, b"", to=to, fee=10**17, value=7) for to in (NOBODY, MAILBOX)]
    sent = await scene.bridge.send(letters)
    await scene.confirm()
    to_nobody, to_code = calls_in(await scene.steps(sent))
    assert (to_nobody.income, to_code.income) == (0, 10**17)
    there = scene.clients[sent[0].destination]
    for call, most in ((to_nobody, 10**16), (to_code, 10**17)):
        before = await there.balance(RELAYERS[0].address)
        await scene.make([call], sent[0].destination)
        assert call.income <= await there.balance(RELAYERS[0].address) - before <= most
    assert await there.balance(NOBODY) > 9 * 10**16


async def test_without_a_named_recipient_the_caller_is_paid(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    """Then a message with a fee travels alone, and one without may share a transaction."""
    scene = await open_scene(stack, tmp_path, LineaPlan(fee_recipient=None))
    sent = await scene.bridge.send(
        [Letter(L2, b"paid"), Letter(L2, b"free", fee=0), Letter(L1, b"paid too")]
    )
    await scene.confirm()
    calls = calls_in(await scene.steps(sent))
    assert [call.shareable for call in calls] == [False, True, False]
    await deliver(scene, sent)
    assert await scene.bridge.undelivered(sent) == []


@pytest.mark.parametrize("origin", [L1, L2])
async def test_recipients_that_fail(stack: AsyncExitStack, tmp_path: Path, origin: str) -> None:
    """A silent revert, a bubbled one and burnt gas are all the target's failure, to be retried."""
    scene = await open_scene(stack, tmp_path)
    for site in scene.bridge.sites.values():
        for address, code in (
            (SILENT, SILENT_CODE),
            (CURSING, CURSING_CODE),
            (GREEDY, GREEDY_CODE),
        ):
            await site.rpc.call("anvil_setCode", address, code)
    sent = await scene.bridge.send(
        [Letter(origin, b"x", to=to) for to in (SILENT, CURSING, GREEDY)]
    )
    await scene.confirm()
    calls = calls_in(await scene.steps(sent))
    verdicts = [await scene.verdict(one, call) for one, call in zip(sent, calls, strict=True)]
    assert [verdict.action for verdict in verdicts] == [Action.RETRY] * 3
    assert [verdict.reason for verdict in verdicts[:2]] == [Reason.TARGET_FAILED] * 2
    assert "MessageSendingFailed" in verdicts[0].detail
    assert "deadbeef" in verdicts[1].detail
    assert verdicts[2].reason in (Reason.TARGET_FAILED, Reason.OUT_OF_GAS)


async def test_a_fee_recipient_that_takes_no_ether_is_a_mistake_of_the_settings(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    """FeePaymentFailed holds the message and names the setting."""
    scene = await open_scene(stack, tmp_path, LineaPlan(fee_recipient=SILENT))
    for site in scene.bridge.sites.values():
        await site.rpc.call("anvil_setCode", SILENT, SILENT_CODE)
    sent = await scene.bridge.spread(2)
    await scene.confirm()
    for one, call in zip(sent, calls_in(await scene.steps(sent)), strict=True):
        verdict = await scene.verdict(one, call)
        assert verdict.action is Action.HOLD
        assert "fee_recipient" in verdict.detail


async def test_paused_contracts_are_waited_for(stack: AsyncExitStack, tmp_path: Path) -> None:
    """The views say so before a call is made, and the error of a call made before says so too."""
    scene = await open_scene(stack, tmp_path)
    sent = await scene.bridge.spread(2)
    await scene.confirm()
    calls = calls_in(await scene.steps(sent))
    await scene.council(L1, "pauseByType(uint8)", 3)
    await scene.council(L2, "pauseByType(uint8)", 2)
    for step in await scene.steps(sent):
        assert isinstance(step, Wait)
        assert step.reason is Reason.PAUSED
    for one, call in zip(sent, calls, strict=True):
        verdict = await scene.verdict(one, call)
        assert (verdict.action, verdict.reason) == (Action.WAIT, Reason.PAUSED)
    await scene.council(L1, "unPauseByType(uint8)", 3)
    await scene.council(L2, "unPauseByType(uint8)", 2)
    await deliver(scene, sent)
    assert await scene.bridge.undelivered(sent) == []


async def test_the_rate_limit_is_waited_for_and_begins_anew(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    """What the period has no room for waits with the time of its end, and passes after it."""
    one_wei = 10**16
    plan = LineaPlan(withdrawals=Limits(period_s=300, limit=3 * one_wei))
    scene = await open_scene(stack, tmp_path, plan)
    letters = [Letter(L2, b"%d" % turn, fee=0, value=2 * one_wei) for turn in range(2)]
    sent = await scene.bridge.send(letters)
    await scene.confirm()
    first, second = await scene.steps(sent)
    assert isinstance(first, Call)
    assert isinstance(second, Wait)
    assert second.reason is Reason.RATE_LIMITED
    await scene.make([first], L1)
    scene.clock.pass_s(300)
    (again,) = await scene.steps(sent[1:])
    assert isinstance(again, Wait)
    assert again.clocks
    site = scene.bridge.sites[L1]
    await site.rpc.call("evm_setNextBlockTimestamp", int(again.clocks[0].at))
    await site.rpc.call("evm_mine")

    async with asyncio.timeout(10):  # the client keeps the newest header for a moment
        while not isinstance((await scene.steps(sent[1:]))[0], Call):  # noqa: ASYNC110 - a view
            await asyncio.sleep(0.05)
    await deliver(scene, sent[1:])
    assert await scene.bridge.undelivered(sent) == []


async def test_the_rate_limit_in_the_contracts_words(stack: AsyncExitStack, tmp_path: Path) -> None:
    """A call that somebody else's claim left no room for is refused as rate limited."""
    plan = LineaPlan(withdrawals=Limits(limit=10**16))
    scene = await open_scene(stack, tmp_path, plan)
    letters = [Letter(L2, b"%d" % turn, fee=0, value=6 * 10**15) for turn in range(2)]
    sent = await scene.bridge.send(letters)
    await scene.confirm()
    (first,) = calls_in(await scene.steps(sent[:1]))
    scene.clock.pass_s(300)  # we forget that it is on its way
    (second,) = calls_in(await scene.steps(sent[1:]))
    await scene.make([first], L1)
    verdict = await scene.verdict(sent[1], second)
    assert (verdict.action, verdict.reason) == (Action.WAIT, Reason.RATE_LIMITED)


async def test_claimed_by_somebody_else(stack: AsyncExitStack, tmp_path: Path) -> None:
    """A call of ours that comes second is done on L1, and looked at again on L2; both are done."""
    scene = await open_scene(stack, tmp_path)
    sent = await scene.bridge.spread(2)
    await scene.confirm()
    calls = calls_in(await scene.steps(sent))
    for one, call in zip(sent, calls, strict=True):
        await scene.make([call], one.destination)
    verdicts = {
        one.destination: await scene.verdict(one, call)
        for one, call in zip(sent, calls, strict=True)
    }
    assert verdicts[L1].action is Action.DONE
    assert verdicts[L2].action is Action.WAIT
    assert all(isinstance(step, Done) for step in await scene.steps(sent))


async def test_broken_proofs_are_rebuilt(stack: AsyncExitStack, tmp_path: Path) -> None:
    """Wrong siblings, roots and lengths are told apart, and none is the message's end."""
    scene = await open_scene(stack, tmp_path)
    (sent,) = await scene.bridge.send([Letter(L2, b"hello")])
    await scene.confirm()
    (call,) = calls_in(await scene.steps([sent]))
    root = bytes.fromhex(call.evidence["root"][2:])
    last_sibling = call.data.index(keccak256(bytes(64)))
    wrong_sibling = bytearray(call.data)
    wrong_sibling[last_sibling] ^= 1
    cases = {
        bytes(wrong_sibling): (Action.RETRY, Reason.REBUILD_PROOF),
        call.data.replace(root, bytes(31) + b"\1"): (Action.WAIT, Reason.AWAITING_ROOT),
        _without_siblings(call.data): (Action.RETRY, Reason.REBUILD_PROOF),
    }
    for data, expected in cases.items():
        broken = Call(call.message_id, call.to, data)
        verdict = await scene.verdict(sent, broken)
        assert (verdict.action, verdict.reason) == expected, verdict


def _without_siblings(data: bytes) -> bytes:
    """The same call with a proof of no siblings."""
    at = 4 + 32 + 10 * 32
    return data[:at] + bytes(32) + data[at + 32 :]


async def test_our_trees_are_the_sdks() -> None:
    """Roots and proofs are those of Linea's own SparseMerkleTree, run by node."""
    leaves = [keccak256(b"%d" % turn) for turn in range(7)]
    modules = next(root for root in node_modules() if (root / "js-sha3").is_dir())
    script = """
    const Module = require('module'), path = require('path'), root = process.argv[1];
    const { keccak256 } = require(path.join(root, 'js-sha3'));
    const join = values => Buffer.concat(values.map(v => Buffer.from(v.slice(2), 'hex')));
    const ethers = { ZeroHash: '0x' + '00'.repeat(32),
      solidityPackedKeccak256: (types, values) => '0x' + keccak256(join(values)) };
    const load = Module._load;
    Module._load = (name, ...rest) => name === 'ethers' ? { ethers } : load(name, ...rest);
    const { SparseMerkleTree } = require(path.join(root,
      '@consensys/linea-sdk/dist/lib/sdk/merkleTree/SparseMerkleTree.js'));
    const tree = new SparseMerkleTree(5);
    const leaves = JSON.parse(process.argv[2]);
    leaves.forEach((leaf, index) => tree.addLeaf(index, leaf));
    console.log(JSON.stringify({ root: tree.getRoot(),
      proofs: leaves.map((_, index) => tree.getProof(index).proof) }));
    """
    node = await asyncio.create_subprocess_exec(
        "node", "-e", script, str(modules), json.dumps(["0x" + leaf.hex() for leaf in leaves]),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    answer, _ = await asyncio.wait_for(node.communicate(), 60)
    said = json.loads(answer)
    assert ["0x" + root.hex() for root in roots_of(leaves)] == [said["root"]]
    ours = confirmed(leaves, depth=5)
    wanted = [(turn + ours.first_number, leaf) for turn, leaf in enumerate(leaves)]
    proofs = [proof for proof in ours.proofs(wanted) if proof]
    assert [["0x" + one.hex() for one in proof.siblings] for proof in proofs] == said["proofs"]
