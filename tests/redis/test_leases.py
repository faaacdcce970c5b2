"""Leases and their fencing tokens, on a real server and a real cluster."""

from __future__ import annotations

import pytest

from relayer.message import ChainId
from relayer.settings import RedisSettings
from relayer.store import Role, Store
from relayer.store.keys import base
from tests.redis.conftest import Clock, held
from tests.redis.sample_facts import TEN

pytestmark = pytest.mark.redis


async def test_one_owner_at_a_time(store: Store) -> None:
    """Nobody else, not even the same name, gets a lease that is held; roles are separate."""
    lane = await held(store, 10, Role.LANE)
    assert await store.acquire(TEN, Role.LANE, "two") is None
    assert await store.acquire(TEN, Role.LANE, "one") is None
    await held(store, 10, Role.FOLLOWER, "two")
    assert await store.renew(lane)
    await store.release(lane)
    assert not await store.renew(lane)
    await held(store, 10, Role.LANE, "two")


async def test_a_late_release_does_not_free_anothers_lease(store: Store) -> None:
    """A dead owner that wakes up cannot give away what it lost."""
    lane = await held(store, 10, Role.LANE)
    await store.release(lane)
    fresh = await held(store, 10, Role.LANE, "two")
    await store.release(lane)
    assert await store.renew(fresh)


async def test_a_lease_runs_out(store: Store, settings: RedisSettings) -> None:
    """Redis itself ends it, after the time that was asked for."""
    lane = await held(store, 10, Role.LANE)
    key = base(settings.prefix, TEN) + "lease:lane"
    left_ms = await store.command("PTTL", key)
    assert 0 < left_ms <= settings.lease_s * 1000
    await store.command("PEXPIRE", key, 0)
    assert not await store.renew(lane)
    assert (await held(store, 10, Role.LANE, "two")).token > lane.token


async def test_tokens_grow_though_the_server_lost_its_data(
    store: Store, settings: RedisSettings, clock: Clock
) -> None:
    """A counter that starts again from zero would let fenced-off owners write."""
    lane = await held(store, 10, Role.LANE)
    for name in ("lease:lane", "fence:lane"):
        await store.command("DEL", base(settings.prefix, TEN) + name)
    assert (await held(store, 10, Role.LANE, "two")).token > lane.token


async def test_chains_are_remembered(store: Store) -> None:
    """A reader without configuration finds every chain that has keys."""
    await held(store, 42, Role.LANE)
    assert ChainId(42) in await store.chains()
