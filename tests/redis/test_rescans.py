"""Ranges to read again survive whoever asked for them, and only the follower moves them on."""

from __future__ import annotations

import pytest

from relayer.errors import IllegalTransition, LeaseLost, SchemaMismatch
from relayer.message import BlockNumber
from relayer.store import Rescan, Store
from relayer.store.keys import base
from relayer.store.rescans import MOST_RESCANS
from tests.redis.conftest import Leases

pytestmark = pytest.mark.redis


def rescan(first: int, last: int, at: int) -> Rescan:
    return Rescan(BlockNumber(first), BlockNumber(last), BlockNumber(at))


async def test_a_range_is_read_in_parts_and_then_gone(store: Store, leases: Leases) -> None:
    """Progress is kept; asking again for an open range does not start it over."""
    lease = leases.follower
    await store.ask_rescan(lease.chain, BlockNumber(10), BlockNumber(99))
    assert await store.rescans(lease.chain) == [rescan(10, 99, 10)]
    await store.note_rescanned(lease, rescan(10, 99, 10), BlockNumber(49))
    await store.ask_rescan(lease.chain, BlockNumber(10), BlockNumber(99))
    assert await store.rescans(lease.chain) == [rescan(10, 99, 50)]
    await store.note_rescanned(lease, rescan(10, 99, 50), BlockNumber(99))
    assert await store.rescans(lease.chain) == []


async def test_only_the_follower_moves_a_range_on(store: Store, leases: Leases) -> None:
    """A follower that lost its lease cannot say that blocks were read."""
    lease = leases.follower
    await store.ask_rescan(lease.chain, BlockNumber(1), BlockNumber(2))
    await store.release_lease(lease)
    with pytest.raises(LeaseLost):
        await store.note_rescanned(lease, rescan(1, 2, 1), BlockNumber(2))
    with pytest.raises(LeaseLost):
        await store.note_followed(lease, {"0xaa 0xbb": BlockNumber(1)})
    assert await store.rescans(lease.chain) == [rescan(1, 2, 1)]


async def test_open_ranges_are_bounded(store: Store, leases: Leases) -> None:
    """A script that asks without end is told so, and what was asked for stays."""
    chain = leases.follower.chain
    for first in range(MOST_RESCANS):
        await store.ask_rescan(chain, BlockNumber(first), BlockNumber(1000))
    with pytest.raises(IllegalTransition, match="64 ranges"):
        await store.ask_rescan(chain, BlockNumber(999), BlockNumber(1000))
    assert len(await store.rescans(chain)) == MOST_RESCANS


async def test_what_is_followed_is_remembered(store: Store, leases: Leases) -> None:
    """The next follower knows from where each log was read."""
    lease = leases.follower
    await store.note_followed(lease, {"0xaa 0xbb": BlockNumber(7), "0xaa 0xcc": BlockNumber(9)})
    await store.note_followed(lease, {"0xaa 0xbb": BlockNumber(3)})
    assert await store.followed(lease.chain) == {"0xaa 0xbb": 3, "0xaa 0xcc": 9}


@pytest.mark.parametrize(("field", "value"), [("1-x", "1"), ("1-2", "soon"), ("", "")])
async def test_garbage_is_named(store: Store, leases: Leases, field: str, value: str) -> None:
    """A key that somebody else wrote is an error that names the key."""
    chain = leases.follower.chain
    key = base(store._prefix, chain) + "rescans"
    await store.command("HSET", key, field, value)
    with pytest.raises(SchemaMismatch, match="rescans"):
        await store.rescans(chain)
