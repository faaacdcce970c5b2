"""A store on a single server and on a three-node cluster: every test runs on both."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from relayer.message import ChainId
from relayer.settings import RedisSettings
from relayer.store import Lease, Role, Store
from tests.redis import servers
from tests.redis.servers import Server

_numbers = itertools.count()


class Clock:
    """Time that only moves when a test moves it."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


@dataclass(frozen=True, slots=True)
class Leases:
    """The follower of chain 1 and the lane of chain 10, held by the test."""

    follower: Lease
    lane: Lease
    far: Lease
    """The follower of chain 10, which sees deliveries."""


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.single(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.cluster(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture(params=["single", "cluster"])
def server(request: pytest.FixtureRequest) -> Server:
    name = "redis_server" if request.param == "single" else "redis_cluster"
    found: Server = request.getfixturevalue(name)
    return found


@pytest.fixture
def settings(server: Server) -> RedisSettings:
    """A prefix of its own for every test, so that servers can be shared.

    Nobody renews the leases of a test: they must outlast it on a machine that is busy with others.
    """
    return RedisSettings(
        url=SecretStr(server.url),
        cluster=server.cluster,
        prefix=f"t{next(_numbers)}",
        lease_s=300,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(settings: RedisSettings, clock: Clock) -> AsyncIterator[Store]:
    opened = await Store.open(settings, "unused", clock)
    try:
        yield opened
    finally:
        await opened.aclose()


@pytest.fixture
async def leases(store: Store) -> Leases:
    return Leases(
        follower=await held(store, 1, Role.FOLLOWER),
        lane=await held(store, 10, Role.LANE),
        far=await held(store, 10, Role.FOLLOWER),
    )


@pytest.fixture
async def lease(store: Store) -> Lease:
    """The follower's of chain 7, which worlds of one follower are about."""
    return await held(store, 7, Role.FOLLOWER)


async def held(store: Store, chain: int, role: Role, owner: str = "one") -> Lease:
    """Take a lease that nobody holds."""
    lease = await store.acquire(ChainId(chain), role, owner)
    assert lease is not None
    return lease
