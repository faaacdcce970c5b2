"""The Scroll adapter against the real contracts: what it proves is what they accept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from relayer.adapter import Action, Call, Done, Outcome, Step, Wait
from relayer.chains.client import ChainClient
from relayer.devnet.accounts import ANNOUNCER, DEPLOYER, SENDERS
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Ground, GroundPlan
from relayer.devnet.multicall import MULTICALL3
from relayer.devnet.scroll import L1, L2, Parcel, ScrollLocal
from relayer.errors import CallReverted
from relayer.message import (
    Address,
    BlockNumber,
    BridgeName,
    DeliverySeen,
    Fact,
    Gas,
    LeafAdded,
    MessageSeen,
    ProgressSeen,
    Reason,
    Record,
    RootSeen,
)
from relayer.protocols.scroll.adapter import SHAPE, ScrollAdapter
from relayer.protocols.scroll.contracts import FAILED_RELAYED_MESSAGE, decode_withdrawal
from relayer.protocols.scroll.settings import ScrollSettings
from relayer.protocols.scroll.trials import Delivery, Trials
from relayer.settings import load_settings
from tests.fakes import FakeClock, FakeTrees, truths_of
from tests.unit.sample_records import record_of
from tests.unit.scroll.world import Context, FakeRoots

pytestmark = pytest.mark.chain


@dataclass
class Scene:
    """Real chains on which nothing moves by itself, and the adapter with trees in memory."""

    ground: Ground
    bridge: ScrollLocal
    clients: Mapping[str, ChainClient]
    context: Context
    adapter: ScrollAdapter
    facts: list[Fact]

    async def follow(self) -> list[Record]:
        """Read all logs anew; gives a record of every message."""
        self.facts.clear()
        for source in self.adapter.sources():
            client = next(c for c in self.clients.values() if c.chain_id == source.chain)
            head, _ = await client.tip()
            logs, _ = await client.scan(
                BlockNumber(source.start_block),
                head.number,
                addresses=source.addresses,
                topics=[source.topics],
            )
            self.facts += self.adapter.decode(logs)
        for leaf in self.of(LeafAdded):
            if leaf.index == await self.context.trees.size(leaf.tree):
                self.context.trees.grow(leaf.tree, [leaf.leaf])
        self.context.roots.seen = self.of(RootSeen)
        seen_at = self.context.now()
        return [record_of(message=one.message, seen_at=seen_at) for one in self.of(MessageSeen)]

    def of(self, kind: type) -> list[Any]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    async def steps(self, records: Sequence[Record]) -> list[Step]:
        answers = await self.adapter.next_steps(records)
        return [answers[record.id] for record in records]

    async def estimate(self, call: Call, data: bytes | None = None) -> int:
        request = {
            "from": ANNOUNCER.address,
            "to": call.to,
            "data": "0x" + (data or call.data).hex(),
        }
        return await self.clients[L1].estimate(request)

    async def refusal(self, call: Call, data: bytes | None = None) -> bytes:
        """The revert data of a call that must revert."""
        with pytest.raises(CallReverted) as caught:
            await self.estimate(call, data)
        return caught.value.revert

    async def owner_calls(self, to: Address, signature: str, arguments: Sequence[Any]) -> None:
        deployer = await Deployer.open(self.ground.nodes[L1].rpc, DEPLOYER)
        deployer.call(to, encode_call(signature, arguments))
        await deployer.flush()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        bridge = ScrollLocal()
        plan = GroundPlan(block_time_s=None, finality={"depth": 0})
        ground = await stack.enter_async_context(Ground(tmp_path / "ground", [bridge], plan))
        await ground.pause_operators()
        settings = load_settings(ground.config_path, {})
        clients: dict[str, ChainClient] = {}
        for name, section in settings.chains.items():
            clients[name] = ChainClient(name, section, clock=time.time)
            stack.push_async_callback(clients[name].aclose)
            await clients[name].start()
        fields = {k: v for k, v in settings.bridges["scroll"].items() if k != "protocol"}
        context = Context(dict(clients), FakeTrees(SHAPE), FakeRoots(), FakeClock())
        chosen = ScrollSettings.model_validate(fields)
        adapter = ScrollAdapter(BridgeName("scroll"), chosen, context)
        yield Scene(ground, bridge, clients, context, adapter, [])


def only_calls(steps: Sequence[Step]) -> list[Call]:
    assert all(isinstance(step, Call) for step in steps), steps
    return [step for step in steps if isinstance(step, Call)]


async def deliver(scene: Scene, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """Send calls as anybody could, each with just the gas that its call asks for."""
    deployer = await Deployer.open(scene.ground.nodes[L1].rpc, ANNOUNCER)
    for call in calls:
        deployer.call(call.to, call.data, gas=call.gas_floor or 1_000_000)
    hashes = await deployer.flush()
    rpc = scene.ground.nodes[L1].rpc
    return [await rpc.call("eth_getTransactionReceipt", one) for one in hashes]


def waits_for(step: Step, reason: Reason) -> Wait:
    assert isinstance(step, Wait), step
    assert step.reason is reason, step
    return step


@pytest.mark.parametrize("count", [1, 2, 3, 8, 11])
async def test_every_leaf_of_a_tree_is_accepted(scene: Scene, count: int) -> None:
    """Every message of trees of several sizes is delivered by its proof, pays out, and is seen."""
    sent = await scene.bridge.spread(count)
    await scene.bridge.operator.finalize()
    records = await scene.follow()
    assert {record.id for record in records} == {one.id for one in sent}
    await deliver(scene, only_calls(await scene.steps(records)))
    assert await scene.bridge.undelivered(sent) == []
    await scene.follow()
    assert {one.message_id for one in scene.of(DeliverySeen)} == {one.id for one in sent}
    assert all(isinstance(step, Done) for step in await scene.steps(records))
    ledger = await scene.bridge.deliveries(sent)
    assert all(ledger[one.id].count == 1 and ledger[one.id].body_arrived for one in sent)
    target = scene.bridge.l1.targets["Target"]
    assert await scene.clients[L1].balance(target) == sum(turn % 3 for turn in range(count))


async def test_our_tree_is_the_queue_s(scene: Scene) -> None:
    """Count and root of the predeploy are those of the tree rebuilt from logs."""
    await scene.bridge.spread(5)
    await scene.follow()
    (truth,) = await truths_of(scene.adapter)
    assert truth.size == 5
    assert truth.root == scene.context.trees.root(truth.tree, 5)


async def test_a_bundle_stores_its_root_under_its_last_batch(scene: Scene) -> None:
    """Batches without a root of their own, and one that repeats the root, change nothing."""
    await scene.bridge.spread(3)
    first = await scene.bridge.operator.finalize(batches=3)
    records = await scene.follow()
    assert {call.evidence["batch"] for call in only_calls(await scene.steps(records))} == {"3"}
    again = await scene.bridge.operator.finalize()
    assert (again.batch, again.root) == (4, first.root)
    await scene.follow()
    calls = only_calls(await scene.steps(records))
    assert {call.evidence["batch"] for call in calls} == {"4"}
    assert {call.evidence["tree_size"] for call in calls} == {"3"}
    await deliver(scene, calls)
    assert all(isinstance(step, Done) for step in await scene.steps(records))


async def test_before_a_batch_and_beyond_it_messages_wait_at_the_gate(scene: Scene) -> None:
    """Zero roots count for nothing; a leaf after the finalized ones waits for its own batch."""
    await scene.bridge.operator.finalize()
    assert (await scene.follow(), scene.of(RootSeen)) == ([], [])
    await scene.bridge.spread(2)
    records = await scene.follow()
    for index, step in enumerate(await scene.steps(records)):
        wait = waits_for(step, Reason.AWAITING_ROOT)
        assert wait.gate is not None
        assert wait.gate_value == index + 1
    await scene.bridge.operator.finalize()
    await scene.bridge.spread(1, label="late")
    records = await scene.follow()
    *early, late = await scene.steps(records)
    only_calls(early)
    gate = waits_for(late, Reason.AWAITING_ROOT).gate
    assert gate is not None
    assert await scene.adapter.levels([gate]) == {gate: 2}
    await scene.bridge.operator.finalize()
    await scene.follow()
    assert await scene.adapter.levels([gate]) == {gate: 3}
    only_calls(await scene.steps(records))


async def test_a_trial_sees_what_an_estimate_cannot(scene: Scene) -> None:
    """A failing target is noticed without gas; it is delivered once the target recovers."""
    sent = [
        *await scene.bridge.send([Parcel(b"one")]),
        *await scene.bridge.send([Parcel(b"two", "Switched")]),
        *await scene.bridge.send([Parcel(b"three")]),
    ]
    await scene.bridge.operator.finalize()
    records = await scene.follow()
    good, bad, also_good = await scene.steps(records)
    wait = waits_for(bad, Reason.TARGET_FAILED)
    assert scene.bridge.l1.targets["Switched"] in wait.detail
    calls = only_calls([good, also_good])
    await deliver(scene, calls)
    await scene.bridge.switch_on("Switched")
    (step,) = await scene.steps(records[1:2])
    await deliver(scene, only_calls([step]))
    assert await scene.bridge.undelivered(sent) == []


async def test_a_target_that_asks_who_sent_it_is_tried_truly(scene: Scene) -> None:
    """The trial runs the messenger itself, so `xDomainMessageSender` is set as on chain."""
    sender, stranger = (bytes.fromhex(one.address[2:]) for one in (SENDERS[0], DEPLOYER))
    sent = await scene.bridge.send([Parcel(b"from " + sender, "Guarded")])
    sent += await scene.bridge.send([Parcel(b"from " + stranger, "Guarded")])
    await scene.bridge.operator.finalize()
    true, false = await scene.steps(await scene.follow())
    waits_for(false, Reason.TARGET_FAILED)
    await deliver(scene, only_calls([true]))
    assert await scene.bridge.undelivered(sent) == sent[1:]


async def test_a_target_that_needs_much_gas_gets_it(scene: Scene) -> None:
    """The call's gas floor is enough on chain, where the node's own estimate would starve it."""
    sent = await scene.bridge.send([Parcel(b"much", "Hungry"), Parcel(b"more", "Hungry")])
    await scene.bridge.operator.finalize()
    calls = only_calls(await scene.steps(await scene.follow()))
    starved = replace(calls[0], gas_floor=Gas(await scene.estimate(calls[0])))
    (receipt,) = await deliver(scene, [starved])
    assert [log["topics"][0] for log in receipt["logs"]] == ["0x" + FAILED_RELAYED_MESSAGE.hex()]
    receipts = await deliver(scene, calls)
    assert await scene.bridge.undelivered(sent) == []
    assert all(int(one["gasUsed"], 16) > 400_000 for one in receipts)


async def test_a_failed_try_on_chain_is_seen_and_is_no_delivery(scene: Scene) -> None:
    """FailedRelayedMessage is progress, never delivery; afterwards the message is left alone."""
    sent = await scene.bridge.send([Parcel(b"lie", "TwoFaced")])
    await scene.bridge.operator.finalize()
    (record,) = await scene.follow()
    (receipt,) = await deliver(scene, only_calls(await scene.steps([record])))
    assert receipt["status"] == "0x1"
    assert await scene.bridge.undelivered(sent) == sent
    await scene.follow()
    (progress,) = scene.of(ProgressSeen)
    assert (progress.message_id, progress.destination) == (record.id, record.route.destination)
    assert scene.of(DeliverySeen) == []
    call = only_calls(await scene.steps([record]))[0]
    verdict = scene.adapter.classify(record, call, Outcome(b"", "mined in vain", mined=True))
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)
    failed = replace(record, reason=verdict.reason, attempts=1, since=scene.context.now())
    assert waits_for((await scene.steps([failed]))[0], Reason.TARGET_FAILED).recheck_s <= 10
    scene.context.now.pass_s(11)
    only_calls(await scene.steps([failed]))


async def test_a_messenger_without_money_is_named(scene: Scene) -> None:
    """A payout that the messenger cannot make is noticed and told."""
    await scene.bridge.send([Parcel(b"rich", value=5)])
    await scene.bridge.operator.finalize()
    (record,) = await scene.follow()
    await scene.ground.nodes[L1].rpc.call("anvil_setBalance", scene.bridge.l1.messenger, "0x4")
    wait = waits_for((await scene.steps([record]))[0], Reason.TARGET_FAILED)
    assert wait.detail == "the messenger is to pay out 5 wei and has 4"


async def test_what_the_messenger_refuses_is_understood(scene: Scene) -> None:
    """Every refusal that can be provoked is classified from the real revert data."""
    await scene.bridge.spread(3)
    await scene.bridge.operator.finalize()
    records = await scene.follow()
    calls = only_calls(await scene.steps(records))
    seen: dict[str, tuple[Action, Reason]] = {}

    async def note(what: str, call: Call, data: bytes | None = None) -> None:
        revert = await scene.refusal(call, data)
        verdict = scene.adapter.classify(records[0], call, Outcome(revert, "", mined=False))
        seen[what] = (verdict.action, verdict.reason)

    withdrawal = decode_withdrawal(records[0].message.payload)
    await note("batch", calls[0], withdrawal.delivery_call(9, []))
    await note("proof", calls[0], withdrawal.delivery_call(1, [bytes(32)]))
    messenger = scene.bridge.l1.messenger
    await scene.owner_calls(messenger, "setPause(bool)", [True])
    await note("paused", calls[0])
    paused = only_calls(await scene.steps(records))
    assert paused[0].evidence["trial"] == "the messenger reverted"
    await scene.owner_calls(messenger, "setPause(bool)", [False])
    await deliver(scene, calls[:1])
    await note("executed", calls[0])
    assert seen == {
        "batch": (Action.WAIT, Reason.AWAITING_ROOT),
        "proof": (Action.RETRY, Reason.REBUILD_PROOF),
        "paused": (Action.WAIT, Reason.PAUSED),
        "executed": (Action.DONE, Reason.DELIVERED_BY_OTHER),
    }


async def test_targets_that_the_messenger_forbids_are_dead(scene: Scene) -> None:
    """A message to the messenger itself, or to a deposit queue, can never be delivered."""
    l1 = scene.bridge.l1
    queue = await scene.clients[L1].call(
        {"to": l1.messenger, "data": "0x" + encode_call("messageQueueV1()").hex()}
    )
    forbidden = [l1.messenger, Address("0x" + queue[12:].hex())]
    deployer = await Deployer.open(scene.ground.nodes[L2].rpc, ANNOUNCER)
    for target in forbidden:
        arguments = [target, 0, b"x", 0]
        call_data = encode_call("sendMessage(address,uint256,bytes,uint256)", arguments)
        deployer.call(scene.bridge.l2.messenger, call_data)
    await deployer.flush()
    await scene.bridge.operator.finalize()
    records = await scene.follow()
    for record, call in zip(records, only_calls(await scene.steps(records)), strict=True):
        outcome = Outcome(await scene.refusal(call), "", mined=False)
        verdict = scene.adapter.classify(record, call, outcome)
        assert (verdict.action, verdict.reason) == (Action.DEAD, Reason.UNDELIVERABLE)


async def test_calls_survive_a_shared_transaction(scene: Scene) -> None:
    """Inside Multicall3, as the engine packs them, the same calls deliver."""
    sent = await scene.bridge.spread(6)
    await scene.bridge.operator.finalize()
    calls = only_calls(await scene.steps(await scene.follow()))
    assert all(call.shareable for call in calls)
    deployer = await Deployer.open(scene.ground.nodes[L1].rpc, ANNOUNCER)
    packed = [(call.to, False, call.data) for call in calls]
    signature = "aggregate3((address,bool,bytes)[])"
    deployer.call(MULTICALL3, encode_call(signature, [packed]), gas=3_000_000)
    await deployer.flush()
    assert await scene.bridge.undelivered(sent) == []


async def test_trials_measure_many_at_once(scene: Scene) -> None:
    """Forty deliveries take three requests; the gas told is about what delivery really takes."""
    await scene.bridge.spread(40)
    await scene.bridge.operator.finalize()
    records = await scene.follow()
    calls = only_calls(await scene.steps(records))
    trials = Trials(scene.clients[L1], scene.bridge.l1.messenger, target_gas=2_000_000)
    wanted = [
        Delivery(bytes.fromhex(record.id[2:]), call.data)
        for record, call in zip(records, calls, strict=True)
    ]
    found = await trials.run(wanted)
    assert all(trial is not None and trial.executed for trial in found)
    receipts = await deliver(scene, calls[:1])
    used = int(receipts[0]["gasUsed"], 16)
    assert used <= calls[0].gas_floor < used + 60_000


async def test_a_root_that_is_taken_back_is_not_used(scene: Scene) -> None:
    """When the rollup contract no longer holds the root, nothing is handed out."""
    await scene.bridge.spread(2)
    rpc = scene.ground.nodes[L1].rpc
    before = await rpc.call("evm_snapshot")
    await scene.bridge.operator.finalize()
    records = await scene.follow()
    only_calls(await scene.steps(records))
    assert await rpc.call("evm_revert", before)
    for step in await scene.steps(records):
        waits_for(step, Reason.ROOT_MISMATCH)


async def test_a_leaf_that_we_lack_is_noticed_by_the_root(scene: Scene) -> None:
    """With a leaf missing nothing is handed out, and the wait tells what the queue counts."""
    await scene.bridge.spread(4)
    await scene.bridge.operator.finalize()
    records = await scene.follow()
    (tree,) = (spec.id for spec in scene.adapter.trees())
    scene.context.trees.truncate(tree, 2)
    for step in await scene.steps(records):
        wait = waits_for(step, Reason.AWAITING_LEAF)
        assert "2 of 4 leaves" in wait.detail
    await scene.follow()
    only_calls(await scene.steps(records))
