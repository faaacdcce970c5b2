"""What people ask and do, on a real server and a real cluster."""

from __future__ import annotations

import pytest

from relayer.errors import IllegalTransition, SchemaMismatch, StoreUnavailable, UnknownRecord
from relayer.message import ChainId, MessageId, Reason, Route, Status, Timestamp
from relayer.settings import RedisSettings
from relayer.store import Failure, StatusCount, Store
from relayer.store.keys import META, base
from tests.redis.conftest import Clock, Leases
from tests.redis.sample_facts import (
    BRIDGE,
    ONE,
    TEN,
    TWENTY,
    delivery,
    id_of,
    message,
    payment,
    tx_of,
)

pytestmark = pytest.mark.redis


async def pages(store: Store, size: int, **filters: object) -> list[MessageId]:
    seen: list[MessageId] = []
    after: str | None = None
    for _ in range(100):
        page = await store.list(limit=size, after=after, **filters)  # type: ignore[arg-type]
        assert len(page.records) <= size
        seen += [record.id for record in page.records]
        after = page.after
        if after is None:
            return seen
    raise AssertionError("the pages do not end")


async def test_pages_join_without_gaps_or_repeats(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Over two lanes, with hundreds of messages seen in the same instant."""
    await store.save_facts(leases.follower, [message(n, to=10 + n % 2 * 10) for n in range(300)])
    clock.time += 1
    await store.save_facts(leases.follower, [message(n) for n in range(300, 310)])
    seen = await pages(store, 37)
    assert sorted(seen) == [id_of(n) for n in range(310)]
    assert set(seen[:10]) == {id_of(n) for n in range(300, 310)}
    assert len(await pages(store, 50, route=Route(BRIDGE, ONE, TWENTY))) == 150
    assert await pages(store, 50, reason=Reason.PAUSED) == []
    assert await pages(store, 50, status=Status.DEAD) == []
    with pytest.raises(UnknownRecord, match="not the mark"):
        await store.list(after="nonsense")


async def test_counts_follow_every_move(store: Store, leases: Leases, clock: Clock) -> None:
    """Counters by route, status and reason agree with the messages."""
    await store.save_facts(leases.follower, [message(n) for n in range(4)])
    clock.time += 5
    await store.save_facts(leases.far, [delivery(0)])
    await store.hold(id_of(1))
    await store.drop(id_of(2))
    route = Route(BRIDGE, ONE, TEN)
    assert await store.counts() == {
        StatusCount(route, Status.DELIVERED, Reason.DELIVERED_BY_OTHER): 1,
        StatusCount(route, Status.HELD, Reason.HELD_BY_OPERATOR): 1,
        StatusCount(route, Status.DEAD, Reason.DROPPED_BY_OPERATOR): 1,
        StatusCount(route, Status.WAITING, Reason.NEW): 1,
    }
    assert await store.oldest_pending(TEN) == clock.time - 5
    assert await store.oldest_pending(TWENTY) is None


async def test_an_operator_moves_a_message(store: Store, leases: Leases, clock: Clock) -> None:
    """Hold, release, drop, retry; an illegal wish names the present state."""
    await store.save_facts(leases.follower, [message(1)])
    assert (await store.hold(id_of(1))).status is Status.HELD
    assert await store.claim_due(leases.lane, clock.time, 10, 60) == []
    with pytest.raises(IllegalTransition, match="it is held"):
        await store.retry(id_of(1))
    released = await store.release(id_of(1))
    assert (released.status, released.wake_at) == (Status.WAITING, clock.time)
    with pytest.raises(IllegalTransition, match="it is waiting"):
        await store.release(id_of(1))
    row = Failure(id_of(1), Reason.TARGET_FAILED, "", {"a": "b"}, Timestamp(clock.time))
    await store.note_failures(leases.lane, [row])
    assert (await store.drop(id_of(1))).reason is Reason.DROPPED_BY_OPERATOR
    again = await store.retry(id_of(1))
    assert (again.reason, again.attempts) == (Reason.RETRIED_BY_OPERATOR, 0)
    await store.save_facts(leases.far, [delivery(1)])
    for move in (store.hold, store.retry, store.drop, store.release_message):
        with pytest.raises(IllegalTransition, match="it is delivered"):
            await move(id_of(1))
    with pytest.raises(UnknownRecord):
        await store.hold(id_of(404))


async def test_messages_are_found_by_id_and_transaction(store: Store, leases: Leases) -> None:
    """Whichever lane holds them; unknown ones are left out."""
    await store.save_facts(leases.follower, [message(1), message(2, to=20)])
    await store.save_facts(leases.far, [delivery(1, tx=77)])
    asked = [id_of(2), id_of(404), id_of(1)]
    assert [record.id for record in await store.get_many(asked)] == [id_of(2), id_of(1)]
    assert [record.id for record in await store.by_tx(tx_of(2))] == [id_of(2)]
    assert [record.id for record in await store.by_tx(tx_of(77))] == [id_of(1)]
    assert await store.by_tx(tx_of(404)) == []


async def test_one_id_may_go_to_two_chains(store: Store, leases: Leases) -> None:
    """A protocol's hash need not hold the direction: a lane reads its own message."""
    await store.save_facts(leases.follower, [message(1, to=10), message(1, to=11)])
    for chain in (10, 11):
        (record,) = await store.get_many([id_of(1)], chain=ChainId(chain))
        assert record.route.destination == chain


async def test_garbage_is_named_and_kept_apart(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """One poisoned key gives an error that names it, and the others go on."""
    await store.save_facts(leases.follower, [message(n) for n in range(4)])
    lane = base(settings.prefix, TEN)
    await store.command("DEL", f"{lane}message:{id_of(1)}")
    await store.command("SET", f"{lane}message:{id_of(1)}", "junk")
    await store.command("HSET", f"{lane}message:{id_of(2)}", "timeline", "junk")
    await store.command("HSET", f"{lane}message:{id_of(3)}", "message", "junk")
    for number in (1, 2, 3):
        with pytest.raises(UnknownRecord, match=f"message:{id_of(number)}"):
            await store.get(id_of(number))
    claimed = await store.claim_due(leases.lane, store.now(), 10, 60)
    assert [record.id for record in claimed] == [id_of(0)]
    saved = await store.save_facts(leases.follower, [payment(1), message(5)])
    assert saved.new_messages == (id_of(5),)
    assert [id_of(1) in text for text in saved.unreadable] == [True]
    assert await store.note_ready(leases.lane, [id_of(1), id_of(5)]) == [id_of(1)]
    assert [r.id for r in await store.get_many([id_of(1), id_of(5)])] == [id_of(5)]


@pytest.mark.parametrize("name", ["cursor", "facts", "counts", "lease:follower"])
async def test_a_key_of_a_wrong_type_is_named(
    store: Store, leases: Leases, settings: RedisSettings, name: str
) -> None:
    """What a chain's loop cannot do without is fatal when it is not what we wrote."""
    key = base(settings.prefix, TEN) + name
    await store.save_facts(leases.follower, [message(1)])
    await store.save_facts(leases.far, [delivery(404)])
    await store.command("DEL", key)
    await store.command("RPUSH", key, "junk")
    with pytest.raises(SchemaMismatch, match=name):
        await store.save_facts(leases.far, [delivery(1)])


async def test_another_schema_is_refused(store: Store, settings: RedisSettings) -> None:
    """A store written by another layout is not touched."""
    await store.command("SET", base(settings.prefix, META) + "schema", "999")
    with pytest.raises(SchemaMismatch, match="999"):
        await Store.open(settings, "unused")


async def test_a_server_that_is_away_is_unavailable(settings: RedisSettings) -> None:
    """Connection trouble is one class, whatever the client called it."""
    away = settings.model_copy(update={"url": type(settings.url)("redis://127.0.0.1:1/0")})
    with pytest.raises(StoreUnavailable):
        await Store.open(away, "unused")


async def test_the_store_says_how_it_is(store: Store) -> None:
    """Health reads every primary."""
    memory = await store.memory()
    assert memory.used > 0
    assert memory.limit == 0
