"""Records that a chain's part of Redis lost are noticed by the chain they came from."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.cluster import RedisCluster

from relayer.message import BlockNumber
from relayer.store import LostBatches, Store
from relayer.store.keys import base
from tests.redis.conftest import Leases
from tests.redis.sample_facts import ONE, TEN, TWENTY, cursor, delivery, id_of, message
from tests.redis.servers import Server

pytestmark = pytest.mark.redis


def lost(to: int, known: int, newest: int, first: int | None) -> LostBatches:
    return LostBatches(TEN if to == 10 else TWENTY, known, newest, first and BlockNumber(first))


@pytest.fixture
def client(server: Server) -> Redis:
    return RedisCluster.from_url(server.url) if server.cluster else Redis.from_url(server.url)  # type: ignore[return-value]


def keys_of(client: Redis, store: Store, chain: int) -> list[bytes]:
    """Every key of a chain's slot."""
    return list(client.scan_iter(base(store._prefix, str(chain)) + "*"))


async def test_a_slot_that_is_gone_is_noticed(store: Store, leases: Leases, client: Redis) -> None:
    """Only the destination that lost something is told of, from the first block of its own."""
    lease = leases.follower
    await store.save_facts(lease, [message(1, block=100), message(2, block=101, to=20)])
    await store.save_facts(lease, [message(3, block=105)])
    assert await store.lost_batches(lease) == []
    for key in keys_of(client, store, TEN):
        client.delete(key)
    assert await store.lost_batches(lease) == [lost(10, 0, 2, 100)]
    for one in await store.lost_batches(lease):
        await store.note_batches(lease, one)
    assert await store.lost_batches(lease) == []


async def test_a_slot_that_lost_its_last_writes_is_noticed(
    store: Store, leases: Leases, client: Redis
) -> None:
    """A replica that lacks the newest writes took over; later writes do not hide the loss."""
    lease = leases.follower
    await store.save_facts(lease, [message(1, block=100)])
    before = {key: client.dump(key) for key in keys_of(client, store, TEN)}
    await store.save_facts(lease, [message(2, block=103)])
    await store.save_facts(lease, [message(3, block=104)])
    for key in keys_of(client, store, TEN):
        client.delete(key)
    for key, value in before.items():
        client.restore(key, 0, value)
    await store.save_facts(lease, [message(4, block=110)])
    assert await store.lost_batches(lease) == [lost(10, 1, 4, 103)]
    await store.save_facts(lease, [message(n, block=100 + n) for n in (3, 4)])
    await store.save_facts(lease, [message(2, block=102)])
    assert await store.lost_batches(lease) == [lost(10, 1, 6, 102)]


async def test_a_batch_that_fails_is_tried_again_under_its_number(
    store: Store, leases: Leases
) -> None:
    """A destination that cannot be written for long costs one number, not one a try."""
    lease = leases.follower
    key = base(store._prefix, TEN) + "status:waiting:" + str(message(1).message.route)
    await store.command("SET", key, "garbage")
    for _ in range(3):
        with pytest.raises(Exception, match="another type"):
            await store.save_facts(lease, [message(1, block=100)])
    await store.command("DEL", key)
    await store.save_facts(lease, [message(1, block=100)])
    assert await store.lost_batches(lease) == []
    newest = base(store._prefix, ONE) + "batches:10"
    assert await store.command("ZCARD", newest) == 1


@pytest.mark.parametrize(
    ("cut_off", "again"), [((100,), (100, 103)), ((100, 103), (100,)), ((101, 103), (100, 102))]
)
async def test_a_batch_that_was_cut_off_is_no_loss_when_its_blocks_come_in_other_company(
    store: Store, leases: Leases, cut_off: tuple[int, ...], again: tuple[int, ...]
) -> None:
    """A follower that is stopped between number and records goes on with another range."""
    lease = leases.follower
    await store.save_facts(lease, [message(9, block=90)])
    key = base(store._prefix, TEN) + "status:waiting:" + str(message(1).message.route)
    await store.command("RENAME", key, key + "-away")
    await store.command("SET", key, "garbage")
    with pytest.raises(Exception, match="another type"):
        await store.save_facts(lease, [message(block, block=block) for block in cut_off])
    await store.command("RENAME", key + "-away", key)
    assert len(await store.lost_batches(lease)) == 1
    await store.save_facts(lease, [message(block, block=block) for block in again])
    assert await store.lost_batches(lease) == []
    await store.save_facts(lease, [message(110, block=110)])
    assert await store.lost_batches(lease) == []


async def test_an_origin_that_lost_its_own_part_counts_anew(
    store: Store, leases: Leases, client: Redis
) -> None:
    """It reads from the start by itself, and what a destination loses later is noticed again."""
    lease = leases.follower
    for block in (100, 101, 102):
        await store.save_facts(lease, [message(block, block=block)])
    client.delete(base(store._prefix, ONE) + "batches:10")
    await store.save_facts(lease, [message(1, block=100)])
    assert await store.lost_batches(lease) == []
    client.delete(base(store._prefix, TEN) + "batches")
    assert await store.lost_batches(lease) == [lost(10, 0, 1, 100)]


async def test_older_batches_than_are_kept_mean_from_the_start(
    store: Store, leases: Leases, client: Redis
) -> None:
    """What is not known any more is not guessed."""
    lease = leases.follower
    for block in range(100, 104):
        await store.save_facts(lease, [message(block, block=block)])
    await store.command("ZREM", base(store._prefix, ONE) + "batches:10", "1 100 100")
    client.delete(base(store._prefix, TEN) + "batches")
    assert await store.lost_batches(lease) == [lost(10, 0, 4, None)]


async def test_what_stays_in_its_own_slot_needs_no_number(store: Store, leases: Leases) -> None:
    """Deliveries lie beside their cursor: what loses them loses that as well."""
    await store.save_facts(leases.follower, [message(1)])
    await store.save_facts(leases.far, [delivery(1)])
    await store.advance(leases.far, cursor(600))
    assert await store.lost_batches(leases.far) == []
    assert (await store.get(id_of(1))) is not None
