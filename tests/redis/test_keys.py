"""The table of keys is the truth about what is stored, and how much memory that takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from relayer.acts import Act, Pause, Target
from relayer.adapter import Wait
from relayer.message import (
    Address,
    BlockNumber,
    Gas,
    Gate,
    MessageSeen,
    Reason,
    RootSeen,
    Timestamp,
    Wei,
)
from relayer.settings import RedisSettings
from relayer.store import (
    Attempt,
    Charge,
    CostTotal,
    Intent,
    IntentCall,
    Notice,
    Role,
    Settlement,
    Store,
)
from relayer.store.keys import CHAIN_KEYS, META_KEYS, base, spec_of
from relayer.store.wire import load_script
from tests.redis.conftest import Leases, held
from tests.redis.sample_facts import (
    BRIDGE,
    TEN,
    at,
    cursor,
    delivery,
    hash_of,
    id_of,
    message,
    tx_of,
)
from tests.redis.servers import Server
from tests.redis.test_trees import TREE, leaf, nodes_between

pytestmark = pytest.mark.redis

BUDGET_BYTES = 2048
"""Redis memory per delivered message."""


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the keys do not depend on where they are."""
    return redis_server


@pytest.fixture
async def lived(store: Store, leases: Leases) -> Store:
    """A store in which everything has happened once."""
    follower, lane, far = leases.follower, leases.lane, leases.far
    await store.note_followed(follower, {"0xaa 0xbb": BlockNumber(1)})
    await store.ask_rescan(follower.chain, BlockNumber(1), BlockNumber(9))
    (asked,) = await store.rescans(follower.chain)
    await store.note_rescan_failed(follower, asked, "no endpoint answers")
    await store.keep_proofs(follower.chain, {"game/1": b"node"})
    await store.advance(follower, cursor(50))
    named = MessageSeen(replace(message(6, block=60).message, inbox_id=id_of(66)))
    await store.save_facts(follower, [*(message(n, block=60) for n in range(6)), named])
    await store.release(follower)
    again = await store.acquire(follower.chain, follower.role, "two")
    assert again is not None
    await store.save_leaves(again, TREE, {n: (leaf(n), 60, hash_of(60)) for n in (0, 1, 5)})
    await store.extend_tree(again, TREE, 0, 2, nodes_between(0, 2))
    gate = Gate(BRIDGE, "root")
    await store.save_facts(far, [delivery(0), RootSeen(gate, 1, b"\x01" * 32, at(10, 500))])
    await store.claim_due(lane, store.now(), 1, 60)
    await store.note_waits(lane, [(id_of(1), Wait(Reason.AWAITING_ROOT, gate=gate))])
    await store.note_included(lane, [(id_of(2), 500, tx_of(5), True, "")])
    signer = Address("0x" + "5a" * 20)
    sent = Attempt(tx_of(6), b"\x02", Wei(1), Wei(1), None, Gas(1), Timestamp(1.0), 600)
    calls = (IntentCall(id_of(3), "deliver"),)
    intent = Intent(signer, 1, calls, (sent,), Timestamp(1.0), "deliver")
    await store.reserve_intent(lane, intent, [id_of(3)])
    await store.reserve_intent(lane, replace(intent, nonce=2, calls=()), [])
    cost = CostTotal(Wei(1), Gas(1), 1)
    route = message(0).message.route
    charge = Charge("2026-01-31", {"policy.fee[0].max_per_day": 5}, Wei(10))
    mined = Settlement(
        Reason.NEW,
        "mined",
        costs={route: cost},
        incomes={route: Wei(7)},
        paid={route: Wei(9)},
        charge=charge,
    )
    await store.settle(lane, signer, 2, mined)
    await store.command("SET", f"{base(store._prefix, TEN)}message:{id_of(4)}", "junk")
    await store.save_facts(again, [message(4, block=60)])
    await store.claim_due(lane, store.now(), 10, 60)
    await store.pause(Pause(Target.lane(lane.chain), "ops", "", Timestamp(1.0)))
    act = Act(Timestamp(1.0), "ops", "local", "retry", "", "ok")
    await store.note_act(act)
    await store.announce("one", [(lane.chain, Role.LANE)])
    await store.note_stranger(act)
    await store.note_delivered(lane, [(id_of(5), 500, tx_of(5), True, "")])
    telling = await held(store, 10, Role.WEBHOOKS)
    one, two = Notice(1, "{}"), Notice(2, "{}")
    await store.queue_notices(telling, "hook", [one, two], after=None, upto=2)
    await store.settle_notices(telling, "hook", dead=[two])
    return store


@pytest.mark.usefixtures("lived")
async def test_every_key_is_in_the_table(redis_server: Server, settings: RedisSettings) -> None:
    """What is stored has a row with its type, and every row is something that is stored."""
    with Redis.from_url(redis_server.url) as client:
        kinds = {
            key.decode(): client.type(key).decode() for key in client.keys(settings.prefix + ":*")
        }
    rows = {key: spec_of(settings.prefix, key) for key in kinds}
    assert {key: row.type if row else None for key, row in rows.items()} == kinds
    assert {row.name for row in rows.values() if row} == {
        row.name for row in (*CHAIN_KEYS, *META_KEYS)
    }


def test_the_table_lists_every_name_once() -> None:
    """A key is described by exactly one row, and foreign keys by none."""
    names = [row.name for row in (*CHAIN_KEYS, *META_KEYS)]
    assert len(names) == len(set(names))
    assert spec_of("p", "p:{1}:message:0x1") is not None
    assert spec_of("p", "p:{1}:unheard:of") is None
    assert spec_of("p", "q:{1}:cursor") is None


def test_scripts_know_the_transitions_of_the_message_module() -> None:
    """The table in Lua is made from `message.TRANSITIONS`, not written twice."""
    text = load_script("note").text
    assert "delivered = {waiting = true}" in text
    assert "orphaned = {waiting = true}" in text


async def test_a_delivered_message_fits_its_budget(
    store: Store, leases: Leases, redis_server: Server, settings: RedisSettings
) -> None:
    """The whole walk of a thousand messages leaves less than 2 KiB each behind.

    A body of 96 bytes, and blocks too old to be undone (until then 0.5 KiB more);
    the remembered blocks and the newest events are a fixed cost of their chain.
    """
    count = 1000
    ids = [id_of(n) for n in range(count)]
    with Redis.from_url(redis_server.url) as client:
        await store.save_facts(leases.follower, [message(n) for n in range(count)])
        for start in range(0, count, 50):
            part = ids[start : start + 50]
            await store.note_ready(leases.lane, part)
            rows = [(mid, 500, tx_of(start + 10**6), True, "") for mid in part]
            await store.note_included(leases.lane, rows)
        facts = [delivery(n, tx=n // 50 * 50 + 10**6) for n in range(count)]
        await store.save_facts(leases.far, facts)
        for block in range(1000, 1600):
            await store.advance(leases.follower, cursor(block))
            await store.advance(leases.far, cursor(block))
        keys = client.keys(settings.prefix + ":*")
        mine = [key for key in keys if not key.endswith((b":scanned", b":events"))]
        used = sum(client.memory_usage(key, samples=0) or 0 for key in mine)
    assert used / count < BUDGET_BYTES
