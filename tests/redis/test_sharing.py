"""Replicas share followers and lanes out, and leave be what another cannot take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from relayer.message import ChainId
from relayer.pipeline.loop import Bell, run_agent
from relayer.pipeline.sharing import Sharer
from relayer.pipeline.tenure import Tenure
from relayer.store import Lease, Place, Role, Store
from tests.redis.servers import Server

pytestmark = pytest.mark.redis

CHAINS = tuple(ChainId(number) for number in (1, 10, 20))
LANES = tuple((chain, Role.LANE) for chain in CHAINS)


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: each key has a slot of its own."""
    return redis_server


@dataclass
class Held:
    """A place in a test's hand."""

    place: Place
    is_held: bool = True
    is_willing: bool = True
    handed_over: bool = False
    is_able: bool = True

    def can_work(self) -> bool:
        return self.is_able

    def hand_over(self) -> None:
        self.handed_over = True


@dataclass
class Replica:
    """One replica that holds what it is given."""

    store: Store
    owner: str
    holds: list[Held] = field(default_factory=list)
    leases: dict[Place, Lease] = field(default_factory=dict)

    async def take(self, *places: Place) -> None:
        for chain, role in places:
            lease = await self.store.acquire(chain, role, self.owner)
            assert lease is not None
            self.leases[chain, role] = lease
            self.holds.append(Held((chain, role)))

    def would_take(self, *places: Place) -> None:
        self.holds += [Held(place, is_held=False) for place in places]

    async def tick(self) -> list[Place]:
        """What it hands over in one turn."""
        await Sharer(self.store, self.owner, self.holds).tick()
        return [one.place for one in self.holds if one.handed_over]


async def test_one_place_is_handed_to_a_replica_with_at_least_two_fewer(store: Store) -> None:
    """Three to none: one is handed over; two to one is even enough."""
    first, second = Replica(store, "one"), Replica(store, "two")
    await first.take(*LANES)
    second.would_take(*LANES)
    assert await second.tick() == []
    assert await first.tick() == [LANES[0]]
    await store.release_lease(first.leases[LANES[0]])
    assert await store.acquire(*LANES[0], "two")
    rest = Replica(store, "one", [Held(place) for place in LANES[1:]])
    assert await rest.tick() == []


async def test_nothing_is_handed_to_who_would_not_take_it(store: Store) -> None:
    """A replica that stays away from a place, does not know it, or is gone, is no reason."""
    first, second = Replica(store, "one"), Replica(store, "two")
    await first.take(*LANES)
    assert await first.tick() == []
    second.holds = [Held(place, is_held=False, is_willing=False) for place in LANES]
    await second.tick()
    assert await first.tick() == []
    second.would_take((ChainId(99), Role.LANE), (CHAINS[0], Role.FOLLOWER))
    await second.tick()
    assert await first.tick() == []
    second.would_take(*LANES)
    await second.tick()
    await store.withdraw("two")
    assert await first.tick() == []


async def test_who_cannot_work_hands_over_what_it_holds(store: Store) -> None:
    """A replica that sees no endpoint keeps no place that another would take."""
    first, second = Replica(store, "one"), Replica(store, "two")
    await first.take(LANES[0])
    await second.take(*LANES[1:])
    second.would_take(LANES[0])
    await second.tick()
    assert await first.tick() == []
    first.holds = [Held(LANES[0], is_able=False, is_willing=False)]
    assert await first.tick() == [LANES[0]]


async def test_roles_are_shared_out_one_by_one(store: Store) -> None:
    """Followers are cheap and lanes are not: holding the one does not make up for the other."""
    first, second = Replica(store, "one"), Replica(store, "two")
    await first.take(*LANES)
    await second.take(*((chain, Role.FOLLOWER) for chain in CHAINS))
    first.would_take(*((chain, Role.FOLLOWER) for chain in CHAINS))
    second.would_take(*LANES)
    await first.tick()
    assert await second.tick() == [(CHAINS[0], Role.FOLLOWER)]
    assert await first.tick() == [LANES[0]]


async def test_what_no_replica_wrote_is_no_place(store: Store) -> None:
    """Garbage under a replica's key neither stops us nor looks like a wish."""
    await store.announce("two", [])
    await store.command(
        "SET", f"{store._prefix}:{{meta}}:replica:two", b"\xff junk 1:king 10:lane", "PX", 9000
    )
    assert await store.replicas() == {"two": frozenset({(ChainId(10), Role.LANE)})}


async def test_two_running_replicas_end_up_with_a_share_each(store: Store) -> None:
    """Real tenures: the one that came first gives one of three away, and no place is left empty."""
    held: dict[str, set[ChainId]] = {"one": set(), "two": set()}
    async with running(store, "one", held):
        await _until(lambda: len(held["one"]) == 3)
        async with running(store, "two", held):
            await _until(lambda: len(held["one"]) == 2 and len(held["two"]) == 1)
            assert held["one"].isdisjoint(held["two"])
        await _until(lambda: len(held["one"]) == 3)


@asynccontextmanager
async def running(
    store: Store, owner: str, held: dict[str, set[ChainId]], lease_s: float = 0.6
) -> AsyncIterator[None]:
    """A replica with a tenure for each lane."""

    def changed(chain: ChainId, is_held: bool) -> None:
        (held[owner].add if is_held else held[owner].discard)(chain)

    async def work(lease: Lease) -> None:
        await asyncio.Event().wait()

    tenures = [
        Tenure(
            store=store,
            chain=chain,
            role=role,
            owner=owner,
            lease_s=lease_s,
            work=work,
            on_change=lambda is_held, chain=chain: changed(chain, is_held),
        )
        for chain, role in LANES
    ]
    failures: list[str] = []
    share = run_agent(
        Sharer(store, owner, tenures),
        Bell(),
        idle_s=lease_s / 3,
        on_failure=lambda _, kind: failures.append(kind),
    )
    tasks = [asyncio.create_task(job) for job in (*(one.run() for one in tenures), share)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.withdraw(owner)
    assert failures == []


async def _until(is_so: Callable[[], bool], within_s: float = 20.0) -> None:
    """Wait for other tasks to have brought something about."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 - tenures ring no bell
            await asyncio.sleep(0.02)
