"""Notices of webhooks: queued with the place read to, told again, given up, and revived."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.errors import LeaseLost
from relayer.message import Timestamp
from relayer.store import Lease, Notice, Role, Store, WebhookState
from relayer.store.notices import DEAD_KEPT
from tests.redis.conftest import Clock, held
from tests.redis.sample_facts import TEN

pytestmark = pytest.mark.redis

BIG = 1_700_000_000_001
"""A number that JSON in Lua would round."""


@pytest.fixture
async def lease(store: Store) -> Lease:
    return await held(store, 10, Role.WEBHOOKS)


def notice(number: int) -> Notice:
    return Notice(number=number, body=f'{{"n": {number}, "ünï": 1}}', since=1.5)


async def test_the_place_and_the_notices_move_together(store: Store, lease: Lease) -> None:
    """Whoever comes second, from the same place, writes nothing."""
    assert await store.notice_place(TEN, "hook") is None
    queue = [notice(BIG), notice(BIG + 1)]
    assert await store.queue_notices(lease, "hook", queue, after=None, upto=BIG + 5)
    assert not await store.queue_notices(lease, "hook", queue, after=None, upto=BIG + 9)
    assert await store.notice_place(TEN, "hook") == BIG + 5
    assert await store.due_notices(TEN, "hook") == queue
    assert await store.due_notices(TEN, "other") == []
    assert await store.notices_pending(TEN, "hook") == 2


async def test_outcomes(store: Store, lease: Lease, clock: Clock) -> None:
    """Told ones are gone, failed ones come back at their time, dead ones are kept and counted."""
    queue = [notice(BIG + n) for n in range(3)]
    await store.queue_notices(lease, "hook", queue, after=None, upto=BIG + 2, lost=4)
    failed = replace(queue[1], attempts=1, trouble="status 500")
    await store.settle_notices(
        lease,
        "hook",
        told=[queue[0].number],
        again=[(failed, Timestamp(clock.time + 5))],
        dead=[queue[2]],
    )
    assert await store.due_notices(TEN, "hook") == []
    assert await store.webhook_state("hook") == WebhookState(pending=1, dead=1, lost=4)
    clock.time += 5
    assert await store.due_notices(TEN, "hook") == [failed]
    assert await store.dead_notices("hook") == [queue[2]]


async def test_dead_letters_are_told_again(store: Store, lease: Lease) -> None:
    """Revived with a fresh count of attempts, from the oldest on."""
    dead = [replace(notice(BIG + n), attempts=9) for n in range(2)]
    await store.queue_notices(lease, "hook", dead, after=None, upto=BIG + 2)
    await store.settle_notices(lease, "hook", dead=dead)
    assert await store.revive_notices("hook") == 2
    assert await store.due_notices(TEN, "hook") == [notice(BIG), notice(BIG + 1)]
    assert await store.dead_notices("hook") == []


async def test_dead_letters_are_bounded_and_the_loss_is_counted(store: Store, lease: Lease) -> None:
    """The newest thousand stay."""
    dead = [notice(BIG + n) for n in range(DEAD_KEPT + 3)]
    await store.settle_notices(lease, "hook", dead=dead)
    state = await store.webhook_state("hook")
    assert (state.dead, state.lost) == (DEAD_KEPT, 3)
    assert (await store.dead_notices("hook", limit=1))[0].number == dead[-1].number


async def test_without_the_lease_nothing_is_written(store: Store, lease: Lease) -> None:
    """Two replicas never both tell."""
    stranger = replace(lease, token=lease.token - 1)
    with pytest.raises(LeaseLost):
        await store.queue_notices(stranger, "hook", [notice(1)], after=None, upto=1)
    with pytest.raises(LeaseLost):
        await store.settle_notices(stranger, "hook", told=[1])
    assert await store.notice_place(TEN, "hook") is None


async def test_a_notice_told_meanwhile_is_not_brought_back(store: Store, lease: Lease) -> None:
    """A late failure of what is settled already changes nothing."""
    await store.queue_notices(lease, "hook", [notice(1)], after=None, upto=1)
    await store.settle_notices(lease, "hook", told=[1])
    await store.settle_notices(lease, "hook", again=[(notice(1), Timestamp(0.0))])
    assert await store.notices_pending(TEN, "hook") == 0
