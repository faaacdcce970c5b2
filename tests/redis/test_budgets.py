"""What deliveries may cost, what they earn, and that neither is counted twice."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from relayer.message import ChainId, Reason, Route, Status, Wei
from relayer.settings import FeeRule, PolicySettings
from relayer.store import Role, Store
from tests.redis.conftest import Clock, Leases, held
from tests.redis.lane_world import DELIVERED, GAS, GAS_PRICE, Bridge, LaneWorld, Sea, log_of
from tests.redis.sample_facts import BRIDGE, ONE, TEN, id_of, message, payment
from tests.redis.servers import Server
from tests.unit.chain_node import client_of

pytestmark = pytest.mark.redis

ROUTE = Route(BRIDGE, ONE, TEN)
GWEI = 10**9
EXPECTED_GWEI = -(-GAS * 115 // 100 * (GAS_PRICE + 1) // GWEI)
"""What one message is expected to cost on a `Sea`: gas with its margin, base fee and tip."""
ORACLE, MULTICALL = "0x" + "fe" * 20, "0x" + "ca" * 20
HUNGRY = 40 * GAS


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def sea() -> Sea:
    """Estimates as much as a test says, and `HUNGRY` for a call to message 13."""
    made = Sea()
    made.on |= {
        "eth_getCode": lambda params: "0x60",
        "eth_estimateGas": lambda params: hex(
            HUNGRY if id_of(13)[2:] in params[0]["data"] else GAS
        ),
    }
    return made


@contextlib.asynccontextmanager
async def world_with(
    rule: FeeRule, sea: Sea, store: Store, leases: Leases, clock: Clock, **fees: object
) -> AsyncIterator[LaneWorld]:
    ticks = itertools.count(1_000.0)
    chain = client_of(sea, clock=lambda: next(ticks), id=TEN, fees=fees, multicall=MULTICALL)
    async with chain as client:
        await client.start()
        yield LaneWorld(store, client, leases.lane, clock, Bridge(), PolicySettings(fee=[rule]))


async def day_total(store: Store, clock: Clock, name: str = "policy.fee[0].max_per_day") -> int:
    day = datetime.fromtimestamp(clock.time, UTC).date().isoformat()
    return (await store.spent(TEN, day, [name]))[name]


async def test_a_spent_budget_makes_messages_wait_for_the_next_day(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """The first is sent, the second waits with the reason, and goes when the day is over."""
    rule = FeeRule(max_per_day=EXPECTED_GWEI * GWEI * 3 // 2)
    async with world_with(rule, sea, store, leases, clock) as world:
        await world.send(leases, 1)
        await world.send(leases, 2)
        first, second = await world.record(1), await world.record(2)
        assert first.status is Status.SUBMITTED
        assert (second.status, second.reason) == (Status.WAITING, Reason.BUDGET_SPENT)
        assert "policy.fee[0].max_per_day has" in second.detail
        assert second.wake_at is not None
        assert len(sea.taken) == 1
        clock.time += 86400
        await store.note_ready(leases.lane, [second.id])
        await world.send(leases, 2)
        assert (await world.record(2)).status is Status.SUBMITTED


async def test_a_budget_holds_what_was_really_paid(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """In flight it holds the expectation, settled the receipt's cost, and a lost one nothing."""
    rule = FeeRule(max_per_day=10**18)
    async with world_with(rule, sea, store, leases, clock) as world:
        await world.send(leases, 1)
        assert await day_total(store, clock) == EXPECTED_GWEI
        sea.mine(log_of(DELIVERED, 1))
        await world.submitter.tick()
        paid = GAS * GAS_PRICE // GWEI
        assert paid <= await day_total(store, clock) <= paid + 1  # rounded up
        assert (await world.record(1)).status is Status.INCLUDED


async def test_an_unprofitable_message_goes_when_gas_is_cheap(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """It waits while the inbox pays less than the delivery costs, and its income is booked."""
    async with world_with(FeeRule(kind="profit"), sea, store, leases, clock) as world:
        world.bridge.income = Wei(EXPECTED_GWEI * GWEI)
        sea.base_fee = 2 * GAS_PRICE
        await world.send(leases, 1)
        waiting = await world.record(1)
        assert (waiting.status, waiting.reason) == (Status.WAITING, Reason.AWAITING_PAYMENT)
        assert sea.taken == {}
        sea.base_fee = GAS_PRICE - 1
        await world.send(leases, 1)
        assert (await world.record(1)).status is Status.SUBMITTED
        sea.mine(log_of(DELIVERED, 1))
        await world.submitter.tick()
        assert await store.income_totals(TEN) == {ROUTE: world.bridge.income}
        assert await store.paid_totals(TEN) == {}


async def test_what_senders_paid_is_booked_with_the_delivery(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """A payment to a paymaster on the origin is no income of ours, and is told apart from it."""
    async with world_with(FeeRule(), sea, store, leases, clock) as world:
        await world.send(leases, 1)
        await store.save_facts(leases.follower, [payment(1)])
        paid = (await world.record(1)).payment.amount
        assert paid > 0
        sea.mine(log_of(DELIVERED, 1))
        await world.submitter.tick()
        assert await store.paid_totals(TEN) == {ROUTE: paid}
        assert await store.income_totals(TEN) == {}


async def test_a_call_in_vain_earns_nothing(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Somebody was faster: the cost is booked, the income is not."""
    async with world_with(FeeRule(), sea, store, leases, clock) as world:
        world.bridge.income = Wei(10**15)
        await world.send(leases, 1)
        sea.mine(ok=False)
        world.bridge.verdicts = {}
        await world.submitter.tick()
        assert (await store.income_totals(TEN), await store.paid_totals(TEN)) == ({}, {})
        assert (await store.cost_totals(TEN))[ROUTE].wei == GAS * GAS_PRICE
        text = world.metrics.render().decode()
        assert f'relayer_wasted_calls_total{{route="{ROUTE}"}} 1.0' in text


async def test_the_chains_data_fee_is_part_of_the_cost(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """A layer 2 that charges for publishing calldata can make a delivery unprofitable."""
    sea.on["eth_call"] = lambda params: "0x" + (10**15).to_bytes(32, "big").hex()
    rule = FeeRule(kind="profit")
    world_of = world_with(rule, sea, store, leases, clock, data_fee_oracle=ORACLE)
    async with world_of as world:
        world.bridge.income = Wei(EXPECTED_GWEI * GWEI + 10**15 - GWEI)
        await world.send(leases, 1)
        assert (await world.record(1)).reason is Reason.AWAITING_PAYMENT
        world.bridge.income = Wei(world.bridge.income + GWEI)
        await world.send(leases, 1)
        assert (await world.record(1)).status is Status.SUBMITTED


# --- in company ------------------------------------------------------------------------------


async def test_nobody_travels_on_what_another_pays(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """A hungry message beside cheap ones is weighed by its own gas, and so are they."""
    rule = FeeRule(kind="profit")
    async with world_with(rule, sea, store, leases, clock) as world:
        await world.send(leases, 1, 2)  # now the cheapest call is known
        assert sea.taken == {}
        world.bridge.income = Wei(3 * EXPECTED_GWEI * GWEI)
        await world.send(leases, *range(3, 20))
        assert len(sea.taken) == 1
        hungry = await world.record(13)
        assert (hungry.status, hungry.reason) == (Status.WAITING, Reason.AWAITING_PAYMENT)
        for number in {*range(3, 20)} - {13}:
            assert (await world.record(number)).status is Status.SUBMITTED


async def test_a_hungry_message_is_taken_out_of_its_own_senders_budget(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """The others' senders have as much left as if it had not been there."""
    rule = FeeRule(max_per_sender=5 * EXPECTED_GWEI * GWEI)
    async with world_with(rule, sea, store, leases, clock) as world:
        other = replace(message(13).message, sender="0x" + "ee" * 20)
        await store.save_facts(leases.follower, [replace(message(13), message=other)])
        await world.send(leases, 13, 1, 2, 3)
        hungry = await world.record(13)
        assert (hungry.status, hungry.reason) == (Status.WAITING, Reason.BUDGET_SPENT)
        for number in (1, 2, 3):
            assert (await world.record(number)).status is Status.SUBMITTED


async def test_the_cost_of_a_shared_transaction_is_booked_by_gas(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Two routes share a transaction; the hungry one's share is the larger by its estimate."""
    async with world_with(
        FeeRule(kind="quote_fraction", fraction="0/1"), sea, store, leases, clock
    ) as world:
        far = replace(message(13).message, route=replace(ROUTE, origin=ChainId(7)))
        await store.save_facts(leases.follower, [replace(message(13), message=far), payment(1)])
        paid = payment(13, index=8)
        seven = await held(store, 7, Role.FOLLOWER)
        await store.save_facts(seven, [replace(paid, at=replace(paid.at, chain=ChainId(7)))])
        await world.send(leases, 1, 13)
        assert len(sea.taken) == 1
        sea.mine(log_of(DELIVERED, 1), log_of(DELIVERED, 13))
        await world.submitter.tick()
        costs = await store.cost_totals(TEN)
        assert sum(cost.wei for cost in costs.values()) == GAS * GAS_PRICE
        assert costs[far.route].wei > 30 * costs[ROUTE].wei
