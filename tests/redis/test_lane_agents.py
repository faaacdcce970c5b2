"""Prover and submitter on a real store: crashes, lies, lost answers and what money is booked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from relayer.adapter import Action, Done, Verdict
from relayer.chains.transactions import Envelope, SignedTransaction
from relayer.errors import EndpointsExhausted
from relayer.message import BlockNumber, Gas, Reason, Route, Status, Wei
from relayer.pipeline.nonces import body_of_raw
from relayer.pipeline.prover import VISIBILITY_S
from relayer.pipeline.receipts import NO_BRIDGE
from relayer.pipeline.settling import HEAD_MAY_LAG
from relayer.settings import LaneSettings
from relayer.store import CostTotal, Role, Store
from tests.redis.conftest import Clock, Leases, held
from tests.redis.lane_world import (
    DELIVERED,
    GAS,
    GAS_PRICE,
    MOVED,
    SIGNER,
    Bridge,
    LaneWorld,
    Sea,
    log_of,
    nonce_of,
)
from tests.redis.sample_facts import BRIDGE, ONE, TEN, id_of, message
from tests.redis.servers import Server
from tests.unit.chain_node import Refused, client_of

pytestmark = pytest.mark.redis

ROUTE = Route(BRIDGE, ONE, TEN)
OVERHEAD = Route(NO_BRIDGE, TEN, TEN)
COST = CostTotal(Wei(GAS * GAS_PRICE), Gas(GAS), 1)
REVERT = Refused(3, "execution reverted", "0xdead")


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@contextlib.asynccontextmanager
async def world_on(
    *seas: Sea, store: Store, leases: Leases, clock: Clock, **settings: Any
) -> AsyncIterator[LaneWorld]:
    ticks = itertools.count(1_000.0)
    chain = client_of(*seas, clock=lambda: next(ticks), id=TEN, **settings)
    async with chain as client:
        yield LaneWorld(store, client, leases.lane, clock, Bridge())


@pytest.fixture
def sea() -> Sea:
    return Sea()


@pytest.fixture
async def world(store: Store, leases: Leases, clock: Clock, sea: Sea) -> AsyncIterator[LaneWorld]:
    async with world_on(sea, store=store, leases=leases, clock=clock) as made:
        yield made


def nonces(sea: Sea) -> list[int]:
    """Of what the chain took, in order."""
    return [nonce_of(raw) for raw in sea.taken.values()]


# --- claims ----------------------------------------------------------------------------------


async def test_the_next_holder_of_a_lane_takes_up_claims_at_once(
    world: LaneWorld, store: Store, leases: Leases, clock: Clock
) -> None:
    """What a dead holder had claimed, and what was ready in its inbox, waits for no clock."""
    await store.save_facts(leases.follower, [message(1), message(2)])
    await store.claim_due(leases.lane, clock.time, 1, 600)
    await world.prover.tick()
    assert world.inbox.ids == [id_of(1), id_of(2)]
    await store.release_lease(leases.lane)
    lease = await held(store, 10, Role.LANE, "two")
    again = LaneWorld(store, world.chain, lease, clock, Bridge())
    await again.prover.tick()
    assert sorted(again.inbox.ids) == [id_of(1), id_of(2)]


async def test_a_failed_tick_gives_back_what_it_had_claimed(
    world: LaneWorld, store: Store, leases: Leases
) -> None:
    """The same holder asks again at once, and not for calls that wait in its inbox."""
    await store.save_facts(leases.follower, [message(1)])
    await world.prover.tick()
    await store.save_facts(leases.follower, [message(2)])
    world.bridge.failure = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await world.prover.tick()
    world.bridge.failure = None
    await world.prover.tick()
    assert world.bridge.asked == [[id_of(1)], [id_of(2)], [id_of(2)]]
    assert world.inbox.ids == [id_of(1), id_of(2)]


async def test_a_slow_proof_is_not_made_twice(
    world: LaneWorld, store: Store, leases: Leases, clock: Clock
) -> None:
    """A call handed over is hidden from then on, however long ago its message was claimed."""
    await store.save_facts(leases.follower, [message(1)])
    world.bridge.proving = lambda: setattr(clock, "time", clock.time + VISIBILITY_S)
    await world.prover.tick()
    await world.prover.tick()
    assert world.bridge.asked == [[id_of(1)]]


class _Crashing:
    """A signer with a bug: it signs the first and no other."""

    address = SIGNER.address

    def __init__(self) -> None:
        self._left = 1

    async def sign(self, tx: Envelope) -> SignedTransaction:
        if not self._left:
            raise ZeroDivisionError
        self._left -= 1
        return await SIGNER.sign(tx)

    async def aclose(self) -> None:
        """Nothing is held."""


# --- sending ---------------------------------------------------------------------------------


async def test_what_travels_alone_is_simulated_when_there_is_room_for_it(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Calls beyond the signer's window wait in the inbox, in order, and cost nothing there."""
    lane = LaneSettings(window=3)
    async with world_on(sea, store=store, leases=leases, clock=clock, lane=lane) as world:
        await world.ready(leases, 1, 2, 3, 4, 5)
        await world.submitter.tick()
        assert sea.methods().count("eth_estimateGas") == len(sea.taken) == 3
        assert world.inbox.ids == [id_of(4), id_of(5)]
        sea.mine(log_of(DELIVERED, 1))
        await world.submitter.tick()
        assert sea.methods().count("eth_estimateGas") == len(sea.taken) == 4
        assert world.inbox.ids == [id_of(5)]


async def test_transactions_of_one_tick_are_broadcast_together(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """In one request, after the intents of all of them are stored."""
    await world.ready(leases, 1, 2, 3)
    await world.submitter.tick()
    bodies = [str(body) for body in sea.bodies if "eth_sendRawTransaction" in str(body)]
    assert len(bodies) == 1
    assert nonces(sea) == [0, 1, 2]


async def test_what_was_stored_and_not_broadcast_is_sent_after_a_failure(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """A tick that ends between the two loses nothing, and sends nothing twice."""
    signer = _Crashing()
    submitter = world.submitter_of(world.signer_lane(signer))
    await world.ready(leases, 1, 2)
    with pytest.raises(ZeroDivisionError):
        await submitter.tick()
    assert not sea.taken
    await submitter.tick()
    assert nonces(sea) == [0]
    assert [(await world.record(one)).status for one in (1, 2)] == [Status.SUBMITTED, Status.READY]


# --- settling --------------------------------------------------------------------------------


async def test_a_lost_answer_books_nothing_twice(
    world: LaneWorld, store: Store, leases: Leases, sea: Sea
) -> None:
    """Settled in the store, not yet here: the next tick only forgets the intent."""
    await world.send(leases, 1, 2)
    sea.mine(log_of(DELIVERED, 1))
    sea.mine(ok=False)
    await world.submitter.tick()
    assert [(await world.record(n)).status for n in (1, 2)] == [Status.INCLUDED, Status.WAITING]
    twice = replace(COST, wei=Wei(COST.wei * 2), gas=Gas(COST.gas * 2), txs=2)
    assert await store.cost_totals(TEN) == {ROUTE: twice}
    before = await world.record(2)
    other = world.submitter_of(world.signer_lane(SIGNER))
    await world.submitter.tick()
    await other.tick()
    assert world.signer.in_flight == 0
    assert await world.record(2) == before
    assert await store.cost_totals(TEN) == {ROUTE: twice}


async def test_two_settlers_of_one_transaction_book_it_once(
    world: LaneWorld, store: Store, leases: Leases, sea: Sea
) -> None:
    """A repeat from memory finds the store ahead: no second attempt, no second cost."""
    await world.send(leases, 1)
    twin = world.submitter_of(world.signer_lane(SIGNER))
    await twin.tick()
    sea.mine(ok=False)
    await world.submitter.tick()
    await twin.tick()
    assert (await world.record(1)).attempts == 1
    assert await store.cost_totals(TEN) == {ROUTE: COST}


async def test_a_transaction_that_carried_nothing_is_booked_too(
    world: LaneWorld, store: Store, leases: Leases, sea: Sea
) -> None:
    """The empty transfer that fills a nonce gap costs money under a heading of its own."""
    await _with_a_gap(world, leases, sea)
    for _ in range(4):
        sea.head += 1
        await world.submitter.tick()
    assert nonces(sea) == [1, 0]
    sea.mine()
    await world.submitter.tick()
    assert await store.cost_totals(TEN) == {OVERHEAD: COST}


async def _with_a_gap(world: LaneWorld, leases: Leases, sea: Sea) -> None:
    """The chain's count is one too high once, so that a message is sent above a gap."""
    sea.mined = 1
    await world.send(leases, 1)
    sea.mined = 0
    sea.head += 1
    await world.submitter.tick()


async def test_a_receipt_with_nonsense_in_it_is_settled(
    world: LaneWorld, store: Store, leases: Leases, sea: Sea
) -> None:
    """A fee that is no number counts as nothing; the lane does not stand still for it."""
    sea.more_in_receipts = {"l1Fee": "a lot"}
    await world.send(leases, 1)
    sea.mine(log_of(DELIVERED, 1))
    await world.submitter.tick()
    assert (await world.record(1)).status is Status.INCLUDED
    assert await store.cost_totals(TEN) == {ROUTE: COST}


async def test_a_receipt_from_the_future_is_doubted_like_any_other(
    world: LaneWorld, store: Store, leases: Leases, sea: Sea
) -> None:
    """A block number that never comes must not keep a message `included` for ever."""
    sea.more_in_receipts = {"blockNumber": hex(2**60)}
    await world.send(leases, 1)
    sea.mine()
    (receipt,) = sea.receipts.values()
    receipt["logs"] = [
        log_of(DELIVERED, 1) | {name: receipt[name] for name in ("blockNumber", "blockHash")}
    ]
    receipt["logs"][0]["transactionHash"] = receipt["transactionHash"]
    await world.submitter.tick()
    soon = BlockNumber(sea.head + HEAD_MAY_LAG)
    assert await store.overdue_included(TEN, soon) == [id_of(1)]


async def test_a_bridge_that_crashes_on_a_receipt_leaves_the_nonce_settled(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Its message is looked at again; the signer's window is free."""
    await world.send(leases, 1)
    world.bridge.decodes = False
    sea.mine(log_of(DELIVERED, 1))
    await world.submitter.tick()
    assert world.signer.in_flight == 0
    assert (await world.record(1)).status is Status.WAITING


async def test_a_step_that_was_never_to_deliver_spends_no_attempt(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Carried one step on it is due now; without its event the attempt counts, so it ends."""
    world.bridge.final = False
    await world.send(leases, 1, 2)
    sea.mine(log_of(MOVED, 1))
    sea.mine()
    await world.submitter.tick()
    one, two = await world.record(1), await world.record(2)
    assert (one.status, one.attempts, one.wake_at) == (Status.WAITING, 0, clock.time)
    assert (two.status, two.attempts) == (Status.WAITING, 1)


# --- nonces ----------------------------------------------------------------------------------


async def test_a_gap_is_filled_by_the_next_message(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """A nonce that was skipped by a wrong answer is used first: no fee for an empty transfer."""
    await _with_a_gap(world, leases, sea)
    await world.send(leases, 2, 3)
    assert nonces(sea) == [1, 0, 2]


async def test_a_wildly_wrong_count_stops_nothing(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """The gap below a nonce of a trillion is not counted one by one."""
    sea.mined = 10**12
    await world.send(leases, 1)
    sea.mined = 0
    sea.head += 1
    async with asyncio.timeout(20):
        await world.submitter.tick()
        await world.send(leases, 2)
    assert nonces(sea) == [10**12, 0]


async def test_a_transaction_out_of_reach_is_given_up_not_bridged(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Filling a gap of a trillion would burn money for ever: its messages are sent again."""
    sea.mined = 10**12
    await world.send(leases, 1)
    sea.mined = 0
    for _ in range(5):
        sea.head += 5
        clock.time += 15
        await world.submitter.tick()
    assert nonces(sea) == [10**12]
    assert (await world.record(1)).reason is Reason.REPLACED
    assert world.signer.in_flight == 0


async def test_a_head_that_never_was_does_not_stop_replacements(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Sent while an endpoint imagined a far block: still replaced when it is stuck."""
    sea.head += 10**9
    await world.send(leases, 1)
    sea.head -= 10**9
    await world.submitter.tick()
    sea.head += 100
    await world.submitter.tick()
    assert nonces(sea) == [0, 0]


async def test_a_head_that_never_was_does_not_close_the_lane(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """The wait for unknown pending transactions counts from a block that exists."""
    sea.pending = 3
    sea.head += 10**9
    await world.submitter.tick()
    sea.head -= 10**9
    await world.submitter.tick()
    sea.head += 20
    await world.send(leases, 1)
    assert nonces(sea) == [0]


async def test_a_lost_receipt_is_believed_after_heads_and_seconds(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """On a chain of fast blocks twenty heads are no time at all."""
    await world.send(leases, 1)
    sea.mined = 1
    sea.head += 1
    await world.submitter.tick()
    sea.head += 20
    await world.submitter.tick()
    assert (await world.record(1)).status is Status.SUBMITTED
    clock.time += 60
    await world.submitter.tick()
    record = await world.record(1)
    assert (record.status, record.reason, record.attempts) == (Status.WAITING, Reason.REPLACED, 0)


async def test_a_reorg_starts_the_wait_for_a_receipt_anew(
    world: LaneWorld, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Used, free again, and used: what was missing then is not missing for long now."""
    await world.send(leases, 1)
    for count in (1, 0, 1):
        sea.mined = count
        await world.submitter.tick()
        sea.head += 20
        clock.time += 60
    assert (await world.record(1)).status is Status.SUBMITTED


async def test_one_endpoint_cannot_make_us_give_up_a_transaction(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Under a quorum a nonce is used, and a transaction mined, when so many endpoints say so."""
    liar, *honest = seas = [Sea(), Sea(), Sea()]
    async with world_on(*seas, store=store, leases=leases, clock=clock, quorum=2) as world:
        await world.send(leases, 1)
        liar.mine(ok=False)
        liar.head -= 1
        for _ in range(3):
            await world.submitter.tick()
            for sea in seas:
                sea.head += 20
            clock.time += 60
        assert (await world.record(1)).status is Status.SUBMITTED
        for sea in honest:
            sea.mine(log_of(DELIVERED, 1))
        await world.submitter.tick()
        assert (await world.record(1)).status is Status.INCLUDED


async def test_a_refusal_that_passes_costs_no_empty_transfer(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Refused for its contents twice is needed before its nonce is given to nothing."""
    sea.refusal = Refused(-32000, "some new wording")
    await world.send(leases, 1)
    sea.refusal = None
    sea.head += 100
    await world.submitter.tick()
    (raw,) = sea.taken.values()
    assert body_of_raw(raw).data != b""
    sea.taken.clear()
    sea.refusal = Refused(-32000, "some new wording")
    sea.head += 100
    await world.submitter.tick()
    sea.head += 100
    await world.submitter.tick()
    sea.refusal = None
    sea.head += 100
    await world.submitter.tick()
    assert body_of_raw(list(sea.taken.values())[-1]).data == b""


async def test_pending_transactions_nobody_remembers_are_waited_for_once(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Stuck ones do not stop the lane again each time that the intents are read anew."""
    sea.pending = 3
    await world.send(leases, 1)
    assert sea.taken == {}
    sea.head += 20
    await world.signer.load()
    await world.submitter.tick()
    assert nonces(sea) == [0]


async def test_a_former_signers_transactions_are_settled(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Its key is gone from the configuration; its messages are not stranded."""
    await world.send(leases, 1)
    sea.taken.clear()
    former = world.signer_lane(None)
    without_key = world.submitter_of(former)
    await without_key.tick()
    assert len(sea.taken) == 1
    sea.head += 100
    await without_key.tick()
    assert former.room() == 0
    sea.mine(log_of(DELIVERED, 1))
    await without_key.tick()
    assert (await world.record(1)).status is Status.INCLUDED


# --- before sending --------------------------------------------------------------------------


async def test_a_bridge_that_crashes_on_a_failure_spends_its_own_attempt(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """Every failed call of the batch is written down, whatever `classify` does with one."""
    sea.estimate = REVERT
    await world.ready(leases, 1, 2)
    await world.submitter.tick()
    found = [await world.record(number) for number in (1, 2)]
    assert [one.reason for one in found] == [Reason.INTERNAL_ERROR] * 2
    assert [one.attempts for one in found] == [1, 1]


async def test_a_written_down_failure_keeps_its_back_off(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """A node that goes away in the middle of a batch does not undo what was noted before."""
    sea.estimate = REVERT
    await world.ready(leases, 1, 2)

    def delivered_and_gone() -> Verdict:
        sea.reply = _down
        world.bridge.steps[id_of(2)] = Done()
        return Verdict(Action.DONE, Reason.DELIVERED_BY_OTHER, "")

    world.bridge.verdicts = {
        id_of(1): lambda: Verdict(Action.RETRY, Reason.TARGET_FAILED, "no"),
        id_of(2): delivered_and_gone,
    }
    with pytest.raises(EndpointsExhausted):
        await world.submitter.tick()
    record = await world.record(1)
    assert (record.reason, record.attempts) == (Reason.TARGET_FAILED, 1)


def _down(body: Any) -> web.StreamResponse:
    return web.Response(status=503)


async def test_an_unpayable_base_fee_is_waited_out(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """No nonce is given to what no block would take; people read why."""
    sea.base_fee = 10**15
    await world.send(leases, 1)
    assert sea.taken == {}
    assert (await world.record(1)).reason is Reason.FEE_CAP_EXCEEDED


async def test_a_call_larger_than_any_transaction_is_not_sent(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """No other try could help, so a person must; what is small enough goes."""
    await world.ready(leases, 1, size=200_000)
    await world.send(leases, 2)
    large = await world.record(1)
    assert (large.status, large.reason) == (Status.DEAD, Reason.UNDELIVERABLE)
    assert "lane.max_tx_bytes" in large.detail
    assert (await world.record(2)).status is Status.SUBMITTED


async def test_a_simulation_without_money_says_so(
    world: LaneWorld, leases: Leases, sea: Sea
) -> None:
    """The node checks the value against the balance: that is what an operator must read."""
    sea.estimate = Refused(-32000, "insufficient funds for transfer")
    await world.send(leases, 1)
    assert (await world.record(1)).reason is Reason.INSUFFICIENT_BALANCE
