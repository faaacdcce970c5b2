"""Server-sent events over real HTTP: resumed, filtered, bounded, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import aiohttp
import pytest
from redis import Redis
from redis.cluster import RedisCluster

from relayer.message import ChainId, EventPage
from relayer.ops.api import Limits, models
from relayer.ops.api.places import place_text, places_in
from relayer.ops.api.tail import REPLAYED_AT_ONCE
from relayer.settings import RedisSettings
from relayer.store import Store
from relayer.store.keys import base
from tests.redis.api_world import ROUTE, Served, serving
from tests.redis.conftest import Leases
from tests.redis.sample_facts import TEN, delivery, id_of, message, tx_of
from tests.redis.servers import Server

pytestmark = pytest.mark.redis


class Ear:
    """A client of events that remembers its last id, as browsers do."""

    def __init__(self) -> None:
        self.last_id = ""
        self.answer: aiohttp.ClientResponse | None = None

    @contextlib.asynccontextmanager
    async def listening(self, api: Served, query: str = "") -> AsyncIterator[Ear]:
        """Connect, and wait until we are heard."""
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        async with api.session.get(f"/v1/events{query}", headers=headers) as self.answer:
            assert self.answer.status == 200
            assert self.answer.content_type == "text/event-stream"
            yield self

    async def frame(self) -> tuple[str, Any]:
        """The next frame: its kind (`alive`, `message`, `reset`, `end`) and its data."""
        assert self.answer is not None
        kind, told = "message", None
        async with asyncio.timeout(20):
            while line := (await self.answer.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    told = json.loads(value)
                elif line == "\n":
                    return (kind, told) if told is not None else ("alive", None)
        return "end", None

    async def told(self, count: int) -> list[tuple[int, str]]:
        """The next events as (message number, status), heartbeats skipped."""
        found: list[tuple[int, str]] = []
        while len(found) < count:
            kind, event = await self.frame()
            if kind == "message":
                models.Event.model_validate(event, extra="forbid")
                found.append((int(event["id"], 16), event["status"]))
            else:
                assert kind == "alive"
        return found

    async def alive(self) -> None:
        """Wait for the first heartbeat: from here on everything is told."""
        assert await self.frame() == ("alive", None)


async def all_gone(api: Served) -> None:
    """Wait until the server has noticed that nobody listens any more."""
    async with asyncio.timeout(10):
        while api.value("event_subscribers"):  # noqa: ASYNC110 - it happens on the server's side
            await asyncio.sleep(0.01)


async def test_what_happens_is_told_as_it_happens(store: Store, leases: Leases) -> None:
    """Events of two chains, in their order, each with the shape that is promised."""
    async with serving(store) as api, Ear().listening(api) as ear:
        await ear.alive()
        await store.save_facts(leases.follower, [message(1), message(2, to=20)])
        await store.hold(id_of(1))
        await store.save_facts(leases.far, [delivery(1)])
        told = await ear.told(4)
        assert [status for number, status in told if number == 1] == [
            "waiting", "held", "delivered",
        ]  # fmt: skip
        assert (2, "waiting") in told
        assert api.value("event_subscribers") == 1


async def test_a_killed_connection_loses_nothing(store: Store, leases: Leases) -> None:
    """Cut off in the middle, away while things happen, back on another replica: each event once."""
    ear = Ear()
    await store.save_facts(leases.follower, [message(0, to=20)])
    async with serving(store) as first:
        async with ear.listening(first):
            await ear.alive()
            await store.save_facts(leases.follower, [message(n) for n in range(1, 11)])
            told = await ear.told(4)
            assert ear.answer is not None
            assert ear.answer.connection is not None
            assert ear.answer.connection.transport is not None
            ear.answer.connection.transport.abort()
        await store.save_facts(leases.follower, [message(n, to=20) for n in range(11, 15)])
    async with serving(store) as second, ear.listening(second):
        told += await ear.told(10)
        await store.save_facts(leases.follower, [message(15)])
        told += await ear.told(1)
    assert sorted(told) == [(n, "waiting") for n in range(1, 16)]


async def test_a_long_absence_is_caught_up_in_pages(store: Store, leases: Leases) -> None:
    """More than one page of events behind, while new ones come in."""
    ear = Ear()
    async with serving(store) as api:
        async with ear.listening(api):
            await ear.alive()
        for start in range(0, 1200, 400):
            facts = [message(n) for n in range(start, start + 400)]
            await store.save_facts(leases.follower, facts)
        async with ear.listening(api):
            await store.save_facts(leases.follower, [message(1200)])
            told = await ear.told(1201)
    assert [number for number, _ in told] == list(range(1201))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"?id={id_of(2)}", [2, 2]),
        (f"?id={id_of(2)}&status=held", [2]),
        (f"?tx={tx_of(3)}", [3]),
        (f"?route={str(ROUTE).replace('>', '%3E')}&status=waiting", [1, 2, 3]),
    ],
)
async def test_filters(store: Store, leases: Leases, query: str, expected: list[int]) -> None:
    """Only what was asked for; the place moves on over the rest all the same."""
    async with serving(store, heartbeat_s=0.05) as api, Ear().listening(api, query) as ear:
        await ear.alive()
        facts = [message(n) for n in (1, 2, 3)]
        await store.save_facts(leases.follower, [*facts, message(4, to=20)])
        await store.hold(id_of(2))
        assert [number for number, _ in await ear.told(len(expected))] == expected
        newest = (await store.events(TEN, None)).newest
        while places_in(ear.last_id)[TEN] < newest:
            assert (await ear.frame())[0] == "alive"


async def test_whoever_is_too_far_behind_is_told_so(
    store: Store, leases: Leases, server: Server, settings: RedisSettings
) -> None:
    """A reset with how many were lost, then what is still there; ids nobody made likewise."""
    await store.save_facts(leases.follower, [message(n) for n in range(10)])
    first = (await store.events(TEN, 0)).events[0].number
    kind = RedisCluster if server.cluster else Redis
    with kind.from_url(server.url) as client:
        client.xtrim(f"{base(settings.prefix, TEN)}events", maxlen=3, approximate=False)
    async with serving(store) as api:
        ear = Ear()
        ear.last_id = place_text({TEN: first})
        async with ear.listening(api):
            assert await ear.frame() == ("reset", {"missed": 6})
            assert [number for number, _ in await ear.told(3)] == [7, 8, 9]
        foreign = place_text({ChainId(4242): 17})
        for odd in ("garbage", place_text({TEN: first + 10**9}), "x" * 5000, foreign):
            ear.last_id = odd
            async with ear.listening(api):
                assert await ear.frame() == ("reset", {"missed": None})
        for forged in (1, first - 10**6):
            ear.last_id = place_text({TEN: forged})
            async with ear.listening(api):
                assert await ear.frame() == ("reset", {"missed": None})
                assert [number for number, _ in await ear.told(3)] == [7, 8, 9]
        async with ear.listening(api, f"?after={place_text({TEN: first + 7})}"):
            assert [number for number, _ in await ear.told(2)] == [8, 9]


async def test_who_came_before_the_first_event_is_told_it(store: Store, leases: Leases) -> None:
    """The id of a time without any event is a place like others."""
    ear = Ear()
    async with serving(store) as api:
        async with ear.listening(api):
            await ear.alive()
        await store.save_facts(leases.follower, [message(1)])
        for asked in ("", "?after=-"):
            async with ear.listening(api, asked):
                assert await ear.told(1) == [(1, "waiting")]


async def test_listeners_are_bounded_in_all_and_each(store: Store) -> None:
    """The next one is told to come back; a place that is left is free."""
    limits = Limits(rate_per_s=1e6, burst=10**6, subscribers=2, subscribers_per_client=2)
    async with serving(store, limits=limits, heartbeat_s=0.05) as api:
        async with Ear().listening(api) as one, Ear().listening(api) as two:
            await one.alive()
            await two.alive()
            assert (await api.ask("/v1/events"))[0] == 503
            assert api.value("event_subscribers_dropped_total", cause="too_many") == 1
        await all_gone(api)
        async with Ear().listening(api) as three:
            await three.alive()


async def test_a_slow_client_is_dropped_and_the_others_are_not(
    store: Store, leases: Leases
) -> None:
    """Who does not read is cut off once its queue is full, and may come back for the rest."""
    async with serving(store) as api:
        host, port = api.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b": alive")
        async with Ear().listening(api) as quick:
            await quick.alive()
            for start in range(0, 40_000, 500):
                facts = [message(n) for n in range(start, start + 500)]
                await store.save_facts(leases.follower, facts)
                await quick.told(500)
                if api.value("event_subscribers_dropped_total", cause="too_slow"):
                    break
            assert api.value("event_subscribers_dropped_total", cause="too_slow") == 1
        writer.close()


class Counted:
    """A store that counts the pages it is asked for by replays."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.replayed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def events(self, chain: ChainId, after: int | None, *, limit: int) -> EventPage:
        self.replayed += limit == REPLAYED_AT_ONCE
        return await self._store.events(chain, after, limit=limit)


PAGES = 10


@pytest.fixture
async def counted(store: Store, leases: Leases) -> Counted:
    """With so many pages of events that a replay has to read."""
    for start in range(0, PAGES * REPLAYED_AT_ONCE, 500):
        await store.save_facts(leases.follower, [message(n) for n in range(start, start + 500)])
    return Counted(store)


NOTHING = f"?after=-&id={id_of(10**6)}"
"""Everything is read for it, and nothing is sent."""


async def test_a_replay_ends_with_its_client(counted: Counted) -> None:
    """Of all that is kept no more is read once the client has gone."""
    async with serving(counted) as api:  # type: ignore[arg-type]
        async with Ear().listening(api, NOTHING):
            pass
        await all_gone(api)
        assert counted.replayed < PAGES
        async with Ear().listening(api, NOTHING) as ear:
            for _ in range(PAGES + 1):
                await ear.alive()
        assert counted.replayed >= PAGES


async def test_replays_leave_room_for_others(counted: Counted) -> None:
    """However many one client has under way: another's list waits for two pages of them at most."""
    limits = Limits(rate_per_s=1e6, burst=10**6, trusted_proxies=[ip_network("127.0.0.0/8")])
    async with (
        serving(counted, limits=limits) as api,  # type: ignore[arg-type]
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(5):
            await stack.enter_async_context(Ear().listening(api, NOTHING))
        before = counted.replayed
        status, _ = await api.ask("/v1/messages?limit=1", **{"X-Forwarded-For": "192.0.2.1"})
        assert status == 200
        assert counted.replayed - before <= 3


async def test_a_place_is_free_once_its_listener_has_left(store: Store) -> None:
    """Before anything is to be told: a heartbeat is an hour away."""
    limits = Limits(rate_per_s=1e6, burst=10**6, subscribers=1, subscribers_per_client=1)
    async with serving(store, limits=limits, heartbeat_s=3600) as api:
        for _ in range(3):
            async with Ear().listening(api) as ear:
                await ear.alive()
            await all_gone(api)


async def test_everybody_is_sent_away_when_we_stop(store: Store) -> None:
    """A stop does not wait for listeners; the stream ends in order."""
    ear = Ear()
    async with asyncio.TaskGroup() as group:
        ended: asyncio.Task[tuple[str, Any]] | None = None
        async with serving(store) as api:
            held = contextlib.AsyncExitStack()
            session = await held.enter_async_context(aiohttp.ClientSession(api.url))
            other = Served(session, api.url, api.metrics, api.network)
            await held.enter_async_context(ear.listening(other))
            await ear.alive()
            ended = group.create_task(ear.frame())
        assert await ended == ("end", None)
        await held.aclose()


async def test_nothing_is_read_while_nobody_listens(store: Store) -> None:
    """An idle API costs Redis nothing; a hundred listeners cost as much as one."""
    async with serving(store, heartbeat_s=0.05) as api:
        before = store.round_trips
        await asyncio.sleep(0.1)
        assert store.round_trips == before
        async with Ear().listening(api) as ear:
            await ear.alive()
        await all_gone(api)
        before = store.round_trips
        await asyncio.sleep(0.1)
        assert store.round_trips <= before + 2


def test_places_are_read_back() -> None:
    """Every id we make is one we understand; anything else is refused."""
    for places in ({}, {TEN: 0}, {TEN: 2**52, 1: 7}):
        assert places_in(place_text(places)) == places  # type: ignore[arg-type]
    for odd in ("", "a", "AAAA", "=", "é", place_text({TEN: 1}) + "A"):
        with pytest.raises(ValueError, match="no event's id"):
            places_in(odd)
