"""Leases and their fencing tokens, on a real server and a real cluster."""

from __future__ import annotations

import pytest
import structlog

from relayer.message import ChainId
from relayer.settings import RedisSettings
from relayer.store import Role, Store
from relayer.store.keys import base
from tests.redis.conftest import Clock, held
from tests.redis.sample_facts import ONE, TEN, message

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


@pytest.mark.parametrize(
    "garbage", [b"x", b"", b"-1", b"1e9", b"9" * 40, b"\xff", b"9007199254740992", None]
)
@pytest.mark.parametrize("role", [Role.LANE, Role.FOLLOWER])
async def test_a_fence_that_is_none_jams_no_chain(
    store: Store, settings: RedisSettings, role: Role, garbage: bytes | None
) -> None:
    """The next token is larger than any that is known anywhere, and the log names the key."""
    first = await held(store, 10, role)
    key = f"{base(settings.prefix, TEN)}fence:{role.value}"
    ahead = first.token + 10**9
    await store.command("HSET", base(settings.prefix, ONE) + "origins", TEN, ahead)
    await store.release(first)
    await store.command("DEL", key)
    if garbage is None:
        await store.command("RPUSH", key, "another type")
    else:
        await store.command("SET", key, garbage)
    await held(store, 1, Role.FOLLOWER)
    with structlog.testing.capture_logs() as lines:
        fresh = await held(store, 10, role, "two")
        assert fresh.token > (ahead if role is Role.FOLLOWER else first.token)
        await store.release(fresh)
        assert (await held(store, 10, role)).token > fresh.token
    assert [line["key"] for line in lines if line["event"] == "stored_garbage"] == [key]


async def test_a_token_remembered_elsewhere_shuts_no_follower_out(
    store: Store, settings: RedisSettings
) -> None:
    """Another slot has seen a higher token than this one remembers: it is passed, not met."""
    ahead = 2**52
    await store.save_facts(await held(store, 10, Role.FOLLOWER), [])
    await store.command("HSET", base(settings.prefix, TEN) + "origins", ONE, ahead)
    follower = await held(store, 1, Role.FOLLOWER)
    assert follower.token == ahead + 1
    await store.save_facts(follower, [message(1)])
    await store.command("HSET", base(settings.prefix, TEN) + "origins", ONE, "x")
    await store.save_facts(follower, [message(2)])
    assert (
        await store.command("HGET", base(settings.prefix, TEN) + "origins", ONE)
        == str(follower.token).encode()
    )


async def test_a_sick_slot_keeps_nobody_from_another_chain(
    store: Store, settings: RedisSettings
) -> None:
    """What another chain's slot remembers is asked, and not waited for."""
    await held(store, 10, Role.FOLLOWER)
    await store.command("SET", base(settings.prefix, TEN) + "origins", "x")
    await held(store, 1, Role.FOLLOWER)


@pytest.mark.parametrize("garbage", [True, False])
async def test_a_lease_without_an_end_is_given_one(
    store: Store, settings: RedisSettings, garbage: bool
) -> None:
    """No holder of ours leaves it like that: a living one renews it, else it runs out."""
    key = base(settings.prefix, TEN) + "lease:lane"
    mine = await held(store, 10, Role.LANE)
    await store.command(*(("SET", key, "x") if garbage else ("PERSIST", key)))
    assert await store.acquire(TEN, Role.LANE, "two") is None
    assert 0 < await store.command("PTTL", key) <= settings.lease_s * 1000
    assert await store.renew(mine) is not garbage
    await store.command("PEXPIRE", key, 0)
    await held(store, 10, Role.LANE, "two")


async def test_chains_are_remembered(store: Store) -> None:
    """A reader without configuration finds every chain that has keys."""
    await held(store, 42, Role.LANE)
    assert ChainId(42) in await store.chains()
