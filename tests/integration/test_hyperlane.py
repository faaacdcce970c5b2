"""The Hyperlane adapter against the real contracts: what it proves is what they accept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from relayer.adapter import Call, Done, Refuse, Step, Wait
from relayer.chains.client import ChainClient
from relayer.devnet.accounts import ANNOUNCER, DEPLOYER, VALIDATORS
from relayer.devnet.artefacts import decode_result, encode_call, load
from relayer.devnet.deployer import Deployer
from relayer.devnet.multicall import eth_call
from relayer.devnet.traffic import Parcel, Site
from relayer.devnet.validators import Fault
from relayer.devnet.world import Devnet, WorldPlan
from relayer.message import (
    Address,
    BlockNumber,
    BridgeName,
    DeliverySeen,
    Fact,
    LeafAdded,
    Message,
    MessageId,
    MessageSeen,
    PaymentSeen,
    Reason,
    Record,
)
from relayer.protocols.hyperlane.adapter import SHAPE, HyperlaneAdapter
from relayer.protocols.hyperlane.settings import HyperlaneSettings
from relayer.settings import FinalitySettings, load_settings
from tests.fakes import FakeClock, FakeContext, FakeTrees, truths_of
from tests.integration.conftest import MakeWorld
from tests.unit.sample_records import record_of

pytestmark = pytest.mark.chain


@dataclass
class Scene:
    """A world, clients of its chains, and the adapter; trees are kept in memory."""

    world: Devnet
    clients: Mapping[str, ChainClient]
    trees: FakeTrees
    clock: FakeClock
    adapter: HyperlaneAdapter

    async def facts(self) -> list[Fact]:
        """Everything every chain has said so far."""
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
        """Take in the leaves that are new; gives a record of every message."""
        messages: list[Message] = []
        for fact in await self.facts():
            if isinstance(fact, LeafAdded) and fact.index == await self.trees.size(fact.tree):
                self.trees.grow(fact.tree, [fact.leaf])
            elif isinstance(fact, MessageSeen):
                messages.append(fact.message)
        return [record_of(message=message) for message in messages]

    async def sign(self) -> None:
        """Let every chain's validators sign what is there."""
        for validators in self.world.validators.values():
            await validators.tick()
        self.clock.pass_s(10)


def calls_of(steps: Mapping[MessageId, Step]) -> dict[MessageId, Call]:
    assert all(isinstance(step, Call) for step in steps.values()), steps
    return {message_id: step for message_id, step in steps.items() if isinstance(step, Call)}


async def open_scene(world: Devnet, stack: AsyncExitStack, **chain_settings: Any) -> Scene:
    await world.pause_operators()
    settings = load_settings(world.config_path, {})
    clients: dict[str, ChainClient] = {}
    for name, section in settings.chains.items():
        changed = section.model_copy(update=chain_settings)
        clients[name] = ChainClient(name, changed, clock=time.time)
        stack.push_async_callback(clients[name].aclose)
        await clients[name].start()
    trees, clock = FakeTrees(SHAPE), FakeClock()
    bridge = {k: v for k, v in settings.bridges["hyperlane"].items() if k != "protocol"}
    adapter = HyperlaneAdapter(
        BridgeName("hyperlane"),
        HyperlaneSettings.model_validate(bridge),
        FakeContext(clients, trees, clock),
    )
    stack.push_async_callback(adapter.aclose)
    return Scene(world, clients, trees, clock, adapter)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def deliver_all(scene: Scene, records: Sequence[Record]) -> None:
    """Send every call as anybody could; raises when one reverts."""
    calls = calls_of(await scene.adapter.next_steps(records))
    for site in scene.world.sites.values():
        deployer = await Deployer.open(site.rpc, ANNOUNCER)
        for record in records:
            if record.route.destination == site.chain_id:
                deployer.call(calls[record.id].to, calls[record.id].data)
        await deployer.flush()


async def test_every_ism_accepts_our_proofs(still_world: Devnet, stack: AsyncExitStack) -> None:
    """Merkle-root, message-id and aggregation ISMs take every message over every route."""
    scene = await open_scene(still_world, stack)
    sent = await still_world.traffic.spread(12)
    await scene.sign()
    records = await scene.follow()
    assert {record.id for record in records} == {one.id for one in sent}
    await deliver_all(scene, records)
    assert await still_world.traffic.undelivered(sent) == []
    steps = await scene.adapter.next_steps(records)
    assert all(isinstance(step, Done) for step in steps.values())
    facts = await scene.facts()
    assert {f.message_id for f in facts if isinstance(f, DeliverySeen)} == {s.id for s in sent}
    assert {f.message_id for f in facts if isinstance(f, PaymentSeen)} == {s.id for s in sent}


async def test_our_tree_is_the_contracts_tree(still_world: Devnet, stack: AsyncExitStack) -> None:
    """Count and root of the hook are those of the tree rebuilt from logs."""
    scene = await open_scene(still_world, stack)
    await still_world.traffic.spread(18)
    await scene.follow()
    for site in still_world.sites.values():  # the final block is one behind the newest
        await site.rpc.call("anvil_mine", "0x2")
    truths = await truths_of(scene.adapter)
    assert len(truths) == 3
    for truth in truths:
        assert truth.size == 6
        assert truth.root == scene.trees.root(truth.tree, truth.size)


async def test_one_lying_validator_is_outvoted(
    make_world: MakeWorld, stack: AsyncExitStack
) -> None:
    """With one of three validators signing a wrong root, everything is delivered."""
    world = await make_world(WorldPlan(block_time_s=None, faults={0: Fault.WRONG_ROOT}))
    scene = await open_scene(world, stack)
    sent = await world.traffic.spread(6)
    await scene.sign()
    await deliver_all(scene, await scene.follow())
    assert await world.traffic.undelivered(sent) == []


async def test_without_a_quorum_it_waits(make_world: MakeWorld, stack: AsyncExitStack) -> None:
    """With two of three validators broken, every message waits and names them."""
    faults = {1: Fault.GARBAGE, 2: Fault.WRONG_SIGNATURE}
    world = await make_world(WorldPlan(block_time_s=None, faults=faults))
    scene = await open_scene(world, stack)
    await world.traffic.spread(6)
    await scene.sign()
    steps = await scene.adapter.next_steps(await scene.follow())
    assert len(steps) == 6
    for step in steps.values():
        assert isinstance(step, Wait)
        assert step.reason is Reason.AWAITING_QUORUM
        assert "not JSON" in step.detail
        assert "bad signature" in step.detail


HOSTILE = {
    "burns all gas": ("5b5f56", True),
    "burns all gas as well": ("5b5f565b", True),
    "burns what is left": ("5b5f565b5b", True),
    "reverts": ("5f5ffd", True),
    "reverts with a megabyte": ("621000005ffd", True),
    "has no code": ("", True),
    "answers no address": ("5f195f5260205ff3", False),
    "answers one byte": ("60015ff3", False),
    "answers a megabyte of ones": ("5f195f52621000005ff3", False),
}
"""Code of recipients by what they do when asked for their ISM, and whether the mailbox then takes
its default one (`Mailbox.recipientIsm`)."""


async def test_what_recipients_say_of_their_ism_concerns_only_them(
    still_world: Devnet, stack: AsyncExitStack
) -> None:
    """Among hostile recipients good ones are served; what cannot be served is held, not dead."""
    alpha, beta = still_world.sites["alpha"], still_world.sites["beta"]
    parcels = []
    for number, (code, _) in enumerate(HOSTILE.values()):
        address = Address(f"0x{0xBAD00 + number:040x}")
        await beta.rpc.call("anvil_setCode", address, "0x" + code)
        parcels.append(Parcel(alpha, beta, address, b"bad %d" % number))
    parcels += [Parcel(alpha, beta, beta.hyperlane.recipient, b"good %d" % n) for n in range(3)]
    scene = await open_scene(still_world, stack)
    sent = await still_world.traffic.send(parcels)
    await scene.sign()
    steps = await scene.adapter.next_steps(await scene.follow())
    for one in sent[len(HOSTILE) :]:
        assert isinstance(steps[one.id], Call)
    for one, (what, (_, has_default)) in zip(sent, HOSTILE.items(), strict=False):
        step = steps[one.id]
        if has_default:
            assert isinstance(step, Call), what
        else:
            assert isinstance(step, Refuse), what
            assert (step.reason, step.dead) == (Reason.UNDELIVERABLE, False)


async def test_audit_before_the_contracts_were_there(
    still_world: Devnet, stack: AsyncExitStack
) -> None:
    """At a final block older than the hook the truth is an empty tree, and no error."""
    scene = await open_scene(still_world, stack, finality=FinalitySettings(depth=10_000))
    truths = await truths_of(scene.adapter)
    assert [(one.block, one.size, one.root) for one in truths] == [(0, 0, None)] * 3


async def ask_weighted(site: Site, kind: str, weights: Sequence[int], threshold: int) -> None:
    """Let the site's recipient ask a weighted multisig of the devnet's validators."""
    path = f"isms/multisig/WeightedMultisigIsm.sol/Static{kind}WeightedMultisigIsmFactory"
    deployer = await Deployer.open(site.rpc, DEPLOYER)
    factory = deployer.create(load(path).creation())
    members = [(one.address, weight) for one, weight in zip(VALIDATORS, weights, strict=True)]
    arguments = [members, threshold]
    deployer.call(factory, encode_call("deploy((address,uint96)[],uint96)", arguments))
    await deployer.flush()
    view = encode_call("getAddress((address,uint96)[],uint96)", arguments)
    (ism,) = decode_result(["address"], await eth_call(site.rpc, factory, view))
    use = encode_call("setInterchainSecurityModule(address)", [ism])
    deployer.call(site.hyperlane.recipient, use)
    await deployer.flush()


@pytest.mark.parametrize("kind", ["MerkleRoot", "MessageId"])
@pytest.mark.parametrize("silent", [0, 1, 2])
async def test_weighted_multisigs_take_our_proofs(
    make_world: MakeWorld, stack: AsyncExitStack, kind: str, silent: int
) -> None:
    """Whoever of three is silent: the others' weight decides, wherever they are in the set."""
    world = await make_world(WorldPlan(block_time_s=None, faults={silent: Fault.SILENT}))
    alpha, beta = world.sites["alpha"], world.sites["beta"]
    weights = [3 * 10**9, 1 * 10**9, 6 * 10**9]
    total = sum(weights) - weights[silent]
    scene = await open_scene(world, stack)
    await ask_weighted(beta, kind, weights, total)
    parcels = [Parcel(alpha, beta, beta.hyperlane.recipient, b"%d" % n) for n in range(3)]
    sent = await world.traffic.send(parcels)
    await scene.sign()
    records = await scene.follow()
    await deliver_all(scene, records)
    assert await world.traffic.undelivered(sent) == []
    await ask_weighted(beta, kind, weights, total + 1)
    scene.clock.pass_s(3600)
    more = await world.traffic.send([Parcel(alpha, beta, beta.hyperlane.recipient, b"more")])
    await scene.sign()
    steps = await scene.adapter.next_steps(await scene.follow())
    step = steps[more[0].id]
    assert isinstance(step, Wait)
    assert step.reason is Reason.AWAITING_QUORUM
