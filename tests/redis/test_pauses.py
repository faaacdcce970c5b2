"""What operators pause stays paused until it is resumed, for every replica."""

from __future__ import annotations

from dataclasses import replace

import pytest
import structlog

from relayer.acts import Pause, PauseKind, Target
from relayer.errors import IllegalTransition, SchemaMismatch
from relayer.message import Route, Timestamp
from relayer.settings import RedisSettings
from relayer.store import Store
from relayer.store.keys import META, base
from relayer.store.pauses import MOST_PAUSES
from tests.redis.conftest import Clock
from tests.redis.sample_facts import BRIDGE, ONE, TEN

pytestmark = pytest.mark.redis

ROUTE = Target.route(Route(BRIDGE, ONE, TEN))
PAUSE = Pause(ROUTE, "ops", 'a "quoted" why|with marks', Timestamp(1_700_000_000.5))


async def test_a_pause_outlives_the_process_and_is_seen_by_others(
    store: Store, settings: RedisSettings, clock: Clock
) -> None:
    """A second replica reads what the first was told, and resuming is seen by both."""
    lane = replace(PAUSE, target=Target.lane(TEN))
    assert await store.pause(PAUSE) == PAUSE
    await store.pause(lane)
    other = await Store.open(settings, "unused", clock)
    try:
        assert await other.pauses() == [lane, PAUSE]
        assert await other.resume(ROUTE)
        assert await store.pauses() == [lane]
        assert not await store.resume(ROUTE)
    finally:
        await other.aclose()


async def test_pausing_twice_keeps_the_first_word(store: Store) -> None:
    """Who paused it, why and since when is not written over by a later pause."""
    await store.pause(PAUSE)
    later = replace(PAUSE, who="somebody", why="else", since=Timestamp(PAUSE.since + 9))
    assert await store.pause(later) == PAUSE
    assert await store.pauses() == [PAUSE]


async def test_pauses_are_bounded(store: Store) -> None:
    """A script that pauses without end is told so; resuming makes room."""
    key = base(store._prefix, META) + "pauses"
    text = '["ops", "", "1.0"]'
    for number in range(MOST_PAUSES):
        await store.command("HSET", key, f"chain {number}", text)
    with pytest.raises(IllegalTransition, match="resume some"):
        await store.pause(PAUSE)
    await store.resume(Target(PauseKind.CHAIN, "0"))
    assert await store.pause(PAUSE) == PAUSE


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chain 1", "soon"),
        ("chain 1", '["ops"]'),
        ("chain 1", "[1, 2, [3]]"),
        ("Chain 1", '["ops", "", "1.0"]'),
        ("chain one", '["ops", "", "1.0"]'),
        ("chain 1", "7"),
    ],
)
async def test_garbage_is_named(store: Store, name: str, text: str) -> None:
    """A key that somebody else wrote is an error that names the key."""
    await store.command("HSET", base(store._prefix, META) + "pauses", name, text)
    with pytest.raises(SchemaMismatch, match="pauses"):
        await store.pauses()


async def test_what_a_newer_release_pauses_is_left_out_and_told(store: Store) -> None:
    """It must not hide what this release can stop, and stays for whoever knows it."""
    await store.command("HSET", base(store._prefix, META) + "pauses", "planet 1", '["x", "", "1"]')
    await store.pause(PAUSE)
    with structlog.testing.capture_logs() as logs:
        assert await store.pauses() == [PAUSE]
        assert await store.pauses() == [PAUSE]
    assert [(line["event"], line["kinds"]) for line in logs] == [("pauses_unknown", ["planet"])]
