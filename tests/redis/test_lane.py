"""The lane's side of the store, on a real server and a real cluster."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from relayer.adapter import Clock as NamedMoment
from relayer.adapter import Refuse, Wait
from relayer.errors import IllegalTransition, LeaseLost, SchemaMismatch, UnknownRecord
from relayer.message import (
    Address,
    BlockNumber,
    Gas,
    Gate,
    MessageId,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    Wei,
)
from relayer.settings import RedisSettings
from relayer.store import (
    Attempt,
    CostTotal,
    Failure,
    Inclusion,
    Intent,
    IntentCall,
    Role,
    Settlement,
    Store,
)
from relayer.store.keys import base
from relayer.store.lane import MOST_SLEEP_S
from tests.redis.conftest import Clock, Leases, held
from tests.redis.sample_facts import BRIDGE, ONE, TEN, delivery, id_of, message, tx_of

pytestmark = pytest.mark.redis

SIGNER = Address("0x" + "5a" * 20)
GATE = Gate(BRIDGE, "root")


def attempt(number: int) -> Attempt:
    return Attempt(
        hash=tx_of(number),
        raw=bytes([2, number % 256]) * 50,
        max_fee=Wei(2**90 + number),
        tip=Wei(1),
        gas_price=None,
        gas=Gas(500_000),
        at=Timestamp(1_700_000_000.5),
        block=600,
    )


ROUTE = Route(BRIDGE, ONE, TEN)
LOST = Settlement(Reason.REPLACED, "lost")


def failed(message_id: MessageId, *, at: float | None) -> Failure:
    wake_at = None if at is None else Timestamp(at)
    return Failure(message_id, Reason.CALL_REVERTED, "", {}, wake_at)


def mined_in(tx: int, *ids: MessageId, wei: int = 1) -> Settlement:
    """Mined in block 650, delivering `ids`; costs go to the one route."""
    inclusion = Inclusion(BlockNumber(650), tx_of(tx), ids)
    cost = CostTotal(Wei(wei), Gas(999), 1)
    return Settlement(Reason.NEW, "mined", inclusion, costs={ROUTE: cost})


def intent(nonce: int, *numbers: int, tx: int = 700) -> Intent:
    calls = tuple(IntentCall(id_of(number), "deliver") for number in numbers)
    purpose = "deliver" if numbers else "cancel"
    return Intent(SIGNER, nonce, calls, (attempt(tx),), Timestamp(1_700_000_000.25), purpose)


async def stored(store: Store, number: int) -> Record:
    record = await store.get(id_of(number))
    assert record is not None
    return record


async def with_messages(store: Store, leases: Leases, *numbers: int) -> list[MessageId]:
    await store.save_facts(leases.follower, [message(number) for number in numbers])
    return [id_of(number) for number in numbers]


async def due(store: Store, leases: Leases, *, limit: int = 100) -> list[MessageId]:
    return [r.id for r in await store.claim_due(leases.lane, store.now(), limit, 60)]


async def test_a_claim_hides_and_a_crash_repeats(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Claimed messages come again, whole, only when the claim's time has passed."""
    ids = await with_messages(store, leases, 1, 2)
    before = store.round_trips
    first = await store.claim_due(leases.lane, clock.time, 10, 60)
    assert store.round_trips - before <= 2
    assert [r.message for r in first] == [message(1).message, message(2).message]
    assert [r.wake_at for r in first] == [clock.time + 60] * 2
    assert await due(store, leases) == []
    clock.time += 60
    assert await due(store, leases) == ids


async def test_a_clock_that_ran_ahead_hides_nothing(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """What was put off by a wrong clock, or for ever, is looked at again soon all the same."""
    ids = await with_messages(store, leases, 1, 2, 3, 4)
    year_s = 365 * 86400
    clock.time += year_s
    await store.claim_due(leases.lane, clock.time, 1, 60)
    await store.note_waits(leases.lane, [(ids[1], Wait(Reason.AWAITING_TIME, recheck_s=60))])
    clock.time -= year_s
    longest = Wait(Reason.AWAITING_TIME, recheck_s=year_s)
    await store.note_waits(leases.lane, [(ids[2], longest), (ids[3], longest)])
    assert await due(store, leases) == ids[:2]
    assert await due(store, leases) == []
    clock.time += MOST_SLEEP_S
    assert await due(store, leases) == ids


async def test_a_claim_is_fair_over_routes(store: Store, leases: Leases) -> None:
    """A route with a thousand due messages leaves room for one with three."""
    flood = [message(n, bridge="loud") for n in range(1000)]
    await store.save_facts(leases.follower, [*flood, *(message(n) for n in range(1000, 1003))])
    claimed = await store.claim_due(leases.lane, store.now(), 100, 60)
    assert Counter(r.route.bridge for r in claimed) == {"loud": 97, BRIDGE: 3}


async def test_no_route_is_always_last(store: Store, leases: Leases) -> None:
    """With more routes than room, every one is served after as many claims."""
    facts = [message(n, bridge=f"b{n % 3}") for n in range(9)]
    await store.save_facts(leases.follower, facts)
    served = [
        record.route.bridge
        for _ in range(3)
        for record in await store.claim_due(leases.lane, store.now(), 1, 60)
    ]
    assert sorted(served) == ["b0", "b1", "b2"]


async def test_every_lane_write_needs_the_lease(store: Store, leases: Leases) -> None:
    """Once another owner holds the lane nothing of ours is written."""
    (first,) = await with_messages(store, leases, 1)
    before = await stored(store, 1)
    await store.release(leases.lane)
    await held(store, 10, Role.LANE, "two")
    lane, now = leases.lane, store.now()
    for call in (
        store.claim_due(lane, now, 10, 60),
        store.open_gate(lane, GATE, 5),
        store.note_waits(lane, [(first, Wait(Reason.PAUSED))]),
        store.note_ready(lane, [first]),
        store.note_refused(lane, [(first, Refuse(Reason.UNSUPPORTED, ""), {})]),
        store.recall(lane),
        store.note_failures(lane, [failed(first, at=now)]),
        store.note_failures(lane, [failed(first, at=None)]),
        store.note_included(lane, [(first, 1, None, False, "")]),
        store.note_delivered(lane, [(first, 1, None, False, "")]),
        store.reopen(lane, [first], Reason.REORGED),
        store.reserve_intent(lane, intent(1, 1), [first]),
        store.add_attempt(lane, SIGNER, 1, attempt(2)),
        store.settle(lane, SIGNER, 1, LOST),
    ):
        with pytest.raises(LeaseLost):
            await call
    assert await stored(store, 1) == before
    assert await store.intents(TEN, SIGNER) == []
    assert await store.cost_totals(TEN) == {}


async def test_a_wait_has_a_reason_a_wake_up_and_clocks(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Waiting is written whole, costs no attempt, and repeating it is one line."""
    (first,) = await with_messages(store, leases, 1)
    wait = Wait(
        Reason.AWAITING_ROOT,
        "needs root 2^60",
        gate=GATE,
        gate_value=2**60,
        recheck_s=30,
        clocks=(NamedMoment("challenge", Timestamp(1_700_000_500.0)),),
    )
    for _ in range(100):
        assert await store.note_waits(leases.lane, [(first, wait)]) == []
    record = await stored(store, 1)
    assert (record.status, record.reason) == (Status.WAITING, Reason.AWAITING_ROOT)
    assert (record.gate, record.gate_value) == (str(GATE), 2**60)
    assert record.wake_at == clock.time + 30
    assert record.attempts == 0
    assert record.evidence == {"clock:challenge": "1700000500.000"}
    assert [line.reason for line in record.timeline] == [Reason.NEW, Reason.AWAITING_ROOT]


async def test_a_gate_opens_only_up_to_its_level(store: Store, leases: Leases) -> None:
    """What waits for more than the level keeps waiting; an unknown level opens everything."""
    ids = await with_messages(store, leases, 1, 2, 3)
    waits = [
        (mid, Wait(Reason.AWAITING_ROOT, gate=GATE, gate_value=value, recheck_s=600))
        for mid, value in zip(ids, (5, 6, 7), strict=True)
    ]
    await store.note_waits(leases.lane, waits)
    assert await store.waiting_gates(TEN) == [GATE]
    assert await store.open_gate(leases.lane, GATE, 4) == 0
    assert await store.open_gate(leases.lane, GATE, 6) == 2
    assert sorted(await due(store, leases)) == ids[:2]
    assert await store.open_gate(leases.lane, GATE, None) == 1
    assert await due(store, leases) == ids[2:]
    assert await store.waiting_gates(TEN) == []


async def test_a_message_is_never_in_two_intents(store: Store, leases: Leases) -> None:
    """All or nothing: one message in the way, and the whole intent is not stored."""
    ids = await with_messages(store, leases, 1, 2, 3)
    await store.note_ready(leases.lane, ids)
    assert await store.reserve_intent(leases.lane, intent(7, 1, 2), ids[:2]) == []
    refused = await store.reserve_intent(leases.lane, intent(8, 2, 3), ids[1:])
    assert refused == [ids[1]]
    assert [i.nonce for i in await store.intents(TEN, SIGNER)] == [7]
    assert (await stored(store, 3)).status is Status.READY


async def test_a_message_waits_for_its_old_intent_to_be_settled(
    store: Store, leases: Leases
) -> None:
    """Noted as failed while its transaction's nonce is still open: not sent a second time."""
    (first,) = await with_messages(store, leases, 1)
    await store.reserve_intent(leases.lane, intent(7, 1), [first])
    row = failed(first, at=store.now())
    assert await store.note_failures(leases.lane, [row]) == []
    assert await store.reserve_intent(leases.lane, intent(8, 1, tx=9), [first]) == [first]
    await store.settle(leases.lane, SIGNER, 7, LOST)
    assert await store.reserve_intent(leases.lane, intent(8, 1, tx=9), [first]) == []


async def test_two_owners_cannot_both_reserve(store: Store, leases: Leases) -> None:
    """The lane's old owner is fenced off even when it races with the new one."""
    (first,) = await with_messages(store, leases, 1)
    await store.release(leases.lane)
    fresh = await held(store, 10, Role.LANE, "two")
    outcomes = await asyncio.gather(
        store.reserve_intent(leases.lane, intent(7, 1, tx=1), [first]),
        store.reserve_intent(fresh, intent(7, 1, tx=2), [first]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], LeaseLost)
    assert outcomes[1] == []
    (kept,) = await store.intents(TEN, SIGNER)
    assert kept == intent(7, 1, tx=2)


async def test_a_nonce_is_taken_once(store: Store, leases: Leases) -> None:
    """Another intent with the nonce is refused; the same one again is a repeat."""
    ids = await with_messages(store, leases, 1, 2)
    await store.reserve_intent(leases.lane, intent(7, 1), ids[:1])
    assert await store.reserve_intent(leases.lane, intent(7, 1), ids[:1]) == []
    with pytest.raises(IllegalTransition, match="nonce 7"):
        await store.reserve_intent(leases.lane, intent(7, 2, tx=9), ids[1:])
    assert (await stored(store, 2)).status is Status.WAITING


async def test_an_intent_lives_until_it_is_settled(store: Store, leases: Leases) -> None:
    """Replacements are kept with it; what nobody noted an outcome for waits again."""
    ids = await with_messages(store, leases, 1, 2)
    await store.reserve_intent(leases.lane, intent(7, 1, 2), ids)
    assert await due(store, leases) == []
    await store.add_attempt(leases.lane, SIGNER, 7, attempt(701))
    (kept,) = await store.intents(TEN, SIGNER)
    assert kept.attempts == (attempt(700), attempt(701))
    assert {r.id for r in await store.by_tx(tx_of(701))} == set(ids)
    assert await store.signers(TEN) == [SIGNER]
    mined = mined_in(701, ids[0])
    assert await store.settle(leases.lane, SIGNER, 7, mined) == [ids[1]]
    assert (await stored(store, 1)).status is Status.INCLUDED
    assert await store.intents(TEN, SIGNER) == []
    assert await store.signers(TEN) == []
    assert await due(store, leases) == [ids[1]]
    with pytest.raises(UnknownRecord, match="nonce 7"):
        await store.add_attempt(leases.lane, SIGNER, 7, attempt(702))


async def test_a_delivery_by_our_transaction_is_ours(store: Store, leases: Leases) -> None:
    """Whichever attempt won, the fact's transaction tells who delivered."""
    ids = await with_messages(store, leases, 1, 2)
    await store.reserve_intent(leases.lane, intent(7, 1, 2), ids)
    await store.add_attempt(leases.lane, SIGNER, 7, attempt(701))
    saved = await store.save_facts(leases.far, [delivery(1, tx=700), delivery(2, tx=55)])
    assert [(one.id, one.by_us) for one in saved.new_deliveries] == [
        (ids[0], True),
        (ids[1], False),
    ]
    assert (await stored(store, 1)).reason is Reason.DELIVERED_BY_US


async def test_notes_leave_what_moved_on_alone(store: Store, leases: Leases) -> None:
    """A message delivered while its proof was made is not pulled back."""
    ids = await with_messages(store, leases, 1, 2)
    await store.save_facts(leases.far, [delivery(1)])
    wait = Wait(Reason.PAUSED)
    assert await store.note_waits(leases.lane, [(mid, wait) for mid in ids]) == [ids[0]]
    assert await store.note_ready(leases.lane, ids) == [ids[0]]
    assert (await stored(store, 1)).status is Status.DELIVERED
    assert (await stored(store, 2)).status is Status.READY


async def test_a_failed_attempt_is_counted_and_explained(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Attempts, evidence, the wake-up and the wish to be alone are kept, each in bounds."""
    (first,) = await with_messages(store, leases, 1)
    evidence = {"revert": "x" * 5000, **{f"k{n}": "v" for n in range(50)}}
    for _ in range(100):
        row = Failure(first, Reason.TARGET_FAILED, "no", evidence, Timestamp(clock.time + 9))
        assert await store.note_failures(leases.lane, [row]) == []
    record = await stored(store, 1)
    assert (record.attempts, record.alone, record.wake_at) == (100, True, clock.time + 9)
    assert (len(record.evidence), len(record.evidence["revert"])) == (16, 1024)
    assert len(record.timeline) == 64
    assert record.timeline[0].reason is Reason.NEW


async def test_refusals_hold_or_end_a_message(store: Store, leases: Leases) -> None:
    """A submitted message is held through waiting; a dead one keeps its evidence."""
    ids = await with_messages(store, leases, 1, 2)
    await store.reserve_intent(leases.lane, intent(7, 1), ids[:1])
    held_back = Refuse(Reason.UNSUPPORTED, "why")
    await store.note_refused(leases.lane, [(ids[0], held_back, {})])
    gone = Failure(ids[1], Reason.RETRIES_EXHAUSTED, "40", {"tx": "0x1"}, None)
    await store.note_failures(leases.lane, [gone])
    one, two = await stored(store, 1), await stored(store, 2)
    assert (one.status, one.reason, one.wake_at) == (Status.HELD, Reason.UNSUPPORTED, None)
    assert (two.status, two.detail, two.evidence) == (Status.DEAD, "40", {"tx": "0x1"})


async def test_an_inclusion_that_is_never_confirmed_is_reopened(
    store: Store, leases: Leases
) -> None:
    """Included at or below the final block without a delivery fact: back to the start."""
    ids = await with_messages(store, leases, 1, 2)
    rows = [(ids[0], 600, tx_of(5), True, ""), (ids[1], 601, None, False, "by view")]
    await store.note_included(leases.lane, rows)
    assert await store.overdue_included(TEN, 599) == []
    assert await store.overdue_included(TEN, 600) == ids[:1]
    assert await store.reopen(leases.lane, ids[:1], Reason.REORGED) == []
    assert await store.overdue_included(TEN, 601) == ids[1:]
    assert await due(store, leases) == ids[:1]
    await store.note_delivered(leases.lane, [(ids[1], 601, None, False, "by view")])
    assert (await stored(store, 2)).reason is Reason.DELIVERED_BY_OTHER


async def test_delivered_messages_are_forgotten_after_retention(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """A week later the record and every trace of it are gone; dead ones stay."""
    ids = await with_messages(store, leases, 1, 2)
    await store.note_failures(leases.lane, [failed(ids[1], at=None)])
    await store.save_facts(leases.far, [delivery(1)])
    clock.time += 7 * 86400 + 1
    assert await due(store, leases) == []
    assert await store.get(ids[0]) is None
    assert await store.by_tx(tx_of(1)) == []
    assert [record.id for record in (await store.list()).records] == [ids[1]]
    assert {key.status for key in await store.counts()} == {Status.DEAD}


async def test_costs_add_up_beyond_doubles(store: Store, leases: Leases) -> None:
    """Wei sums are exact however large."""
    for nonce in range(3):
        await store.reserve_intent(leases.lane, intent(nonce), [])
        await store.settle(leases.lane, SIGNER, nonce, mined_in(700, wei=2**80 + 1))
    assert await store.cost_totals(TEN) == {ROUTE: CostTotal(Wei(3 * 2**80 + 3), Gas(2997), 3)}


async def test_settling_twice_changes_nothing(store: Store, leases: Leases, clock: Clock) -> None:
    """A lost answer and a repeat: attempts, costs, timelines stay as the first call left them."""
    ids = await with_messages(store, leases, 1, 2, 3, 4)
    await store.reserve_intent(leases.lane, intent(7, 1, 2, 3, 4), ids)
    settlement = replace(
        mined_in(700, ids[0], wei=5),
        failures=(failed(ids[1], at=clock.time + 9), failed(ids[2], at=None)),
    )
    assert await store.settle(leases.lane, SIGNER, 7, settlement) == [ids[3]]
    after = [await stored(store, number) for number in (1, 2, 3, 4)]
    assert [(r.status, r.attempts) for r in after] == [
        (Status.INCLUDED, 0),
        (Status.WAITING, 1),
        (Status.DEAD, 1),
        (Status.WAITING, 0),
    ]
    clock.time += 1
    assert await store.settle(leases.lane, SIGNER, 7, settlement) is None
    assert [await stored(store, number) for number in (1, 2, 3, 4)] == after
    assert await store.cost_totals(TEN) == {ROUTE: CostTotal(Wei(5), Gas(999), 1)}


async def test_settling_leaves_what_moved_on_alone(store: Store, leases: Leases) -> None:
    """Delivered by a rival while our transaction failed: no attempt, and free of the intent."""
    ids = await with_messages(store, leases, 1, 2)
    await store.reserve_intent(leases.lane, intent(7, 1), ids[:1])
    await store.reserve_intent(leases.lane, intent(8, 2, tx=9), ids[1:])
    await store.save_facts(leases.far, [delivery(1)])
    both = replace(LOST, failures=tuple(failed(mid, at=None) for mid in ids))
    assert await store.settle(leases.lane, SIGNER, 7, both) == []
    assert (await stored(store, 1)).status is Status.DELIVERED
    assert (await stored(store, 2)).status is Status.SUBMITTED


async def test_settling_is_all_or_nothing(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """Costs that cannot be read refuse the whole step: it can be repeated once they are mended."""
    (first,) = await with_messages(store, leases, 1)
    await store.reserve_intent(leases.lane, intent(7, 1), [first])
    key = f"{base(settings.prefix, TEN)}cost"
    await store.command("HSET", key, str(ROUTE), "much")
    with pytest.raises(SchemaMismatch, match="cost"):
        await store.settle(leases.lane, SIGNER, 7, mined_in(700, first))
    assert (await stored(store, 1)).status is Status.SUBMITTED
    await store.command("HDEL", key, str(ROUTE))
    assert await store.settle(leases.lane, SIGNER, 7, mined_in(700, first)) == []
    assert (await stored(store, 1)).status is Status.INCLUDED


async def test_a_new_holder_is_due_at_once_what_the_old_one_claimed(
    store: Store, leases: Leases
) -> None:
    """Claimed and ready messages of a lost inbox come at once; what was written down stays."""
    ids = await with_messages(store, leases, 1, 2, 3, 4)
    assert await due(store, leases) == ids
    await store.note_ready(leases.lane, ids[:2], visibility_s=60)
    await store.note_waits(leases.lane, [(ids[2], Wait(Reason.PAUSED, recheck_s=60))])
    await store.reserve_intent(leases.lane, intent(7, 2), ids[1:2])
    await store.release(leases.lane)
    fresh = await held(store, 10, Role.LANE, "two")
    assert await store.claim_due(fresh, store.now(), 100, 60) == []
    assert await store.recall(fresh) == 2
    again = await store.claim_due(fresh, store.now(), 100, 60)
    assert sorted(record.id for record in again) == [ids[0], ids[3]]


async def test_a_recall_reaches_every_claim_but_those_in_hand(store: Store, leases: Leases) -> None:
    """Pages do not end it, and calls that wait in the inbox are not proved a second time."""
    ids = await with_messages(store, leases, *range(1100))
    assert len(await due(store, leases, limit=2000)) == len(ids)
    assert await store.recall(leases.lane, keep=ids[100:103]) == 1097
    assert await store.recall(leases.lane, keep=ids[100:103]) == 0
    claimed = await due(store, leases, limit=2000)
    assert sorted(claimed) == ids[:100] + ids[103:]
