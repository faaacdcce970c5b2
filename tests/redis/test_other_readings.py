"""A message that was read twice and differently: what the chain disproves gives way to the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.adapter import Refuse, Wait
from relayer.message import Address, Gas, MessageSeen, Reason, Record, Status, Timestamp, Wei
from relayer.store import Attempt, Intent, IntentCall, Role, Store
from tests.redis.conftest import Clock, Leases, held
from tests.redis.sample_facts import ONE, TEN, cursor, delivery, id_of, message, tx_of

pytestmark = pytest.mark.redis

DISPROVED = Wait(Reason.ROOT_MISMATCH, "another leaf", disproved=True, recheck_s=15.0)
SIGNER = Address("0x" + "5a" * 20)


def forged(number: int, *, text: bytes = b"forged", block: int = 99) -> MessageSeen:
    """What a liar says of the message: other content, in another transaction."""
    true = message(number, block=block).message
    at = replace(true.at, tx=tx_of(number + 5000))
    return MessageSeen(replace(true, body=text, payload=text, at=at))


async def stored(store: Store, number: int = 1) -> Record:
    record = await store.get(id_of(number))
    assert record is not None
    return record


async def test_a_forged_record_gives_way_to_what_was_read_since(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Not before the chain has disproved it; then the true one is found by its transaction too."""
    await store.save_facts(leases.follower, [forged(1)])
    again = await store.save_facts(leases.follower, [message(1)])
    assert again.contradicted == (id_of(1),)
    assert not again.changed
    assert (await stored(store)).message == forged(1).message
    await store.note_waits(leases.lane, [(id_of(1), replace(DISPROVED, disproved=False))])
    assert (await stored(store)).message == forged(1).message
    await store.note_waits(leases.lane, [(id_of(1), DISPROVED)])
    record = await stored(store)
    assert record.message == message(1).message
    assert (record.status, record.wake_at) == (Status.WAITING, clock.time + 15)
    assert [one.id for one in await store.by_tx(tx_of(1))] == [id_of(1)]
    assert await store.by_tx(tx_of(5001)) == []


async def test_a_lie_read_later_changes_nothing(store: Store, leases: Leases) -> None:
    """What the chain does not disprove stays; a difference is told once, a repeat not at all."""
    await store.save_facts(leases.follower, [message(1)])
    lied = await store.save_facts(leases.follower, [forged(1)])
    assert lied.contradicted == (id_of(1),)
    for fact in (forged(1), message(1)):
        assert (await store.save_facts(leases.follower, [fact])).contradicted == ()
    await store.note_waits(leases.lane, [(id_of(1), Wait(Reason.AWAITING_ROOT))])
    assert (await stored(store)).message == message(1).message


async def test_two_lies_do_not_bury_the_truth(store: Store, leases: Leases) -> None:
    """One other reading is kept, the newest, and each is tried when its turn comes."""
    await store.save_facts(leases.follower, [forged(1)])
    await store.save_facts(leases.follower, [message(1)])
    await store.save_facts(leases.follower, [forged(1, text=b"again")])
    await store.note_waits(leases.lane, [(id_of(1), DISPROVED)])
    assert (await stored(store)).message.body == b"again"
    await store.save_facts(leases.follower, [message(1)])
    await store.note_waits(leases.lane, [(id_of(1), DISPROVED)])
    assert (await stored(store)).message == message(1).message


@pytest.mark.parametrize("dead", [False, True])
async def test_what_was_refused_for_forged_content_is_looked_at_again(
    store: Store, leases: Leases, clock: Clock, dead: bool
) -> None:
    """Held or dead for what a liar said of it, it would never come to a proof."""
    await store.save_facts(leases.follower, [forged(1)])
    refusal = Refuse(Reason.INVALID_MESSAGE, "no send", dead=dead)
    await store.note_refused(leases.lane, [(id_of(1), refusal, {})])
    await store.save_facts(leases.follower, [message(1)])
    record = await stored(store)
    assert (record.status, record.reason, record.wake_at) == (
        Status.WAITING,
        Reason.NEW,
        clock.time,
    )
    assert record.message == message(1).message


@pytest.mark.parametrize("verb", ["hold", "drop"])
async def test_what_a_person_decided_stands(store: Store, leases: Leases, verb: str) -> None:
    """No endpoint takes up again what an operator holds or has dropped."""
    await store.save_facts(leases.follower, [message(1)])
    await getattr(store, verb)(id_of(1))
    before = await stored(store)
    await store.save_facts(leases.follower, [forged(1)])
    assert await stored(store) == before


async def test_what_is_in_flight_or_delivered_is_never_replaced(
    store: Store, leases: Leases
) -> None:
    """It was proved: whatever differs is only told."""
    await store.save_facts(leases.follower, [message(1), message(2)])
    sent = Attempt(tx_of(6), b"\x02", Wei(1), Wei(1), None, Gas(1), Timestamp(1.0), 600)
    call = IntentCall(id_of(1), "deliver")
    intent = Intent(SIGNER, 1, (call,), (sent,), Timestamp(1.0), "deliver")
    assert await store.reserve_intent(leases.lane, intent, [id_of(1)]) == []
    await store.save_facts(leases.far, [delivery(2)])
    told = await store.save_facts(leases.follower, [forged(1), forged(2)])
    assert set(told.contradicted) == {id_of(1), id_of(2)}
    assert await store.note_waits(leases.lane, [(id_of(n), DISPROVED) for n in (1, 2)]) == [
        id_of(1),
        id_of(2),
    ]
    assert (await stored(store, 1)).message == message(1).message
    assert (await stored(store, 2)).message == message(2).message


async def test_a_message_read_again_in_another_block_survives_the_first_ones_end(
    store: Store, leases: Leases
) -> None:
    """A dead owner stored it from a block that was replaced; the new one read it at its new
    place before it knew: it is there still, and waits."""
    await store.advance(leases.follower, cursor(50))
    await store.save_facts(leases.follower, [message(1, block=60)])
    await store.release(leases.follower)
    fresh = await held(store, ONE, Role.FOLLOWER, "two")
    await store.save_facts(fresh, [message(1, block=61, fork="b")])
    await store.advance(fresh, cursor(70, fork="b"))
    record = await stored(store)
    assert record.status is Status.WAITING
    assert record.message == message(1, block=61, fork="b").message


async def test_a_delivery_read_again_in_another_block_survives_the_first_ones_end(
    store: Store, leases: Leases
) -> None:
    """What was said last counts, also of a message that is delivered already or not seen yet."""
    await store.save_facts(leases.follower, [message(1)])
    await store.advance(leases.far, cursor(450))
    await store.save_facts(leases.far, [delivery(n, block=460) for n in (1, 2)])
    await store.release(leases.far)
    fresh = await held(store, TEN, Role.FOLLOWER, "two")
    await store.save_facts(fresh, [delivery(n, block=461, fork="b", tx=901) for n in (1, 2)])
    await store.advance(fresh, cursor(470, fork="b"))
    await store.save_facts(leases.follower, [message(2)])
    for number in (1, 2):
        record = await stored(store, number)
        assert (record.status, record.tx) == (Status.DELIVERED, tx_of(901))
    assert [one.id for one in await store.by_tx(tx_of(901))] == [id_of(1), id_of(2)]
    assert await store.by_tx(tx_of(900)) == []


async def test_the_other_reading_goes_with_its_block(store: Store, leases: Leases) -> None:
    """What a replaced block said is no candidate any more."""
    await store.advance(leases.follower, cursor(50))
    await store.save_facts(leases.follower, [message(1, block=40)])
    await store.save_facts(leases.follower, [forged(1, block=60)])
    await store.advance(leases.follower, cursor(60))
    await store.rollback(leases.follower, cursor(50))
    await store.note_waits(leases.lane, [(id_of(1), DISPROVED)])
    assert (await stored(store)).message == message(1, block=40).message


async def test_garbage_in_place_of_the_other_reading_is_set_aside(
    store: Store, leases: Leases
) -> None:
    """Like any record that is none, and the chain's word takes its place."""
    await store.save_facts(leases.follower, [forged(1)])
    key = f"{store._prefix}:{{{TEN}}}:message:{id_of(1)}"
    await store.command("HSET", key, "other", "x")
    saved = await store.save_facts(leases.follower, [message(1)])
    assert len(saved.unreadable) == 1
    assert (await stored(store)).message == message(1).message
