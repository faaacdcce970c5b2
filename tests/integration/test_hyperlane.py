"""The Hyperlane adapter against the real contracts: what it proves is what they accept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from relayer.adapter import Call, Done, Step, Wait
from relayer.chains.client import ChainClient
from relayer.devnet.accounts import ANNOUNCER
from relayer.devnet.deployer import Deployer
from relayer.devnet.validators import Fault
from relayer.devnet.world import BRIDGE, Devnet, WorldPlan
from relayer.message import (
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
from relayer.settings import load_settings
from tests.fakes import FakeClock, FakeContext, FakeTrees
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


async def open_scene(world: Devnet, stack: AsyncExitStack) -> Scene:
    await world.pause_operators()
    settings = load_settings(world.config_path, {})
    clients: dict[str, ChainClient] = {}
    for name, section in settings.chains.items():
        clients[name] = ChainClient(name, section, clock=time.time)
        stack.push_async_callback(clients[name].aclose)
        await clients[name].start()
    trees, clock = FakeTrees(SHAPE), FakeClock()
    bridge = {k: v for k, v in settings.bridges[BRIDGE].items() if k != "protocol"}
    adapter = HyperlaneAdapter(
        BridgeName(BRIDGE),
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
    truths = await scene.adapter.truth()
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
