"""The Arbitrum adapter against the real Outbox and Bridge: what it proves is what they accept."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relayer.adapter import Action, Call, Done, Outcome, Step, Verdict, View, Wait
from relayer.chains.client import ChainClient
from relayer.devnet.accounts import ANNOUNCER, SENDERS
from relayer.devnet.arbitrum import ArbitrumLocal, ArbitrumPlan, Withdrawal
from relayer.devnet.arbitrum_contracts import (
    ARB_SYS,
    NODE_INTERFACE,
    RUDE,
    SILENT,
    WELCOMING,
    install_node_interface,
    read_tree_state,
    tree_state_request,
)
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Ground, GroundPlan
from relayer.devnet.ledger import logs_of
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
    Reason,
    Record,
    RootSeen,
)
from relayer.protocols.arbitrum.adapter import SHAPE, ArbitrumAdapter
from relayer.protocols.arbitrum.contracts import execute_call
from relayer.protocols.arbitrum.settings import ArbitrumSettings
from relayer.settings import load_settings
from relayer.trees import append_only
from tests.fakes import FakeTrees, truths_of
from tests.unit.arbitrum.world import Context, FakeRoots, packed_send
from tests.unit.sample_records import record_of

pytestmark = pytest.mark.chain

FIXTURE = Path(__file__).parents[1] / "fixtures" / "arbitrum_withdrawals.json"
CASES = json.loads(FIXTURE.read_text())["cases"]
"""Source: test cases of OffchainLabs' nitro contracts, withdrawals of a public Nitro testnet."""
ROOT_OF = encode_call("calculateMerkleRoot(bytes32[],uint256,bytes32)", [[], 0, bytes(32)])[:4]
SEND_MERKLE_UPDATE = "0x" + keccak256(b"SendMerkleUpdate(uint256,bytes32,uint256)").hex()
PARENT_ID = ArbitrumPlan().parent_id
LARGEST = 200
VIEWS_AT_ONCE = 400
"""Keeps a request body below a megabyte."""


@dataclass
class Scene:
    """A child with its parent, clients of both, and the adapter; facts are kept in memory."""

    local: ArbitrumLocal
    clients: Mapping[str, ChainClient]
    trees: FakeTrees
    roots: FakeRoots
    adapter: ArbitrumAdapter

    @property
    def tree(self) -> Any:
        (spec,) = self.adapter.trees()
        return spec.id

    @property
    def parent(self) -> ChainClient:
        return self.clients[self.local.plan.parent]

    async def facts(self) -> list[Fact]:
        """Everything both chains have said so far."""
        found: list[Fact] = []
        for source in self.adapter.sources():
            client = next(c for c in self.clients.values() if c.chain_id == source.chain)
            head, _ = await client.tip()
            logs, _ = await client.scan(
                BlockNumber(source.start_block),
                head.number,
                addresses=source.addresses,
                topics=[source.topics],
            )
            found.extend(self.adapter.decode(logs))
        return found

    async def follow(self) -> list[Record]:
        """Take in leaves and roots; gives a record of every message, by leaf."""
        facts = await self.facts()
        leaves = [fact for fact in facts if isinstance(fact, LeafAdded)]
        stored = await self.trees.size(self.tree)
        self.trees.grow(self.tree, [leaf.leaf for leaf in leaves[stored:]])
        self.roots.seen = [fact for fact in facts if isinstance(fact, RootSeen)]
        return [record_of(message=f.message) for f in facts if isinstance(f, MessageSeen)]

    async def steps(self) -> Sequence[Step]:
        """What every message needs now, by leaf."""
        records = await self.follow()
        steps = await self.adapter.next_steps(records)
        return [steps[record.id] for record in records]

    async def calls(self) -> list[Call]:
        """The same, where everything is to be delivered."""
        steps = await self.steps()
        assert all(isinstance(step, Call) for step in steps), steps
        return [step for step in steps if isinstance(step, Call)]

    async def carry_out(self, calls: Sequence[tuple[str, bytes]]) -> list[dict[str, Any]]:
        """Send calls as anybody could, one by one; raises when one reverts."""
        deployer = await Deployer.open(self.local.parent.rpc, ANNOUNCER)
        for to, call_data in calls:
            deployer.call(to, call_data)
        hashes = await deployer.flush()
        requests = [("eth_getTransactionReceipt", [one]) for one in hashes]
        return await self.local.parent.rpc.batch(requests)

    async def verdict(self, record: Record, call: Call) -> Verdict | None:
        """What the adapter says of a simulation; None when it would succeed."""
        request = {"from": ANNOUNCER.address, "to": call.to, "data": "0x" + call.data.hex()}
        try:
            await self.parent.estimate(request)
        except CallReverted as error:
            outcome = Outcome(error.revert, str(error), mined=False)
            return self.adapter.classify(record, call, outcome)
        return None


MakeScene = Callable[..., Awaitable[Scene]]
"""From a plan, and what is to be different in the bridge's settings."""


@pytest.fixture
async def make_scene(tmp_path: Path) -> AsyncIterator[MakeScene]:
    """Start bridges as planned, on chains where nothing moves by itself."""
    async with AsyncExitStack() as stack:

        async def make(plan: ArbitrumPlan, **changes: Any) -> Scene:
            local = ArbitrumLocal(plan)
            still = GroundPlan(block_time_s=None)
            ground = await stack.enter_async_context(Ground(tmp_path / "ground", [local], still))
            await ground.pause_operators()
            return await _open_scene(ground, local, stack, **changes)

        yield make


@pytest.fixture
async def scene(make_scene: MakeScene) -> Scene:
    """A child whose gas token is ether."""
    return await make_scene(ArbitrumPlan())


async def _open_scene(
    ground: Ground, local: ArbitrumLocal, stack: AsyncExitStack, **changes: Any
) -> Scene:
    settings = load_settings(ground.config_path, {})
    clients: dict[str, ChainClient] = {}
    for name, section in settings.chains.items():
        clients[name] = ChainClient(name, section, clock=time.time)
        stack.push_async_callback(clients[name].aclose)
        await clients[name].start()
    trees, roots = FakeTrees(SHAPE), FakeRoots()
    section = {k: v for k, v in settings.bridges[local.name].items() if k != "protocol"}
    adapter = ArbitrumAdapter(
        BridgeName(local.name),
        ArbitrumSettings.model_validate(section | changes),
        Context(dict(clients), trees, roots),
    )
    stack.push_async_callback(adapter.aclose)
    return Scene(local, clients, trees, roots, adapter)


async def test_every_message_is_accepted_whatever_the_tree_size(scene: Scene) -> None:
    """Rounds of sending, confirming and claiming: each proof is taken, each delivery is read."""
    sent = []
    for round_size in (1, 1, 3, 8):
        sent += await scene.local.spread(round_size, label=f"round {round_size}")
        assert await scene.local.confirm()
        calls = [step for step in await scene.steps() if isinstance(step, Call)]
        assert len(calls) == round_size
        await scene.carry_out([(call.to, call.data) for call in calls])
    assert await scene.local.undelivered(sent) == []
    assert all(isinstance(step, Done) for step in await scene.steps())
    delivered = [f.message_id for f in await scene.facts() if isinstance(f, DeliverySeen)]
    assert sorted(delivered) == sorted(one.id for one in sent)
    ledger = await scene.local.deliveries(sent)
    assert all(one.count == 1 and one.body_arrived for one in ledger.values())


async def test_before_the_root_is_confirmed_everything_waits(scene: Scene) -> None:
    """A claim without a root would be UnknownRoot; the gate is the confirmed tree size."""
    await scene.local.spread(3)
    assert {step.reason for step in await scene.steps() if isinstance(step, Wait)} == {
        Reason.AWAITING_ROOT
    }
    await scene.local.confirm()
    assert len(await scene.calls()) == 3


async def test_our_tree_is_the_chains_tree_at_every_size(scene: Scene) -> None:
    """Root and count are ArbSys' own after each message, inner nodes are its SendMerkleUpdate."""
    local = scene.local
    sent = [one for _ in range(21) for one in await local.spread(1)]
    await scene.follow()
    blocks = [await local.child.call("eth_getBlockByNumber", hex(s.block), False) for s in sent]
    requests = [tree_state_request(block["hash"]) for block in blocks]
    states = [read_tree_state(answer) for answer in await local.child.batch(requests)]
    assert [size for size, _ in states] == list(range(1, 22))
    for size, root in states:
        assert scene.trees.root(scene.tree, size) == root
    updates = await logs_of(local.child, SEND_MERKLE_UPDATE, ARB_SYS)
    assert len(updates) == 21 - 3  # a leaf fewer for each subtree that stands at 21 = 16 + 4 + 1
    leaves = [fact.leaf for fact in await scene.facts() if isinstance(fact, LeafAdded)]
    for update in updates:
        level, last = divmod(int(update["topics"][3], 16), 2**192)
        nodes = append_only.build(SHAPE, leaves[: last + 1])
        expected = nodes[append_only.NodeAt(level, last >> level)]
        assert update["topics"][2] == "0x" + expected.hex()


async def test_truth_is_the_childs_count_and_root_at_its_final_block(scene: Scene) -> None:
    """The auditor's measure: final is one block behind the newest here."""
    await scene.local.spread(5)
    await scene.local.child.call("anvil_mine", "0x2")
    await scene.follow()
    (truth,) = await truths_of(scene.adapter)
    assert (truth.size, truth.root) == (5, scene.trees.root(scene.tree, 5))


async def test_every_leaf_of_every_size_against_the_deployed_outbox(scene: Scene) -> None:
    """20,100 proofs: the contract's own `calculateMerkleRoot` leads to the root we have."""
    items = [keccak256(b"item %d" % place) for place in range(LARGEST)]
    nodes = append_only.build(SHAPE, [keccak256(item) for item in items])
    views, expected = [], []
    for size in range(1, LARGEST + 1):
        root = append_only.root(SHAPE, size, nodes)
        for place in range(size):
            proof = append_only.proof(SHAPE, place, size, nodes)
            assert len(proof) == (size - 1).bit_length()
            views.append(View(scene.local.parent.outbox, _root_view(proof, place, items[place])))
            expected.append(root)
    answers = []
    for first in range(0, len(views), VIEWS_AT_ONCE):
        answers += await scene.parent.read(views[first : first + VIEWS_AT_ONCE])
    assert len(answers) == 20_100
    assert [answer.data for answer in answers] == expected


def _root_view(proof: Sequence[bytes], place: int, item: bytes) -> bytes:
    head = (96).to_bytes(32, "big") + place.to_bytes(32, "big") + item
    return ROOT_OF + head + len(proof).to_bytes(32, "big") + b"".join(proof)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["index"]))
async def test_real_withdrawals_are_accepted_by_the_real_outbox(
    scene: Scene, case: dict[str, Any]
) -> None:
    """Withdrawals of a public testnet, claimed with our call data and their proofs."""
    local = scene.local
    numbers = [int(case[key]) for key in ("l2Block", "l1Block", "l2Timestamp", "value")]
    packed = packed_send(
        sender=case["l2Sender"], recipient=case["to"], numbers=numbers, payload=b""
    )
    proof = [bytes.fromhex(one[2:]) for one in case["proof"]]
    await local.accept(bytes.fromhex(case["root"][2:]), case["l2blockhash"])
    call_data = execute_call(proof, case["index"], send=packed)
    (receipt,) = await scene.carry_out([(local.parent.outbox, call_data)])
    balance = await local.parent.rpc.call("eth_getBalance", case["to"], "latest")
    assert int(balance, 16) == int(case["value"])
    assert 90_000 < int(receipt["gasUsed"], 16) < 140_000
    (delivery,) = [f for f in await scene.facts() if isinstance(f, DeliverySeen)]
    assert delivery.at.tx == receipt["transactionHash"]


@pytest.mark.parametrize(
    ("bold", "event"),
    [
        (False, b"NodeConfirmed(uint64,bytes32,bytes32)"),
        (True, b"AssertionConfirmed(bytes32,bytes32,bytes32)"),
    ],
)
async def test_both_generations_of_rollups_are_served_by_the_outboxs_event_alone(
    make_scene: MakeScene, bold: bool, event: bytes
) -> None:
    """Before BoLD nodes are confirmed, since then assertions; neither event is followed."""
    scene = await make_scene(ArbitrumPlan(bold=bold))
    parent = scene.local.parent
    sent = await scene.local.spread(3)
    await scene.local.confirm()
    calls = await scene.calls()
    await scene.carry_out([(call.to, call.data) for call in calls])
    assert await scene.local.undelivered(sent) == []
    topic = "0x" + keccak256(event).hex()
    assert len(await logs_of(parent.rpc, topic, str(parent.rollup))) == 1
    followed = [source for source in scene.adapter.sources() if source.chain == PARENT_ID]
    assert [source.addresses for source in followed] == [(parent.outbox,)]


async def test_the_childs_node_must_prove_the_same(make_scene: MakeScene) -> None:
    """NodeInterface's own proofs, asked for over RPC: equal ones pass, a lie holds back all."""
    scene = await make_scene(ArbitrumPlan(), cross_check=True)
    child = scene.local.child
    await scene.local.spread(5)
    await scene.local.confirm()
    reasons = {step.reason for step in await scene.steps() if isinstance(step, Wait)}
    assert reasons == {Reason.SOURCE_UNREACHABLE}  # nothing stands at 0xc8
    await install_node_interface(child)
    items = [bytes.fromhex(r.message.extra["item"][2:]) for r in await scene.follow()]
    node = await Deployer.open(child, ANNOUNCER)
    node.call(NODE_INTERFACE, encode_call("tell(bytes32[])", [items]))
    await node.flush()
    calls = await scene.calls()
    for lies in (True, False):
        node.call(NODE_INTERFACE, encode_call("lie(bool)", [lies]))
        await node.flush()
        steps = await scene.steps()
        waits = [step for step in steps if isinstance(step, Wait)]
        assert len(waits) == (len(steps) if lies else 0)
        assert {wait.reason for wait in waits} <= {Reason.ROOT_MISMATCH}
    await scene.carry_out([(call.to, call.data) for call in calls])
    assert all(isinstance(step, Done) for step in await scene.steps())


# --- failures ---------------------------------------------------------------------------------


async def test_a_claimed_message_is_done(scene: Scene) -> None:
    """AlreadySpent in a simulation that a rival outran."""
    await scene.local.spread(1)
    await scene.local.confirm()
    (record,) = await scene.follow()
    (call,) = await scene.calls()
    await scene.carry_out([(call.to, call.data)])
    verdict = await scene.verdict(record, call)
    assert verdict is not None
    assert (verdict.action, verdict.reason) == (Action.DONE, Reason.DELIVERED_BY_OTHER)


async def test_wrong_proofs_are_rebuilt_and_malformed_ones_are_bugs(scene: Scene) -> None:
    """UnknownRoot means a new proof; a proof of a wrong form is ours alone to explain."""
    local = scene.local
    await local.spread(4)
    await local.confirm()
    records = await scene.follow()
    calls = await scene.calls()
    packed = records[3].message.payload
    wrong: list[tuple[Sequence[bytes], Reason]] = [
        ([bytes(32), bytes(32)], Reason.REBUILD_PROOF),
        ([bytes(32)], Reason.INTERNAL_ERROR),  # PathNotMinimal
        ([bytes(32)] * 256, Reason.INTERNAL_ERROR),  # ProofTooLong
    ]
    for proof, reason in wrong:
        bad = Call(records[3].id, calls[3].to, execute_call(proof, 3, send=packed))
        verdict = await scene.verdict(records[3], bad)
        assert verdict is not None
        assert verdict.reason is reason


async def test_call_data_for_an_address_without_code_waits_until_there_is_code(
    scene: Scene,
) -> None:
    """NotContract is free waiting; with code in place the message is delivered."""
    nowhere = Address("0x" + "0d" * 20)
    await scene.local.send([Withdrawal(nowhere, b"hello")])
    await scene.local.send([Withdrawal(nowhere, b"", 5)])
    await scene.local.confirm()
    records = await scene.follow()
    calls = await scene.calls()
    verdict = await scene.verdict(records[0], calls[0])
    assert verdict is not None
    assert (verdict.action, verdict.reason) == (Action.WAIT, Reason.AWAITING_TARGET)
    assert await scene.verdict(records[1], calls[1]) is None
    failed = record_of(message=records[0].message, reason=verdict.reason)
    step = (await scene.adapter.next_steps([failed]))[failed.id]
    assert isinstance(step, Wait)
    await scene.local.parent.rpc.call("anvil_setCode", nowhere, "0x00")
    step = (await scene.adapter.next_steps([failed]))[failed.id]
    assert isinstance(step, Call)
    assert await scene.verdict(failed, step) is None


@pytest.mark.parametrize(("mood", "said"), [(SILENT, "refused"), (RUDE, "not today")])
async def test_a_recipient_that_refuses_is_tried_again(scene: Scene, mood: int, said: str) -> None:
    """BridgeCallFailed and bubbled reasons are retries; the same call works when it recovers."""
    doorstep = scene.local.parent.doorstep
    await scene.local.spread(1)
    await scene.local.confirm()
    (record,) = await scene.follow()
    (call,) = await scene.calls()
    await scene.carry_out([(doorstep, encode_call("become(uint256)", [mood]))])
    verdict = await scene.verdict(record, call)
    assert verdict is not None
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)
    assert said in verdict.detail
    await scene.carry_out([(doorstep, encode_call("become(uint256)", [WELCOMING]))])
    assert await scene.verdict(record, call) is None


async def test_a_bridge_without_the_money_is_a_retry(scene: Scene) -> None:
    """More than the bridge holds cannot be paid out now; the message stays valid."""
    rich = Withdrawal(SENDERS[0].address, b"", 2 * 10**21)
    await scene.local.child.call("anvil_setBalance", SENDERS[0].address, hex(10**22))
    await scene.local.send([rich])
    await scene.local.confirm()
    (record,) = await scene.follow()
    (call,) = await scene.calls()
    verdict = await scene.verdict(record, call)
    assert verdict is not None
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)


async def test_an_outbox_that_the_bridge_dropped_is_a_configuration_error(scene: Scene) -> None:
    """NotOutbox: every message is held, and the words say what to look at."""
    parent = scene.local.parent
    await scene.local.spread(1)
    await scene.local.confirm()
    (record,) = await scene.follow()
    (call,) = await scene.calls()
    rollup = await Deployer.open(parent.rpc, parent.operator)
    rollup.call(parent.bridge, encode_call("setOutbox(address,bool)", [parent.outbox, False]))
    await rollup.flush()
    verdict = await scene.verdict(record, call)
    assert verdict is not None
    assert (verdict.action, verdict.reason) == (Action.HOLD, Reason.UNSUPPORTED)
    assert "old outbox" in verdict.detail


# --- a child with a gas token of its own ------------------------------------------------------


async def test_an_erc20_outbox_pays_in_the_tokens_decimals(make_scene: MakeScene) -> None:
    """The leaf holds 18 decimals, the payment has 6; all else is the same."""
    scene = await make_scene(ArbitrumPlan(token_decimals=6))
    parent = scene.local.parent
    receiver = Address("0x" + "0e" * 20)
    sent = [
        *await scene.local.spread(3),
        *await scene.local.send([Withdrawal(receiver, b"", 10**18)]),
    ]
    await scene.local.confirm()
    calls = await scene.calls()
    await scene.carry_out([(call.to, call.data) for call in calls])
    assert await scene.local.undelivered(sent) == []
    assert all(isinstance(step, Done) for step in await scene.steps())
    assert parent.token is not None
    view = View(parent.token, encode_call("balanceOf(address)", [receiver]))
    (balance,) = await scene.parent.read([view])
    assert int.from_bytes(balance.data, "big") == 10**6
    assert len([f for f in await scene.facts() if isinstance(f, DeliverySeen)]) == 4


async def test_the_gas_token_itself_is_never_called(make_scene: MakeScene) -> None:
    """CallTargetNotAllowed cannot get better: dead, with the reason."""
    scene = await make_scene(ArbitrumPlan(token_decimals=18))
    token = scene.local.parent.token
    assert token is not None
    await scene.local.send([Withdrawal(token, encode_call("decimals()"))])
    await scene.local.confirm()
    (record,) = await scene.follow()
    (call,) = await scene.calls()
    verdict = await scene.verdict(record, call)
    assert verdict is not None
    assert (verdict.action, verdict.reason) == (Action.DEAD, Reason.UNDELIVERABLE)
