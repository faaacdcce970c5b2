"""What nodes refuse for the access list of one call is isolated, and holds no nonce up."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from relayer.adapter import Action, Call, Verdict
from relayer.message import Address, Reason, Record, Status
from relayer.pipeline.inbox import ReadyCall
from relayer.pipeline.nonces import body_of_raw
from relayer.pipeline.packing import body_of
from relayer.store import Store
from tests.redis.conftest import Clock, Leases
from tests.redis.lane_world import GAS, SIGNER, Bridge, LaneWorld, Sea, nonce_of
from tests.redis.sample_facts import TEN, id_of
from tests.redis.servers import Server
from tests.unit.chain_node import Refused, client_of
from tests.unit.sample_records import record_of

pytestmark = pytest.mark.redis

GATEKEEPER = Address("0x" + "22" * 20)
MULTICALL = Address("0x" + "ca" * 20)
VETO = Refused(-32602, "conflicting data")
REBUILD = Verdict(Action.RETRY, Reason.REBUILD_PROOF, "conflicting data")


def keys_of(message_id: str) -> tuple[bytes, ...]:
    """Two keys that a call names."""
    return b"\x01" + bytes.fromhex(message_id[4:]), b"\x03" + bytes.fromhex(message_id[4:])


class Gatekeeper(Sea):
    """Nodes that take no transaction whose access list names what they have doubts about."""

    def __init__(self) -> None:
        super().__init__()
        self.doubted: set[int] = set()
        self.offered: list[list[bytes]] = []
        """The keys of every transaction offered, refused ones too."""
        self.on |= {"eth_getCode": lambda params: "0x60"}
        self.on["eth_sendRawTransaction"] = self._look

    def _look(self, params: Sequence[str]) -> str:
        body = body_of_raw(bytes.fromhex(params[0][2:]))
        self.offered.append([key for _, keys in body.access_list for key in keys])
        if {keys_of(id_of(number))[0] for number in self.doubted} & set(self.offered[-1]):
            raise VETO
        return self._take(params)

    def _estimate(self, params: Sequence[Any]) -> str:
        named = params[0]["accessList"]
        assert [entry["address"] for entry in named] == [GATEKEEPER]
        return hex(GAS * (len(named[0]["storageKeys"]) // 2))


class Naming(Bridge):
    """A bridge whose calls name their message in the access list."""

    def call(self, record: Record, size: int = 32) -> Call:
        access = ((GATEKEEPER, keys_of(record.id)),)
        return Call(record.id, GATEKEEPER, bytes.fromhex(record.id[2:]), access_list=access)


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def sea() -> Gatekeeper:
    return Gatekeeper()


@pytest.fixture
async def world(
    store: Store, leases: Leases, clock: Clock, sea: Gatekeeper
) -> AsyncIterator[LaneWorld]:
    ticks = itertools.count(1_000.0)
    async with contextlib.AsyncExitStack() as stack:
        chain = client_of(sea, clock=lambda: next(ticks), id=TEN, multicall=MULTICALL)
        client = await stack.enter_async_context(chain)
        await client.start()
        yield LaneWorld(store, client, leases.lane, clock, Naming())


def taken(sea: Gatekeeper) -> list[list[bytes]]:
    """The keys of what was taken, by nonce."""
    raws = sorted(sea.taken.values(), key=nonce_of)
    assert [nonce_of(raw) for raw in raws] == list(range(len(raws)))
    return [list(body_of_raw(raw).access_list[0][1]) for raw in raws]


async def test_keys_of_a_pack_stand_in_order_under_one_address(
    world: LaneWorld, leases: Leases, sea: Gatekeeper
) -> None:
    """One entry holds the keys of all calls in the order of the calls, as sent and as simulated."""
    await world.send(leases, 1, 2, 3)
    assert taken(sea) == [[key for number in (1, 2, 3) for key in keys_of(id_of(number))]]


async def test_equal_keys_are_all_kept(world: LaneWorld) -> None:
    """A key's meaning may depend on its neighbours, so none is left out as known already."""
    record = record_of()
    same = Call(record.id, GATEKEEPER, b"", access_list=((GATEKEEPER, (b"\x01" * 32,)),))
    body = body_of(world.chain, [ReadyCall(record, same)] * 2, lenient=True)
    assert body.access_list == ((GATEKEEPER, (b"\x01" * 32,) * 2),)


async def test_one_doubted_call_is_found_and_the_others_go(
    world: LaneWorld, leases: Leases, sea: Gatekeeper
) -> None:
    """The pack is halved until only the doubted call is left; no nonce is held up or skipped."""
    sea.doubted = {3}
    world.bridge.verdicts[id_of(3)] = lambda: REBUILD
    for number in (1, 2, 4, 5):
        world.bridge.verdicts[id_of(number)] = lambda: REBUILD
    await world.send(leases, 1, 2, 3, 4, 5)
    assert sorted(key for keys in taken(sea) for key in keys) == sorted(
        key for number in (1, 2, 4, 5) for key in keys_of(id_of(number))
    )
    for number in (1, 2, 4, 5):
        assert (await world.record(number)).status is Status.SUBMITTED
    bad = await world.record(3)
    assert (bad.status, bad.reason, bad.attempts) == (Status.WAITING, Reason.REBUILD_PROOF, 1)
    assert "conflicting data" in bad.evidence["text"]
    stored = await world.store.intents(TEN, SIGNER.address)
    assert [one.nonce for one in stored] == list(range(len(sea.taken)))


async def test_when_all_is_paused_nothing_is_halved(
    world: LaneWorld, leases: Leases, sea: Gatekeeper
) -> None:
    """A refusal that means everybody costs one request, no attempt and no nonce."""
    sea.doubted = {2}
    for number in (1, 2, 3):
        world.bridge.verdicts[id_of(number)] = lambda: Verdict(
            Action.WAIT, Reason.PAUSED, "failsafe"
        )
    await world.send(leases, 1, 2, 3)
    assert len(sea.offered) == 1
    for number in (1, 2, 3):
        record = await world.record(number)
        assert (record.status, record.reason) == (Status.WAITING, Reason.PAUSED)
        assert record.attempts == 0
    assert await world.store.intents(TEN, SIGNER.address) == []


async def test_a_refusal_of_what_names_nothing_keeps_its_intent(
    world: LaneWorld, leases: Leases, sea: Gatekeeper
) -> None:
    """Without an access list a refusal says nothing of the calls: the intent is tried again."""
    sea.on["eth_sendRawTransaction"] = _refuse
    sea.on["eth_estimateGas"] = lambda params: hex(GAS)
    await world.ready(leases, 1)
    (item,) = world.inbox.take(1)
    world.inbox.put([ReadyCall(item.record, Call(item.record.id, GATEKEEPER, b""))])
    await world.submitter.tick()
    assert [one.nonce for one in await world.store.intents(TEN, SIGNER.address)] == [0]


def _refuse(params: Sequence[str]) -> str:
    raise VETO
