"""The follower's side of the store, on a real server and a real cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.errors import BadChainData, IllegalTransition, LeaseLost, ReorgTooDeep
from relayer.message import (
    DeliverySeen,
    Gas,
    Gate,
    MessageSeen,
    Payment,
    PaymentSeen,
    ProgressSeen,
    Reason,
    Record,
    RootSeen,
    Route,
    Status,
    TreeId,
    Wei,
)
from relayer.store import Role, Store
from relayer.store.facts import REMEMBERED, _record_item
from relayer.store.undo import UNDO_PAGE
from tests.redis.conftest import Clock, Leases, held
from tests.redis.sample_facts import (
    BRIDGE,
    ONE,
    TEN,
    TWENTY,
    at,
    cursor,
    delivery,
    hash_of,
    id_of,
    message,
    payment,
    tx_of,
)

pytestmark = pytest.mark.redis

TREE = TreeId("hyper/one")


async def stored(store: Store, number: int) -> Record:
    record = await store.get(id_of(number))
    assert record is not None
    return record


async def test_a_message_comes_back_as_it_was_said(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Every field survives, with integers beyond 2^53 and text beyond ASCII."""
    fact = message(1)
    saved = await store.save_facts(leases.follower, [fact])
    record = await stored(store, 1)
    assert saved.new_messages == (id_of(1),)
    assert saved.woken == {TEN}
    assert record.message == fact.message
    assert (record.status, record.reason) == (Status.WAITING, Reason.NEW)
    assert record.seen_at == record.since == record.wake_at == clock.time
    assert record.payment == Payment()


async def test_saving_again_changes_nothing(store: Store, leases: Leases, clock: Clock) -> None:
    """The same range read twice leaves one message, one payment, one line."""
    facts = [message(1), payment(1)]
    await store.save_facts(leases.follower, facts)
    before = await stored(store, 1)
    clock.time += 60
    again = await store.save_facts(leases.follower, facts)
    assert again.new_messages == ()
    assert again.payments == 0
    assert await stored(store, 1) == before
    assert sum((await store.counts()).values()) == 1


async def test_a_thousand_messages_are_a_handful_of_round_trips(
    store: Store, leases: Leases
) -> None:
    """Batches cross in a few calls, not one call per message."""
    await store.save_facts(leases.follower, [message(0)])
    before = store.round_trips
    saved = await store.save_facts(leases.follower, [message(n) for n in range(1, 1001)])
    assert len(saved.new_messages) == 1000
    assert store.round_trips - before <= 6


async def test_a_stale_follower_writes_nothing(store: Store, leases: Leases) -> None:
    """After its lease went to another owner a follower's every write is refused."""
    await store.release(leases.follower)
    fresh = await held(store, 1, Role.FOLLOWER, "two")
    assert fresh.token > leases.follower.token
    for call in (
        store.save_facts(leases.follower, [message(1)]),
        store.advance(leases.follower, cursor(100)),
        store.rollback(leases.follower, cursor(50)),
        store.save_leaves(leases.follower, "t", {0: (b"\x01" * 32, 1, hash_of(1))}),
        store.extend_tree(leases.follower, "t", 0, 0, {}),
        store.truncate_tree(leases.follower, "t", 0),
    ):
        with pytest.raises(LeaseLost):
            await call
    assert await store.get(id_of(1)) is None
    assert await store.cursor(ONE) is None


async def test_a_stale_follower_cannot_write_into_a_lane_either(
    store: Store, leases: Leases
) -> None:
    """A dead owner's late second phase is refused in the destination's slot by its token."""
    await store.release(leases.follower)
    fresh = await held(store, 1, Role.FOLLOWER, "two")
    await store.save_facts(fresh, [message(1)])
    with pytest.raises(LeaseLost):
        await store._save_records(leases.follower, TEN, [_record_item(message(2))])
    assert await store.get(id_of(2)) is None


async def test_a_crash_between_index_and_records_repeats_safely(
    store: Store, leases: Leases
) -> None:
    """The undo index is written first: a repeat completes, and a roll-back undoes either way."""
    facts = [message(1), message(2, to=20), payment(1)]
    await store.save_facts(leases.follower, [message(9, block=10)])
    await store.advance(leases.follower, cursor(50))
    await store._index(leases.follower, facts)  # and there the process dies
    assert await store.get(id_of(1)) is None
    saved = await store.save_facts(leases.follower, facts)
    assert set(saved.new_messages) == {id_of(1), id_of(2)}
    await store._index(leases.follower, [message(3)])
    undone = await store.rollback(leases.follower, cursor(50))
    assert set(undone.orphaned) == {id_of(1), id_of(2)}
    assert undone.payments == 1


async def test_facts_of_a_dead_owner_that_vanish_are_undone(store: Store, leases: Leases) -> None:
    """A block above the cursor is replaced while nobody looks: its message does not stay."""
    await store.advance(leases.follower, cursor(50))
    await store.save_facts(leases.follower, [message(1, block=60), message(2, block=61)])
    await store.release(leases.follower)
    fresh = await held(store, 1, Role.FOLLOWER, "two")
    await store.save_facts(fresh, [message(2, block=61)])
    await store.advance(fresh, cursor(70))
    assert (await stored(store, 1)).status is Status.ORPHANED
    assert (await stored(store, 2)).status is Status.WAITING
    assert await store.cursor(ONE) == cursor(70)


async def test_a_delivery_seen_first_is_remembered(store: Store, leases: Leases) -> None:
    """The destination's follower may be ahead: the message is born delivered."""
    early = await store.save_facts(leases.far, [delivery(1)])
    assert early.new_deliveries == ()
    assert await store.get(id_of(1)) is None
    saved = await store.save_facts(leases.follower, [message(1)])
    record = await stored(store, 1)
    assert [one.id for one in saved.new_deliveries] == [id_of(1)]
    assert (record.status, record.reason) == (Status.DELIVERED, Reason.DELIVERED_BY_OTHER)
    assert record.tx == tx_of(900)


async def test_a_delivery_is_final_and_undone_by_a_reorg(store: Store, leases: Leases) -> None:
    """Delivered by the inbox's word; when its block is replaced the message waits again."""
    await store.advance(leases.far, cursor(499))
    await store.save_facts(leases.follower, [message(1)])
    saved = await store.save_facts(leases.far, [delivery(1)])
    assert [one.by_us for one in saved.new_deliveries] == [False]
    assert await store.save_facts(leases.far, [delivery(1)]) == type(saved)(woken={TEN})
    await store.advance(leases.far, cursor(500))
    undone = await store.rollback(leases.far, cursor(499))
    record = await stored(store, 1)
    assert undone.reopened == (id_of(1),)
    assert (record.status, record.reason) == (Status.WAITING, Reason.REORGED)
    assert [r.id for r in await store.claim_due(leases.lane, store.now(), 10, 60)] == [id_of(1)]


async def test_a_rollback_leaves_no_fact(store: Store, leases: Leases) -> None:
    """Messages, payments, roots, leaves and trees of replaced blocks are gone, older ones stay."""
    gate = Gate(BRIDGE, "root")
    await store.save_facts(leases.follower, [message(1, block=100), payment(1)])
    old_root = RootSeen(gate, 5, b"\x05" * 32, at(1, 100))
    await store.save_facts(leases.follower, [old_root])
    await store.advance(leases.follower, cursor(100))
    await store.save_facts(
        leases.follower,
        [
            message(2, block=101),
            payment(1, block=101, tx=44),
            RootSeen(gate, 9, b"\x09" * 32, at(1, 101)),
        ],
    )
    leaves = {0: (b"\x01" * 32, 100, hash_of(100)), 1: (b"\x02" * 32, 101, hash_of(101))}
    await store.save_leaves(leases.follower, "tree", leaves)
    await store.advance(leases.follower, cursor(101))
    undone = await store.rollback(leases.follower, cursor(100))
    assert undone.orphaned == (id_of(2),)
    assert (undone.payments, undone.roots) == (1, 1)
    assert (await stored(store, 2)).status is Status.ORPHANED
    assert (await stored(store, 1)).payment == Payment(Gas(50_000), Wei(2**80 + 1), 1)
    assert await store.best_root(ONE, gate) == old_root
    assert await store.loose_leaves(ONE, "tree", 0, 10) == {0: b"\x01" * 32}
    assert await store.cursor(ONE) == cursor(100)
    assert await store.remembered(ONE) == [cursor(100)]


async def test_an_orphan_comes_back_with_its_new_block(store: Store, leases: Leases) -> None:
    """A message taken up again by another block waits again and points there."""
    await store.advance(leases.follower, cursor(99))
    await store.save_facts(leases.follower, [message(1)])
    await store.rollback(leases.follower, cursor(99))
    again = message(1, block=102, fork="b")
    saved = await store.save_facts(leases.follower, [again])
    record = await stored(store, 1)
    assert saved.new_messages == (id_of(1),)
    assert record.status is Status.WAITING
    assert record.message.at == again.at


async def test_an_included_message_whose_origin_vanished_never_waits_again(
    store: Store, leases: Leases
) -> None:
    """Included cannot be orphaned; but once its inclusion falls through it is, not re-sent."""
    await store.advance(leases.follower, cursor(99))
    await store.save_facts(leases.follower, [message(1)])
    await store.note_included(leases.lane, [(id_of(1), 600, tx_of(5), True, "")])
    await store.rollback(leases.follower, cursor(99))
    assert (await stored(store, 1)).status is Status.INCLUDED
    await store.reopen(leases.lane, [id_of(1)], Reason.REORGED)
    assert (await stored(store, 1)).status is Status.ORPHANED
    assert await store.claim_due(leases.lane, store.now(), 10, 60) == []


async def test_a_rollback_cut_short_is_finished_by_the_next_writer(
    store: Store, leases: Leases
) -> None:
    """The mark set first makes the next save undo the rest before it stores anything."""
    await store.advance(leases.follower, cursor(99))
    await store.save_facts(leases.follower, [message(1)])
    await store.advance(leases.follower, cursor(100))
    begun = store._under(leases.follower, block="99", hash=hash_of(99))
    await store.run("undo_begin", ONE, begun)
    await store.save_facts(leases.follower, [message(2, block=100, fork="b")])
    assert (await stored(store, 1)).status is Status.ORPHANED
    assert (await stored(store, 2)).status is Status.WAITING
    await store.advance(leases.follower, cursor(100, fork="b"))
    assert await store.cursor(ONE) == cursor(100, fork="b")


async def test_the_cursor_does_not_pass_an_unfinished_rollback(
    store: Store, leases: Leases
) -> None:
    """Moving up finishes the undoing first, so that no fact of a replaced block stays behind."""
    await store.advance(leases.follower, cursor(99))
    await store.save_facts(leases.follower, [message(1)])
    await store.advance(leases.follower, cursor(100))
    begun = store._under(leases.follower, block="99", hash=hash_of(99))
    await store.run("undo_begin", ONE, begun)
    await store.advance(leases.follower, cursor(100, fork="b"))
    assert (await stored(store, 1)).status is Status.ORPHANED
    assert await store.remembered(ONE) == [cursor(100, fork="b"), cursor(99)]


async def test_payments_are_summed_once_each(store: Store, leases: Leases) -> None:
    """By transaction and log index, before or after the message, without losing a wei."""
    await store.save_facts(leases.follower, [payment(1, tx=1), message(1), payment(1, tx=2)])
    await store.save_facts(leases.follower, [payment(1, tx=2), payment(1, tx=3)])
    paid = (await stored(store, 1)).payment
    assert paid == Payment(Gas(150_000), Wei(3 * (2**80 + 1)), 3)


def dust(number: int, *, block: int = 100) -> PaymentSeen:
    """A payment of one wei for one unit of gas, in a transaction of its own."""
    ref = at(1, block, tx=number, index=number)
    return PaymentSeen(id_of(1), TEN, Gas(1), Wei(1), ref)


@pytest.mark.parametrize("block", [99, 100, 101])
@pytest.mark.parametrize("place", [0, 64, 300])
async def test_dust_hides_no_payment(store: Store, leases: Leases, block: int, place: int) -> None:
    """However much of it there is, in the same block or not, before the payment or after it."""
    facts = [dust(2 + n, block=block) for n in range(300)]
    facts.insert(place, payment(1))
    await store.save_facts(leases.follower, [message(1), *facts])
    paid = (await stored(store, 1)).payment
    assert paid.gas >= 50_000
    assert paid.amount > 2**80
    assert paid.count == 32
    assert (await store.save_facts(leases.follower, facts[::-1])).payments == 0
    assert (await stored(store, 1)).payment == paid


async def test_much_money_for_little_gas_hides_no_payment(store: Store, leases: Leases) -> None:
    """A rule may ask for gas as well as for money: the most of both is kept."""
    rich = [replace(dust(2 + n), amount=Wei(2**90)) for n in range(100)]
    cheap = [replace(dust(200 + n), gas=Gas(60_000)) for n in range(100)]
    await store.save_facts(leases.follower, [message(1), payment(1), *rich, *cheap])
    paid = (await stored(store, 1)).payment
    assert paid == Payment(Gas(32 * 60_000 + 32), Wei(32 * 2**90 + 32), 64)
    undone = await store.rollback(leases.follower, cursor(99))
    assert undone.payments == 64


async def test_progress_wakes_and_is_noted_once(store: Store, leases: Leases, clock: Clock) -> None:
    """Somebody proved it: one line in the timeline, and it is looked at again."""
    await store.save_facts(leases.follower, [message(1)])
    await store.claim_due(leases.lane, clock.time, 10, 600)
    clock.time += 1
    seen = ProgressSeen(id_of(1), TEN, "proved", at(10, 300))
    await store.save_facts(leases.far, [seen])
    await store.save_facts(leases.far, [seen])
    record = await stored(store, 1)
    assert record.wake_at == clock.time
    assert [line.detail for line in record.timeline if "proved" in line.detail] == [
        f"proved in {tx_of(1)}:0"
    ]


async def test_roots_are_found_by_level(store: Store, leases: Leases) -> None:
    """The best root, and the lowest that covers a level."""
    gate = Gate(BRIDGE, "root|of a name")
    facts = [RootSeen(gate, n, bytes([n]) * 32, at(10, 200 + n)) for n in (3, 7, 12)]
    saved = await store.save_facts(leases.far, facts)
    assert saved.roots == 3
    assert await store.best_root(TEN, gate) == facts[2]
    assert await store.roots(TEN, gate) == 12
    assert await store.root_at(TEN, gate, 4) == facts[1]
    assert await store.root_at(TEN, gate, 13) is None


async def test_the_cursor_only_goes_up(store: Store, leases: Leases) -> None:
    """Going down is a roll-back; the newest 512 scanned blocks are remembered."""
    await store.advance(leases.follower, cursor(10))
    with pytest.raises(IllegalTransition, match="is at 10"):
        await store.advance(leases.follower, cursor(9))
    for block in range(11, 530):
        await store.advance(leases.follower, cursor(block))
    past = await store.remembered(ONE)
    assert (len(past), past[0], past[-1]) == (512, cursor(529), cursor(18))
    with pytest.raises(ReorgTooDeep):
        await store.rollback(leases.follower, cursor(17))


async def test_a_chain_that_starts_over_takes_everything_with_it(
    store: Store, leases: Leases
) -> None:
    """Also what forgotten blocks said, in every state, in both directions, page by page."""
    many = range(20, 20 + UNDO_PAGE + 5)
    await store.save_facts(leases.far, [*map(message_back, (1, 2)), *map(message_back, many)])
    await store.save_facts(leases.follower, [message(n) for n in range(3, 9)])
    await store.save_facts(
        leases.follower, [payment(3), *(delivered_at_one(n) for n in (1, *many))]
    )
    await store.note_ready(leases.lane, [id_of(4)])
    await store.hold(id_of(5))
    await store.drop(id_of(6))
    await store.note_included(leases.lane, [(id_of(7), 500, tx_of(9), True, "")])
    await store.save_facts(leases.far, [delivery(8)])
    gate = Gate(BRIDGE, "root")
    await store.save_facts(leases.follower, [RootSeen(gate, 3, b"\x01" * 32, at(1, 100))])
    await store.save_leaves(leases.follower, TREE, {0: (b"\x01" * 32, 100, hash_of(100))})
    for block in range(500, 500 + REMEMBERED + 2):
        await store.advance(leases.follower, cursor(block))
    await store.start_over(leases.follower, cursor(0))
    for _ in range(2):
        assert [(await stored(store, n)).status for n in range(3, 9)] == [
            *[Status.ORPHANED] * 4,
            Status.INCLUDED,
            Status.DELIVERED,
        ]
        assert (await stored(store, 3)).payment == Payment()
        reopened = [(await stored(store, n)) for n in (1, 2, many[0], many[-1])]
        assert {one.status for one in reopened} == {Status.WAITING}
        assert await store.best_root(ONE, gate) is None
        assert await store.tree_size(ONE, TREE) == 0
        assert await store.loose_leaves(ONE, TREE, 0, 1) == {}
        assert await store.remembered(ONE) == []
        await store.start_over(leases.follower, cursor(0))
    await store.save_facts(leases.follower, [message(4, fork="b"), message(7, fork="b")])
    assert (await stored(store, 4)).status is Status.WAITING
    await store.reopen(leases.lane, [id_of(7)], Reason.REORGED)
    assert (await stored(store, 7)).status is Status.WAITING
    await store.advance(leases.follower, cursor(1))
    assert sum((await store.counts()).values()) == 8 + len(many)


async def test_starting_over_leaves_nothing_for_messages_not_seen_yet(
    store: Store, leases: Leases
) -> None:
    """A delivery or a payment of the chain that is no more would make a message that comes later
    `delivered`, or paid; what another chain said stays."""
    ours, other = payment(1, tx=1), payment(2, tx=2)
    elsewhere = replace(other, at=replace(other.at, chain=TWENTY))
    twenty = await held(store, 20, Role.FOLLOWER)
    await store.save_facts(leases.far, [delivery(1), delivery(3)])
    await store.save_facts(leases.follower, [ours, payment(3, tx=3)])
    await store.save_facts(twenty, [elsewhere])
    for block in range(500, 500 + REMEMBERED + 2):
        await store.advance(leases.far, cursor(block))
        await store.advance(leases.follower, cursor(block))
    await store.start_over(leases.far, cursor(0))
    await store.start_over(leases.follower, cursor(0))
    foreign = message(2).message
    route = Route(BRIDGE, TWENTY, TEN)
    there = replace(foreign, route=route, at=replace(foreign.at, chain=TWENTY))
    await store.save_facts(leases.follower, [message(1), message(3)])
    await store.save_facts(twenty, [MessageSeen(there)])
    for number in (1, 3):
        record = await stored(store, number)
        assert (record.status, record.payment) == (Status.WAITING, Payment())
    assert (await stored(store, 2)).payment.count == 1


@pytest.mark.parametrize("before", [False, True])
async def test_money_of_another_chain_pays_for_nothing(
    store: Store, leases: Leases, before: bool
) -> None:
    """A paymaster elsewhere took it, in another money; nor does it hide the true payment."""
    twenty = await held(store, 20, Role.FOLLOWER)
    cheap = [
        replace(one, amount=Wei(2**100), at=replace(one.at, chain=TWENTY))
        for one in (dust(2 + n) for n in range(100))
    ]
    paid, said = payment(1), message(1)
    if not before:
        await store.save_facts(leases.follower, [said])
    await store.save_facts(twenty, cheap[:50])
    await store.save_facts(leases.follower, [paid])
    await store.save_facts(twenty, cheap[50:])
    if before:
        await store.save_facts(leases.follower, [said])
    assert (await stored(store, 1)).payment == Payment(paid.gas, paid.amount, 1)


async def test_starting_over_cut_short_is_finished_by_the_next_writer(
    store: Store, leases: Leases
) -> None:
    """The mark set first makes the next save undo everything before it stores anything."""
    await store.save_facts(leases.follower, [message(1, block=10)])
    for block in range(500, 500 + REMEMBERED + 2):
        await store.advance(leases.follower, cursor(block))
    begun = store._under(leases.follower, block="0", hash="", over=True)
    await store.run("undo_begin", ONE, begun)
    await store.save_facts(leases.follower, [message(2, block=10, fork="b")])
    assert (await stored(store, 1)).status is Status.ORPHANED
    assert (await stored(store, 2)).status is Status.WAITING


def message_back(number: int) -> MessageSeen:
    """A message from chain 10 to chain 1."""
    fact = message(number)
    route = Route(BRIDGE, TEN, ONE)
    return MessageSeen(replace(fact.message, route=route, at=at(10, 100, tx=number)))


def delivered_at_one(number: int) -> DeliverySeen:
    return delivery(number, chain=1, block=100)


async def test_facts_of_another_chain_are_refused(store: Store, leases: Leases) -> None:
    """A follower may not speak for a chain it does not follow."""
    with pytest.raises(BadChainData):
        await store.save_facts(leases.follower, [delivery(1)])


async def test_messages_go_to_their_own_lanes(store: Store, leases: Leases) -> None:
    """Each destination's lane claims its own messages only."""
    await store.save_facts(leases.follower, [message(1), message(2, to=20)])
    far_lane = await held(store, 20, Role.LANE)
    assert [r.id for r in await store.claim_due(leases.lane, store.now(), 9, 60)] == [id_of(1)]
    assert [r.id for r in await store.claim_due(far_lane, store.now(), 9, 60)] == [id_of(2)]
    assert await store.chains() == [ONE, TEN, TWENTY]


NAMED = id_of(0xA11A5)
"""What the inbox calls message 1."""


def by_another_name() -> MessageSeen:
    fact = message(1)
    return MessageSeen(replace(fact.message, inbox_id=NAMED))


@pytest.mark.parametrize("is_early", [False, True])
async def test_a_delivery_under_the_inboxs_own_name_is_the_messages(
    store: Store, leases: Leases, is_early: bool
) -> None:
    """Whichever is seen first, and undone with its block like any other."""
    seen = replace(delivery(1), message_id=NAMED)
    steps = [(leases.follower, by_another_name()), (leases.far, seen)]
    for lease, fact in reversed(steps) if is_early else steps:
        await store.save_facts(lease, [fact])
    record = await stored(store, 1)
    assert (record.status, record.reason) == (Status.DELIVERED, Reason.DELIVERED_BY_OTHER)
    assert record.message == by_another_name().message
    undone = await store.rollback(leases.far, cursor(499))
    assert undone.reopened == (id_of(1),)
    assert (await stored(store, 1)).status is Status.WAITING


async def test_progress_under_the_inboxs_own_name_is_noted(store: Store, leases: Leases) -> None:
    """A step that the inbox tells of by its own name stands in the message's timeline."""
    await store.save_facts(leases.follower, [by_another_name()])
    step = ProgressSeen(NAMED, TEN, "tried in vain", at(10, 500))
    await store.save_facts(leases.far, [step])
    assert "tried in vain" in (await stored(store, 1)).timeline[-1].detail
