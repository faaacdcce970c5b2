"""One value that nobody of ours wrote is told of by its key, and hides nothing else."""

from __future__ import annotations

import pytest
import structlog

from relayer.message import Reason, Status
from relayer.settings import RedisSettings
from relayer.store import StatusCount, Store
from relayer.store.keys import META, base
from tests.redis.conftest import Leases
from tests.redis.sample_facts import ONE, TEN, cursor, id_of, message

pytestmark = pytest.mark.redis

ROUTE = message(1).message.route


async def test_a_member_that_is_no_chain_is_passed_over(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """Messages are found, listed and counted; the error names key, value and way out, once."""
    await store.save_facts(leases.follower, [message(1)])
    key = base(settings.prefix, META) + "chains"
    await store.command("SADD", key, "x", b"\xff", "1" * 40)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            assert await store.chains() == [ONE, TEN]
        assert await store.get(id_of(1)) is not None
        assert len((await store.list()).records) == 1
    told = [line for line in lines if line["event"] == "stored_garbage"]
    assert len(told) == 3
    assert all(line["key"] == key and "SREM" in line["way_out"] for line in told)


@pytest.mark.parametrize(
    ("field", "value"), [("x", "1"), ("waiting new nowhere", "1"), ("a b c:1>2", "1"), (None, "x")]
)
async def test_a_count_that_is_none_is_passed_over(
    store: Store, leases: Leases, settings: RedisSettings, field: str | None, value: str
) -> None:
    """The other counts are shown."""
    await store.save_facts(leases.follower, [message(1), message(2, to=20)])
    key = base(settings.prefix, TEN) + "counts"
    await store.command("HSET", key, field or f"held new {ROUTE}", value)
    with structlog.testing.capture_logs() as lines:
        counts = await store.counts()
    assert counts[StatusCount(ROUTE, Status.WAITING, Reason.NEW)] == 1
    assert len(counts) == 2
    assert [line["key"] for line in lines] == [key]


async def test_sums_and_blocks_that_are_none_are_passed_over(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """Costs, income and remembered blocks."""
    await store.advance(leases.follower, cursor(50))
    lane, home = base(settings.prefix, TEN), base(settings.prefix, ONE)
    await store.command("HSET", lane + "cost", str(ROUTE), "1 2 3", "x", "1 2 3", "h:1>2", "1 2")
    await store.command("HSET", lane + "income", str(ROUTE), "7", "x", "1", "h:1>2", "much")
    await store.command("ZADD", home + "scanned", 60, "60", 61, "x y z")
    with structlog.testing.capture_logs() as lines:
        assert list(await store.cost_totals(TEN)) == [ROUTE]
        assert await store.income_totals(TEN) == {ROUTE: 7}
        assert await store.remembered(ONE) == [cursor(50)]
    keys = [line["key"] for line in lines if line["event"] == "stored_garbage"]
    assert keys == [lane + "cost"] * 2 + [lane + "income"] * 2 + [home + "scanned"] * 2


async def test_a_roll_back_passes_over_garbage(
    store: Store, leases: Leases, settings: RedisSettings
) -> None:
    """The facts beside it are undone, and it does not come back."""
    await store.advance(leases.follower, cursor(50))
    await store.save_facts(leases.follower, [message(1, block=60)])
    await store.advance(leases.follower, cursor(60))
    key = base(settings.prefix, ONE) + "facts"
    await store.command("ZADD", key, 55, "x", 56, b"\xff", 57, "M ten 0x1 0x2")
    with structlog.testing.capture_logs() as lines:
        undone = await store.rollback(leases.follower, cursor(50))
    assert undone.orphaned == (id_of(1),)
    assert len([line for line in lines if line["event"] == "stored_garbage"]) == 3
    assert await store.command("ZCARD", key) == 0
