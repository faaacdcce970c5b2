"""Keys that fail, forbid or draw their nonces, in a real lane: nobody else pays for it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relayer.adapter import Call
from relayer.chains.signers import GuardedSigner, Limits, LocalSigner
from relayer.chains.signers.kms import KmsSigner
from relayer.chains.signers.kms_gcp import GcpKey
from relayer.message import Address, MessageId, Reason, Record, Status, Wei
from relayer.pipeline.nonces import body_of_raw
from relayer.settings import AllowedTarget, GcpKmsSettings
from relayer.store import Store
from tests.keepers.gcp import NAME, GcpKms
from tests.redis.conftest import Clock, Leases
from tests.redis.lane_world import INBOX, SIGNER, Bridge, LaneWorld, Sea, nonce_of
from tests.redis.sample_facts import TEN, id_of
from tests.redis.servers import Server
from tests.unit.chain_node import client_of

pytestmark = pytest.mark.redis

STRANGER = Address("0x" + "66" * 20)
MULTICALL = Address("0x" + "ca" * 20)


class Straying(Bridge):
    """A bridge some of whose calls go where nobody expects them."""

    def __init__(self) -> None:
        super().__init__()
        self.strays: set[MessageId] = set()
        self.senders: dict[MessageId, Address] = {}

    def call(self, record: Record, size: int = 32) -> Call:
        to = STRANGER if record.id in self.strays else INBOX
        sender = self.senders.get(record.id)
        return Call(record.id, to, bytes.fromhex(record.id[2:]), sender=sender)


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: the scripts are tested on a cluster by themselves."""
    return redis_server


@pytest.fixture
def sea() -> Sea:
    made = Sea()
    made.on["eth_getCode"] = lambda params: "0x60"
    return made


@pytest.fixture
async def gcp() -> AsyncIterator[GcpKms]:
    async with GcpKms(b"\x0b" * 32).running() as running:
        yield running


@pytest.fixture
async def kms(gcp: GcpKms) -> AsyncIterator[KmsSigner]:
    key = GcpKey(GcpKmsSettings(key_version=NAME, endpoint_url=gcp.url), timeout_s=2)
    signer = await KmsSigner.open(key, timeout_s=2)
    yield signer
    await signer.aclose()


@contextlib.asynccontextmanager
async def world_of(
    sea: Sea, store: Store, leases: Leases, clock: Clock, **settings: Any
) -> AsyncIterator[LaneWorld]:
    ticks = itertools.count(1_000.0)
    chain = client_of(sea, clock=lambda: next(ticks), id=TEN, **settings)
    async with chain as client:
        await client.start()
        yield LaneWorld(store, client, leases.lane, clock, Straying())


@pytest.fixture
async def world(store: Store, leases: Leases, clock: Clock, sea: Sea) -> AsyncIterator[LaneWorld]:
    async with world_of(sea, store, leases, clock) as made:
        yield made


def guarded(signer: LocalSigner, *allowed: Address) -> GuardedSigner:
    targets = [AllowedTarget(to=one) for one in allowed]
    return GuardedSigner(signer, Limits(TEN, Wei(0), targets, MULTICALL))


def errors(world: LaneWorld, signer: Address, kind: str) -> float:
    labels = {"chain": world.chain.name, "signer": signer, "kind": kind}
    return world.metrics.registry.get_sample_value("relayer_signing_errors_total", labels) or 0


def stray(world: LaneWorld, *numbers: int) -> None:
    assert isinstance(world.bridge, Straying)
    world.bridge.strays = {id_of(number) for number in numbers}


# --- limits ----------------------------------------------------------------------------------


async def test_what_the_signer_forbids_is_held_and_holds_nothing_up(
    world: LaneWorld, leases: Leases, sea: Sea, store: Store
) -> None:
    """The message waits for a person with the reason; the next has the nonce it would have had."""
    stray(world, 1)
    lane = world.signer_lane(guarded(SIGNER, INBOX))
    world.submitter = world.submitter_of(lane)
    await world.send(leases, 1)
    held = await world.record(1)
    assert (held.status, held.reason, held.attempts) == (Status.HELD, Reason.DENIED_BY_POLICY, 0)
    assert f"of {STRANGER}, which is not in the signer's allow list" in held.detail
    assert sea.taken == {}
    assert await store.intents(TEN, SIGNER.address) == []
    assert errors(world, SIGNER.address, "signing_refused") == 1
    await world.send(leases, 2)
    assert [nonce_of(raw) for raw in sea.taken.values()] == [0]
    assert (await world.record(2)).status is Status.SUBMITTED


async def test_one_forbidden_call_is_taken_out_of_its_pack(
    store: Store, leases: Leases, clock: Clock, sea: Sea
) -> None:
    """Calls inside a pack are looked at one by one, and those that may go are sent."""
    async with world_of(sea, store, leases, clock, multicall=MULTICALL) as world:
        stray(world, 3)
        world.submitter = world.submitter_of(world.signer_lane(guarded(SIGNER, INBOX)))
        await world.send(leases, 1, 2, 3, 4, 5)
        held = await world.record(3)
        assert (held.status, held.reason) == (Status.HELD, Reason.DENIED_BY_POLICY)
        for number in (1, 2, 4, 5):
            assert (await world.record(number)).status is Status.SUBMITTED
        bodies = [body_of_raw(raw) for raw in sea.taken.values()]
        assert sorted(nonce_of(raw) for raw in sea.taken.values()) == list(range(len(bodies)))
        assert all(bytes.fromhex(STRANGER[2:]) not in body.data for body in bodies)
        assert {body.to for body in bodies} <= {INBOX, MULTICALL}


async def test_another_signer_of_the_lane_may(
    world: LaneWorld, leases: Leases, sea: Sea, store: Store
) -> None:
    """Signers for different bridges stand side by side; nothing is held."""
    stray(world, 1)
    other = LocalSigner(b"\x08" * 32)
    lanes = [world.signer_lane(guarded(SIGNER, INBOX)), world.signer_lane(guarded(other, STRANGER))]
    world.submitter = world.submitter_of(*lanes)
    await world.send(leases, 1, 2)
    assert (await world.record(1)).status is Status.SUBMITTED
    assert (await world.record(2)).status is Status.SUBMITTED
    (first,) = await store.intents(TEN, other.address)
    (second,) = await store.intents(TEN, SIGNER.address)
    assert body_of_raw(first.attempts[0].raw).to == STRANGER
    assert body_of_raw(second.attempts[0].raw).to == INBOX


async def test_nothing_is_held_while_a_signer_that_may_is_not_there(
    world: LaneWorld, leases: Leases, sea: Sea, gcp: GcpKms, kms: KmsSigner, clock: Clock
) -> None:
    """One forbids, the other is down or not open yet: the message waits for it, and then goes."""
    stray(world, 1, 2)
    forbids = world.signer_lane(guarded(SIGNER, INBOX))
    world.submitter = world.submitter_of(forbids, lacks_signers=True)
    await world.send(leases, 1)
    gcp.refusal = 503, "out of order"
    world.submitter = world.submitter_of(forbids, world.signer_lane(kms))
    await world.send(leases, 2)
    for number in (1, 2):
        record = await world.record(number)
        assert (record.status, record.reason) == (Status.WAITING, Reason.SOURCE_UNREACHABLE)
        assert f"{SIGNER.address}: calls 0x" in record.detail
    gcp.refusal = None
    clock.time += 60
    await world.prover.tick()
    await world.submitter.tick()
    for number in (1, 2):
        assert (await world.record(number)).status is Status.SUBMITTED


# --- keys that fail --------------------------------------------------------------------------


async def test_a_failing_key_stops_only_its_own_signer(
    world: LaneWorld, leases: Leases, sea: Sea, gcp: GcpKms, kms: KmsSigner, clock: Clock
) -> None:
    """The same turn goes on with the next signer, and the failing one is left alone for a while."""
    lane = world.signer_lane(kms)
    world.submitter = world.submitter_of(lane, world.signer_lane(SIGNER))
    gcp.refusal = 503, "out of order"
    asked = len(gcp.tokens)
    await world.send(leases, 1)
    assert (await world.record(1)).status is Status.SUBMITTED
    assert errors(world, kms.address, "signer_unavailable") == 1
    assert "out of order" in lane.trouble
    await world.send(leases, 2)
    assert (await world.record(2)).status is Status.SUBMITTED
    assert len(gcp.tokens) == asked + 1, "a key that is left alone is not asked"
    gcp.refusal = None
    clock.time += 60
    await world.send(leases, 3)
    assert lane.in_flight == 1, "it is used again when its time is over"


async def test_without_any_key_messages_wait_with_the_reason(
    world: LaneWorld, leases: Leases, sea: Sea, gcp: GcpKms, kms: KmsSigner, clock: Clock
) -> None:
    """No attempt is spent and no nonce taken; what comes meanwhile waits likewise; then all go."""
    world.submitter = world.submitter_of(world.signer_lane(kms))
    gcp.refusal = 503, "out of order"
    await world.send(leases, 1)
    await world.send(leases, 2)
    for number in (1, 2):
        record = await world.record(number)
        assert (record.status, record.reason) == (Status.WAITING, Reason.SOURCE_UNREACHABLE)
        assert record.attempts == 0
        assert f"{kms.address}: HTTP status 503 out of order" in record.detail
    assert await world.store.intents(TEN, kms.address) == []
    gcp.refusal = None
    clock.time += 60
    await world.prover.tick()
    await world.submitter.tick()
    assert [nonce_of(raw) for raw in sea.taken.values()] == [0, 1]
    for number in (1, 2):
        assert (await world.record(number)).status is Status.SUBMITTED


async def test_without_any_open_signer_messages_say_so(world: LaneWorld, leases: Leases) -> None:
    """A lane whose only key service was down at the start knows why nothing goes."""
    world.submitter = world.submitter_of(lacks_signers=True)
    await world.send(leases, 1)
    record = await world.record(1)
    assert (record.status, record.reason) == (Status.WAITING, Reason.SOURCE_UNREACHABLE)
    assert "others could not be opened yet" in record.detail


async def test_a_call_for_one_signer_waits_for_it(world: LaneWorld, leases: Leases) -> None:
    """Not held while the one may still be opened, nor when it has lost its key; others go on."""
    assert isinstance(world.bridge, Straying)
    world.bridge.senders = {id_of(1): STRANGER, id_of(2): SIGNER.address}
    other = world.signer_lane(LocalSigner(b"\x08" * 32))
    world.submitter = world.submitter_of(other, world.signer_lane(None), lacks_signers=True)
    await world.send(leases, 1, 2, 3)
    for number, words in (
        (1, f"only {STRANGER} may deliver it, which is no signer of this lane so far"),
        (2, f"{SIGNER.address}, who must send it, is none of them"),
    ):
        record = await world.record(number)
        assert (record.status, record.reason) == (Status.WAITING, Reason.SOURCE_UNREACHABLE)
        assert words in record.detail
    assert (await world.record(3)).status is Status.SUBMITTED


async def test_what_was_sent_is_sent_again_as_it_was(
    world: LaneWorld, leases: Leases, sea: Sea, kms: KmsSigner
) -> None:
    """A service signs the same thing differently each time, so a restart must not sign again."""
    world.submitter = world.submitter_of(world.signer_lane(kms))
    await world.send(leases, 1)
    (sent,) = sea.taken.values()
    sea.taken.clear()
    again = world.signer_lane(kms)
    await again.load()
    assert list(sea.taken.values()) == [sent]


async def test_a_stuck_transaction_of_a_failing_key_is_sent_again(
    world: LaneWorld, leases: Leases, sea: Sea, gcp: GcpKms, kms: KmsSigner, clock: Clock
) -> None:
    """It cannot be replaced at a higher price, which fails no turn; once the key is back, it is."""
    lane = world.signer_lane(kms)
    world.submitter = world.submitter_of(lane)
    await world.send(leases, 1)
    (sent,) = sea.taken.values()
    gcp.refusal = 503, "out of order"
    asked = len(gcp.tokens)
    for _ in range(2):
        sea.taken.clear()
        sea.head += 100
        await world.submitter.tick()
        assert list(sea.taken.values()) == [sent]
    assert len(gcp.tokens) == asked + 1, "a key that is left alone is not asked"
    gcp.refusal = None
    clock.time += 60
    sea.head += 100
    await world.submitter.tick()
    assert [nonce_of(raw) for raw in sea.taken.values()] == [0, 0]


async def test_a_gap_of_a_failing_key_fails_no_turn(
    world: LaneWorld, leases: Leases, sea: Sea, gcp: GcpKms, kms: KmsSigner, clock: Clock
) -> None:
    """The empty transfer cannot be signed; what is in flight is looked after, and it is later."""
    world.submitter = world.submitter_of(world.signer_lane(kms))
    sea.mined = 1  # one wrong answer, so that nonce 0 is left out
    await world.send(leases, 1)
    sea.mined = 0
    gcp.refusal = 503, "out of order"
    for _ in range(6):
        sea.head += 1
        await world.submitter.tick()
    assert [nonce_of(raw) for raw in sea.taken.values()] == [1]
    assert errors(world, kms.address, "signer_unavailable") == 1
    gcp.refusal = None
    clock.time += 60
    sea.head += 1
    await world.submitter.tick()
    assert [nonce_of(raw) for raw in sea.taken.values()] == [1, 0]
