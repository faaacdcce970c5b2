"""A paused lane: nothing new is sent, what is in flight is settled, and everybody is told why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from relayer.acts import Pause, Target
from relayer.chains.signers import LocalSigner
from relayer.errors import StoreUnavailable
from relayer.message import MessageSeen, Reason, Route, Status, Timestamp
from relayer.pipeline.pauses import PausableAgent, PauseBoard
from relayer.pipeline.prover import UNKNOWN_ROUTE_RECHECK_S
from relayer.store import Role, Store
from tests.redis.conftest import Clock, Leases, held
from tests.redis.lane_world import DELIVERED, SIGNER, LaneWorld, Sea, log_of
from tests.redis.sample_facts import BRIDGE, ONE, TEN, message
from tests.redis.servers import Server
from tests.redis.test_lane_agents import world_on

pytestmark = pytest.mark.redis

TARGETS = [
    Target.route(Route(BRIDGE, ONE, TEN)),
    Target.lane(TEN),
    Target.chain(TEN),
    Target.chain(ONE),
    Target.signer(SIGNER.address),
]


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: pauses are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def sea() -> Sea:
    return Sea()


@pytest.fixture
async def world(store: Store, leases: Leases, clock: Clock, sea: Sea) -> AsyncIterator[LaneWorld]:
    async with world_on(sea, store=store, leases=leases, clock=clock) as made:
        yield made


async def pause(world: LaneWorld, target: Target) -> None:
    await world.store.pause(Pause(target, "ops", "a test", Timestamp(1_700_000_000.0)))
    await world.pauses.refresh()


async def resume(world: LaneWorld, target: Target) -> None:
    assert await world.store.resume(target)
    await world.pauses.refresh()


@pytest.mark.parametrize("target", TARGETS, ids=str)
async def test_messages_wait_with_who_and_why_and_go_on_at_once(
    world: LaneWorld, leases: Leases, sea: Sea, target: Target
) -> None:
    """No clock passes between the end of the pause and the transaction."""
    await pause(world, target)
    await world.store.save_facts(leases.follower, [message(1)])
    await world.prover.tick()
    await world.submitter.tick()
    assert not sea.taken
    record = await world.record(1)
    assert (record.status, record.reason) == (Status.WAITING, Reason.PAUSED)
    assert "is paused by ops since 2023-11-14T22:13:20.000Z: a test" in record.detail
    assert record.attempts == 0
    await resume(world, target)
    await world.prover.tick()
    await world.submitter.tick()
    assert len(sea.taken) == 1
    assert (await world.record(1)).status is Status.SUBMITTED


@pytest.mark.parametrize("target", TARGETS, ids=str)
async def test_what_was_proved_before_the_pause_is_put_off(
    world: LaneWorld, leases: Leases, sea: Sea, target: Target
) -> None:
    """A call that waits in the inbox is not sent after its pause is known."""
    await world.ready(leases, 1, 2)
    await pause(world, target)
    await world.submitter.tick()
    assert not sea.taken
    assert [(await world.record(n)).reason for n in (1, 2)] == [Reason.PAUSED] * 2


async def test_who_may_deliver_alone_is_waited_for_while_others_send(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """A paused signer's own messages wait for it; everybody else's go by the other signer."""
    other = world.signer_lane(LocalSigner(b"\x08" * 32))
    submitter = world.submitter_of(world.signer, other)
    await world.ready(leases, 1, 2)
    first, second = world.inbox.take(2)
    bound = replace(first, call=replace(first.call, sender=SIGNER.address))
    world.inbox.put([bound, second])
    await pause(world, Target.signer(SIGNER.address))
    await submitter.tick()
    assert len(sea.taken) == 1
    found = [await world.record(number) for number in (1, 2)]
    assert [(one.status, one.reason) for one in found] == [
        (Status.WAITING, Reason.PAUSED),
        (Status.SUBMITTED, Reason.BROADCAST),
    ]


async def test_what_is_not_paused_goes_on_beside_it(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Another route's pause, and another signer's, touch nothing here."""
    await pause(world, Target.route(Route(BRIDGE, TEN, ONE)))
    await pause(world, Target.signer("0x" + "99" * 20))  # type: ignore[arg-type]
    await world.send(leases, 1)
    assert len(sea.taken) == 1


@pytest.mark.parametrize("target", TARGETS, ids=str)
async def test_what_is_in_flight_is_settled_during_the_pause(
    world: LaneWorld, leases: Leases, sea: Sea, target: Target
) -> None:
    """A transaction sent before the pause is looked after to its end."""
    await world.send(leases, 1)
    await pause(world, target)
    sea.mine(log_of(DELIVERED, 1))
    await world.submitter.tick()
    assert (await world.record(1)).status is Status.INCLUDED
    assert await world.store.intents(TEN, SIGNER.address) == []


async def test_a_pause_that_ended_while_nobody_looked_opens_too(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """The gate is in the store: a relayer started after the end of the pause opens it."""
    await pause(world, TARGETS[0])
    await world.store.save_facts(leases.follower, [message(1)])
    await world.prover.tick()
    await world.store.resume(TARGETS[0])
    again = LaneWorld(world.store, world.chain, leases.lane, clock, world.bridge)
    await again.prover.tick()
    await again.submitter.tick()
    assert len(sea.taken) == 1


@dataclass
class Fickle:
    """A store that can stop answering."""

    paused: list[Pause]
    away: bool = False

    async def pauses(self) -> list[Pause]:
        if self.away:
            raise StoreUnavailable("gone")
        return self.paused


async def test_what_was_known_stays_known_while_the_store_is_away() -> None:
    """Fail closed: an unreadable pause is no resumption, and unread is not unpaused."""
    store = Fickle([Pause(Target.chain(TEN), "ops", "", Timestamp(1.0))])
    changes: list[None] = []
    board = PauseBoard(store, names={}, on_change=lambda: changes.append(None))
    assert not board.known.is_set()
    await board.refresh()
    store.away = True
    with pytest.raises(StoreUnavailable):
        await board.refresh()
    assert [pause.target for pause in board.all()] == [Target.chain(TEN)]
    assert board.known.is_set()
    store.away, store.paused = False, []
    await board.refresh()
    assert (board.all(), len(changes)) == ([], 2)


@dataclass
class Worker:
    """An agent that counts its ticks."""

    ticks: int = 0
    name: str = "worker"

    async def tick(self) -> bool:
        self.ticks += 1
        return True


async def test_the_agents_of_a_paused_chain_rest() -> None:
    """Follower and auditor do nothing, and do not say that there is more to do."""
    store = Fickle([Pause(Target.chain(TEN), "ops", "", Timestamp(1.0))])
    board, worker = PauseBoard(store, names={}), Worker()
    await board.refresh()
    assert not await PausableAgent(worker, TEN, board).tick()
    assert await PausableAgent(worker, ONE, board).tick()
    assert worker.ticks == 1


@pytest.mark.parametrize("unknown", [message(1, bridge="new", origin=5), message(1, origin=5)])
async def test_a_route_that_only_another_replica_knows_is_waited_for(
    world: LaneWorld, unknown: MessageSeen
) -> None:
    """While replicas take up a new configuration one by one, nobody has to release anything: not
    for a new bridge, and not for a chain that joins one that all of them know."""
    store = world.store
    await store.save_facts(await held(store, unknown.at.chain, Role.FOLLOWER), [unknown])
    await world.prover.tick()
    assert world.bridge.asked == []
    record = await world.record(1)
    assert (record.status, record.reason) == (Status.WAITING, Reason.UNSUPPORTED)
    assert (record.attempts, record.wake_at) == (0, world.clock.time + UNKNOWN_ROUTE_RECHECK_S)
