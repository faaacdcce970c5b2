"""The one reader of events: who joins while it reads is told everything once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry

from relayer.message import ChainId, Event, EventPage, Reason, Status, TxHash
from relayer.ops.api import ApiMetrics, Limits
from relayer.ops.api.limits import Limiter
from relayer.ops.api.places import place_text
from relayer.ops.api.tail import EVENTS_PER_TOKEN, QUEUE, REPLAYED_AT_ONCE, Listener, Tail
from relayer.ops.api.turns import Turns
from relayer.ops.web import Refused
from tests.unit.sample_records import NOON, ROUTE, id_of, tx_of

TEN, TWENTY = ChainId(10), ChainId(20)


class Stream:
    """A store of events in the hands of the test; reading a chain can be held up."""

    def __init__(self) -> None:
        self.last = {TEN: 100, TWENTY: 200}
        self.held: dict[ChainId, asyncio.Event] = {}
        self.reached = asyncio.Event()
        self.read: list[int] = []
        """Behind which number, each time that events were read."""

    async def chains(self) -> Sequence[ChainId]:
        return [TEN, TWENTY]

    async def events(self, chain: ChainId, after: int | None, /, *, limit: int) -> EventPage:
        if after is not None and chain in self.held:
            self.reached.set()
            await self.held[chain].wait()
        if after is not None:
            self.read.append(after)
        last = self.last[chain]
        start = last if after is None else after
        found = tuple(_event(chain, number) for number in range(start + 1, last + 1)[:limit])
        upto = found[-1].number if found else start
        return EventPage(found, start=start, upto=upto, newest=last, missed=0)


def _event(chain: ChainId, number: int) -> Event:
    return Event(
        chain, number, NOON, id_of(number), ROUTE, Status.WAITING, Reason.NEW, tx_of(1), TxHash("")
    )


class Day:
    """Time in the hands of the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def tail_of(stream: Stream, *, most: int = 10, limiter: Limiter | None = None) -> Tail:
    metrics = ApiMetrics(CollectorRegistry())
    rich = limiter or Limiter(Limits(burst=10**6), metrics, Day())
    turns = Turns(later=lambda _, call: call())  # nobody here asks how long a rest is
    return Tail(stream, metrics, rich, turns, most=most, most_per_client=most)


async def frames(listener: Listener) -> list[bytes]:
    """What waits for a listener."""
    found = []
    while not listener.is_told_all:
        found.append(await listener.next(1) or b"")
    return found


async def test_who_joins_during_a_reading_gets_nothing_twice() -> None:
    """What that reading hands out lies before the place it joins at, so it is not queued too."""
    stream = Stream()
    tail = tail_of(stream)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        first = await stack.enter_async_context(tail.join("a", lambda _: True))
        stream.last[TEN] = 101
        stream.held[TWENTY] = asyncio.Event()
        reading = group.create_task(tail.tick())
        await stream.reached.wait()
        joining = group.create_task(stack.enter_async_context(tail.join("b", lambda _: True)))
        await asyncio.sleep(0)
        stream.last[TWENTY] = 201
        stream.held.pop(TWENTY).set()
        await reading
        second = await joining
        assert second.joined == {TEN: 101, TWENTY: 201}
        assert len(await frames(first)) == 2
        assert await frames(second) == []
        stream.last[TEN] = 102
        await tail.tick()
        assert len(await frames(second)) == 1


async def test_catching_up_ends_though_the_store_lost_its_events() -> None:
    """Wiped between joining and catching up: what is left is told, and nobody waits for more."""
    stream = Stream()
    tail = tail_of(stream)
    async with tail.join("a", lambda _: True) as listener:
        stream.last = {TEN: 50, TWENTY: 200}
        places = {TEN: 40, TWENTY: 198}
        async with asyncio.timeout(5):
            told = [frame async for frame in tail.missed(listener, places)]
    assert b"".join(told).count(b"data:") == 12
    assert places == {TEN: 100, TWENTY: 200}


async def test_nothing_is_read_for_one_who_has_left() -> None:
    """A replay ends with the page under way, though nothing in it was to be sent."""
    stream = Stream()
    stream.last[TEN] = 40 * REPLAYED_AT_ONCE
    tail = tail_of(stream)
    here = [True, True, False]
    async with tail.join("a", lambda _: False, lambda: here.pop(0)) as listener:
        told = [frame async for frame in tail.missed(listener, {})]
    assert stream.read == [0, REPLAYED_AT_ONCE]
    assert len(told) == 2
    assert listener.is_over


async def test_what_a_replay_has_passed_is_told_though_nothing_matches() -> None:
    """Cut off, it goes on from there and does not begin anew."""
    stream = Stream()
    stream.last = {TEN: 2 * REPLAYED_AT_ONCE, TWENTY: 0}
    tail = tail_of(stream)
    async with tail.join("a", lambda _: False) as listener:
        told = [frame async for frame in tail.missed(listener, {})]
    passed = [place_text({TEN: REPLAYED_AT_ONCE}), place_text({TEN: 2 * REPLAYED_AT_ONCE})]
    assert told == [f": alive\nid: {place}\n\n".encode() for place in passed]


async def test_a_replay_is_paid_for_with_what_other_requests_leave() -> None:
    """It waits while half the bucket is not there, and a request in between is not refused."""
    stream, day = Stream(), Day()
    stream.last = {TEN: 4 * REPLAYED_AT_ONCE, TWENTY: 0}
    limits = Limits(burst=4 * REPLAYED_AT_ONCE // EVENTS_PER_TOKEN)
    limiter = Limiter(limits, ApiMetrics(CollectorRegistry()), day)
    tail = tail_of(stream, limiter=limiter)

    async def replay(listener: Listener) -> None:
        async for _ in tail.missed(listener, {}):
            pass

    async with tail.join("a", lambda _: False) as listener:
        replaying = asyncio.create_task(replay(listener))
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(stream.read) == 3  # half a bucket is enough to begin the next page
        limiter.charge("a", 1)
        day.now += 60
        async with asyncio.timeout(5):
            await replaying
    assert len(stream.read) == 4


async def test_who_has_left_gives_its_place_back_at_the_next_look() -> None:
    """Nothing need happen for that, and the others hear on."""
    stream, here = Stream(), [True]
    tail = tail_of(stream)
    async with (
        tail.join("a", lambda _: True, lambda: here[0]) as leaving,
        tail.join("b", lambda _: True) as staying,
    ):
        await tail.tick()
        assert not leaving.is_over
        here[0] = False
        stream.last[TEN] += 1
        await tail.tick()
        assert leaving.is_over
        assert await leaving.next(1) is None
        assert len(await frames(staying)) == 1


async def test_a_full_queue_ends_its_listener_alone() -> None:
    """The slow one is over; the others hear on."""
    stream = Stream()
    tail = tail_of(stream)
    async with tail.join("a", lambda _: True) as slow, tail.join("b", lambda _: True) as quick:
        heard = 0
        for _ in range(3):
            stream.last[TEN] += QUEUE // 2
            while await tail.tick():
                pass
            heard += len(await frames(quick))
        assert slow.is_over
        assert await slow.next(1) is None
        assert heard == QUEUE // 2 * 3


async def test_nobody_joins_a_tail_that_is_closed_or_full() -> None:
    """Places are counted from the moment somebody asks."""
    tail = tail_of(Stream(), most=1)
    async with tail.join("a", lambda _: True) as listener:
        with pytest.raises(Refused, match="too many"):
            await tail.join("b", lambda _: True).__aenter__()
        tail.close()
        assert await listener.next(1) is None
    with pytest.raises(Refused, match="too many"):
        await tail.join("a", lambda _: True).__aenter__()
