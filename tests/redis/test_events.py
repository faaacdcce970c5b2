"""Events are written with the transitions they tell, numbered without holes, and bounded."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from relayer.adapter import Wait
from relayer.errors import LeaseLost
from relayer.message import ChainId, Reason, Route, Status, Where
from relayer.settings import RedisSettings
from relayer.store import Lease, Role, Store
from relayer.store.events import EVENTS_KEPT
from relayer.store.keys import base
from tests.redis.conftest import Clock, Leases
from tests.redis.sample_facts import BRIDGE, ONE, TEN, TWENTY, delivery, id_of, message, tx_of
from tests.redis.servers import Server

pytestmark = pytest.mark.redis


def plain_client(server: Server) -> Redis:
    """A client that knows nothing of the store."""
    kind = RedisCluster if server.cluster else Redis
    client: Redis = kind.from_url(server.url)
    return client


async def test_every_line_of_the_timeline_is_an_event(store: Store, leases: Leases) -> None:
    """A walk by us: what the events say is what the timeline says, in order."""
    start = await store.events(TEN, None)
    await store.save_facts(leases.follower, [message(1)])
    await store.note_waits(leases.lane, [(id_of(1), Wait(Reason.AWAITING_ROOT))])
    await store.note_waits(leases.lane, [(id_of(1), Wait(Reason.AWAITING_ROOT))])
    await store.note_ready(leases.lane, [id_of(1)])
    await store.note_included(leases.lane, [(id_of(1), 500, tx_of(7), True, "")])
    await store.save_facts(leases.far, [delivery(1, tx=7)])
    page = await store.events(TEN, start.newest)
    record = await store.get(id_of(1))
    assert record is not None
    told = [(event.at, event.status, event.reason) for event in page.events]
    assert told == [(moment.at, moment.status, moment.reason) for moment in record.timeline]
    assert [event.status for event in page.events][-2:] == [Status.INCLUDED, Status.DELIVERED]
    last = page.events[-1]
    assert (last.id, last.route, last.origin_tx, last.tx) == (
        id_of(1), Route(BRIDGE, ONE, TEN), tx_of(1), tx_of(7),
    )  # fmt: skip
    numbers = [event.number for event in page.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert (page.newest, page.missed) == (numbers[-1], 0)


async def test_what_is_refused_tells_nothing(store: Store, leases: Leases) -> None:
    """No event without its transition: a lost lease, and a message that moved on."""
    await store.save_facts(leases.follower, [message(1)])
    await store.hold(id_of(1))
    before = await store.events(TEN, None)
    stranger = Lease(TEN, Role.LANE, "stranger", 99)
    with pytest.raises(LeaseLost):
        await store.note_ready(stranger, [id_of(1)])
    assert await store.note_ready(leases.lane, [id_of(1)]) == [id_of(1)]
    assert await store.events(TEN, before.newest) == before


async def test_events_are_read_in_pages_and_by_chain(store: Store, leases: Leases) -> None:
    """Each chain has its own numbers; a page goes on where the one before ended."""
    await store.save_facts(leases.follower, [message(n, to=10 + n % 2 * 10) for n in range(20)])
    first = await store.events(TWENTY, 0, limit=6)
    rest = await store.events(TWENTY, first.events[-1].number, limit=6)
    assert [len(first.events), len(rest.events)] == [6, 4]
    assert {event.chain for event in (*first.events, *rest.events)} == {TWENTY}
    assert (await store.events(ChainId(99), 0)).newest == 0


async def test_what_was_trimmed_is_missed_by_number(
    store: Store, leases: Leases, server: Server, settings: RedisSettings
) -> None:
    """A reader behind the oldest kept event is told how many it missed."""
    await store.save_facts(leases.follower, [message(n) for n in range(10)])
    first = (await store.events(TEN, 0)).events[0].number
    with plain_client(server) as client:
        client.xtrim(f"{base(settings.prefix, TEN)}events", maxlen=3, approximate=False)
    page = await store.events(TEN, first)
    assert (len(page.events), page.missed) == (3, 6)
    assert (await store.events(TEN, page.newest)).missed == 0
    assert (await store.events(TEN, first - 1)).missed == 7
    for made_up in (1, first - 2):
        assert (await store.events(TEN, made_up)).missed == -1


async def test_a_store_that_lost_its_events_is_noticed(
    store: Store, leases: Leases, server: Server, settings: RedisSettings
) -> None:
    """Numbers of a wiped store are no numbers of the new one, in either direction."""
    await store.save_facts(leases.follower, [message(1)])
    old = (await store.events(TEN, None)).newest
    with plain_client(server) as client:
        for name in ("events", "event_count", "event_start", f"message:{id_of(1)}"):
            client.delete(base(settings.prefix, TEN) + name)
    assert (await store.events(TEN, old)).missed == -1
    await store.save_facts(leases.follower, [message(1), message(2)])
    assert (await store.events(TEN, old)).missed == -1
    assert (await store.events(TEN, old + 10**9)).missed == -1


async def test_a_damaged_stream_does_not_stop_messages(
    store: Store, leases: Leases, server: Server, settings: RedisSettings
) -> None:
    """Somebody puts something else under the key: transitions go on and events start again."""
    await store.save_facts(leases.follower, [message(1)])
    key = base(settings.prefix, TEN) + "events"
    with plain_client(server) as client:
        client.delete(key)
        client.set(key, "garbage")
    assert (await store.hold(id_of(1))).status is Status.HELD
    newest = (await store.events(TEN, None)).newest
    assert [event.status for event in (await store.events(TEN, newest - 1)).events] == ["held"]


async def test_the_stream_is_bounded(
    store: Store, leases: Leases, server: Server, settings: RedisSettings
) -> None:
    """About the newest 10 000 events of a chain are kept, whatever happens."""
    await store.save_facts(leases.follower, [message(n) for n in range(100)])
    ids = [id_of(n) for n in range(100)]
    for turn in range(65):
        reason = Reason.AWAITING_ROOT if turn % 2 else Reason.AWAITING_TIME
        await store.note_waits(leases.lane, [(mid, Wait(reason)) for mid in ids])
        await store.note_ready(leases.lane, ids)
    with plain_client(server) as client:
        kept = client.xlen(base(settings.prefix, TEN) + "events")
    assert EVENTS_KEPT <= kept < EVENTS_KEPT + 200
    assert (await store.events(TEN, 0)).missed == -1


async def test_our_delivery_times_are_kept_by_route(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Only our own deliveries count, the newest 512 of them; the oldest pending one is told."""
    route = Route(BRIDGE, ONE, TEN)
    for start in range(0, 600, 100):
        await store.save_facts(leases.follower, [message(n) for n in range(start, start + 100)])
        rows = [(id_of(n), 500, tx_of(7), True, "") for n in range(start, start + 100)]
        await store.note_included(leases.lane, rows)
        clock.time += 1 + start
        await store.note_delivered(leases.lane, rows)
    await store.save_facts(leases.follower, [message(700), message(701)])
    seen_at = clock.time
    clock.time += 9
    await store.save_facts(leases.far, [delivery(700)])
    state = (await store.route_states(TEN))[route]
    assert (len(state.times_s), state.times_s[0]) == (512, 501.0)
    assert 9.0 not in state.times_s
    assert state.oldest_pending == seen_at


async def test_lists_filter_by_ends_and_parties(store: Store, leases: Leases, clock: Clock) -> None:
    """Bridge, origin, destination, sender and recipient narrow a list; order can be turned."""
    far = [message(n, to=20, bridge="slow") for n in range(300, 303)]
    await store.save_facts(leases.follower, [message(n) for n in range(250)])
    clock.time += 1
    await store.save_facts(leases.follower, far)
    slow = await store.list(where=Where(bridge=far[0].message.route.bridge))
    assert {record.id for record in slow.records} == {id_of(n) for n in range(300, 303)}
    assert len((await store.list(where=Where(destination=TWENTY))).records) == 3
    assert (await store.list(where=Where(origin=TEN))).records == ()
    assert (await store.list(where=Where(sender="0x" + "00" * 12 + "AA" * 20), limit=1)).records
    assert (await store.list(where=Where(sender="0x" + "00" * 20))).records == ()
    nobody = await store.list(where=Where(recipient="0x" + "aa" * 20))
    assert (nobody.records, nobody.after) == ((), None)
    newest = await store.list(limit=2)
    oldest = await store.list(limit=2, oldest_first=True)
    assert newest.records[0].seen_at > oldest.records[0].seen_at


async def test_oldest_first_pages_join_as_well(store: Store, leases: Leases, clock: Clock) -> None:
    """No gap and no repeat over two lanes with hundreds of messages in one instant."""
    await store.save_facts(leases.follower, [message(n, to=10 + n % 2 * 10) for n in range(300)])
    clock.time += 1
    await store.save_facts(leases.follower, [message(n) for n in range(300, 310)])
    seen = []
    after: str | None = None
    for _ in range(100):
        page = await store.list(limit=37, after=after, oldest_first=True)
        seen += [record.id for record in page.records]
        after = page.after
        if after is None:
            break
    assert sorted(seen) == [id_of(n) for n in range(310)]
    assert set(seen[-10:]) == {id_of(n) for n in range(300, 310)}


async def test_a_rare_match_is_found_though_pages_look_at_little(
    store: Store, leases: Leases
) -> None:
    """A filter that must read records does so in bounded bites, and still ends."""
    for start in range(0, 2500, 500):
        await store.save_facts(leases.follower, [message(n) for n in range(start, start + 500)])
    after: str | None = None
    bites = 0
    for _ in range(20):
        page = await store.list(where=Where(sender="0x" + "bb" * 20), after=after)
        assert page.records == ()
        bites += 1
        after = page.after
        if after is None:
            break
    assert after is None
    assert bites == 2
