"""Records that are garbage, or gone alone, are made anew from the chain's word."""

from __future__ import annotations

import pytest

from relayer.message import Address, Gas, Reason, Record, Status, Timestamp, Wei
from relayer.settings import RedisSettings
from relayer.store import Attempt, Intent, IntentCall, Settlement, StatusCount, Store
from relayer.store.keys import base
from tests.redis.conftest import Leases
from tests.redis.sample_facts import TEN, delivery, id_of, message, tx_of

pytestmark = pytest.mark.redis

ROUTE = message(1).message.route
SIGNER = Address("0x" + "5a" * 20)


def key_of(settings: RedisSettings, number: int) -> str:
    return f"{base(settings.prefix, TEN)}message:{id_of(number)}"


async def stored(store: Store, number: int) -> Record:
    record = await store.get(id_of(number))
    assert record is not None
    return record


async def spoil(store: Store, settings: RedisSettings, number: int, how: str) -> None:
    key = key_of(settings, number)
    if how == "gone":
        await store.command("DEL", key)
    elif how == "another type":
        await store.command("SET", key, "junk")
    else:
        await store.command("HSET", key, "status", "junk")


@pytest.mark.parametrize("how", ["gone", "another type", "a field"])
@pytest.mark.parametrize("status", ["waiting", "held", "dead"])
async def test_a_record_is_made_anew_and_counted_once(
    store: Store, leases: Leases, settings: RedisSettings, how: str, status: str
) -> None:
    """It waits again, is claimed, and the indexes know nothing of the one before."""
    await store.save_facts(leases.follower, [message(1), message(2)])
    if status != "waiting":
        await store.hold(id_of(1))
    if status == "dead":
        await store.drop(id_of(1))
    await spoil(store, settings, 1, how)
    saved = await store.save_facts(leases.follower, [message(1)])
    assert saved.new_messages == (id_of(1),)
    assert len(saved.unreadable) == (how != "gone")
    assert (await stored(store, 1)).message == message(1).message
    assert await store.counts() == {StatusCount(ROUTE, Status.WAITING, Reason.NEW): 2}
    assert {one.id for one in await store.claim_due(leases.lane, store.now(), 9, 60)} == {
        id_of(1),
        id_of(2),
    }
    page = await store.list()
    assert sorted(one.id for one in page.records) == [id_of(1), id_of(2)]
    kept = await store.command("HLEN", base(settings.prefix, TEN) + "garbage")
    assert kept == (how != "gone")


async def test_what_was_set_aside_can_be_looked_at_and_is_bounded(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """The garbage is kept as `DUMP` gives it, of the first 64 records."""
    many = [message(number) for number in range(70)]
    await store.save_facts(leases.follower, many)
    for number in range(70):
        await spoil(store, settings, number, "another type")
    saved = await store.save_facts(leases.follower, many)
    assert len(saved.new_messages) == 70
    kept = base(settings.prefix, TEN) + "garbage"
    assert await store.command("HLEN", kept) == 64
    dump = await store.command("HGET", kept, id_of(0))
    await store.command("RESTORE", kept + ":shown", 0, dump)
    assert await store.command("GET", kept + ":shown") == b"junk"


@pytest.mark.parametrize("how", ["gone", "another type"])
async def test_a_message_in_a_live_transaction_stays_in_it(
    store: Store, leases: Leases, settings: RedisSettings, how: str
) -> None:
    """Nothing is paid twice: the intent knows which messages it carries."""
    await store.save_facts(leases.follower, [message(1)])
    attempt = Attempt(tx_of(6), b"\x02", Wei(1), Wei(1), None, Gas(1), Timestamp(1.0), 600)
    calls = (IntentCall(id_of(1), "deliver"),)
    intent = Intent(SIGNER, 4, calls, (attempt,), Timestamp(1.0), "deliver")
    assert await store.reserve_intent(leases.lane, intent, [id_of(1)]) == []
    await spoil(store, settings, 1, how)
    await store.save_facts(leases.follower, [message(1)])
    assert (await stored(store, 1)).status is Status.SUBMITTED
    assert await store.claim_due(leases.lane, store.now(), 9, 60) == []
    reopened = await store.settle(leases.lane, SIGNER, 4, Settlement(Reason.REPLACED, "gone"))
    assert reopened == [id_of(1)]


async def test_a_delivered_one_is_delivered_again_by_its_fact(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """The delivery's block is read again like the message's; order does not matter."""
    await store.save_facts(leases.follower, [message(1)])
    await store.save_facts(leases.far, [delivery(1)])
    await spoil(store, settings, 1, "another type")
    again = await store.save_facts(leases.far, [delivery(1)])
    assert len(again.unreadable) == 1
    await store.save_facts(leases.follower, [message(1)])
    await store.save_facts(leases.far, [delivery(1)])
    assert (await stored(store, 1)).status is Status.DELIVERED
    assert sum((await store.counts()).values()) == 1


async def test_one_unreadable_record_does_not_hide_a_page(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """Lists and the messages of a transaction show the others."""
    await store.save_facts(leases.follower, [message(n) for n in (1, 2, 3)])
    await spoil(store, settings, 1, "another type")
    await store.command("HSET", key_of(settings, 2), "message", "junk")
    for reason in (None, Reason.NEW):
        page = await store.list(reason=reason)
        assert [one.id for one in page.records] == [id_of(3)]
    assert [one.id for one in await store.by_tx(tx_of(3))] == [id_of(3)]
    assert await store.by_tx(tx_of(1)) == []
    assert await store.by_tx(tx_of(2)) == []


async def test_an_id_that_waits_for_finality_no_more_leaves_the_list(
    store: Store, leases: Leases
) -> None:
    """What `reopen` cannot act on is not shown to it for ever."""
    await store.save_facts(leases.follower, [message(1), message(2)])
    rows = [(id_of(n), 600, tx_of(5), True, "") for n in (1, 2)]
    await store.note_included(leases.lane, rows)
    await store.command("DEL", base(store._prefix, TEN) + f"message:{id_of(1)}")
    await store.command("HSET", base(store._prefix, TEN) + f"message:{id_of(2)}", "status", "dead")
    overdue = await store.overdue_included(TEN, 700)
    assert overdue == [id_of(1), id_of(2)]
    assert await store.reopen(leases.lane, overdue, Reason.REORGED) == overdue
    assert await store.overdue_included(TEN, 700) == []
