"""What the adapter answers for messages, from quorum to call, honest and hostile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_abi.abi import decode as abi_decode

from relayer.adapter import Call, Done, EmptyRule, Refuse, Wait
from relayer.errors import ConfigInvalid, EndpointDown
from relayer.message import Reason
from relayer.protocols import hyperlane
from relayer.trees.append_only import root_from_proof
from tests.fakes import FakeChain, FakeContext, FakeTrees, Reverts
from tests.unit.hyperlane.conftest import MakeWorld
from tests.unit.hyperlane.world import (
    BRIDGE,
    DESTINATION_ID,
    HOOK,
    INBOX,
    ISM,
    ORIGIN_DOMAIN,
    ORIGIN_ID,
    RECIPIENT,
    TREE,
    Signer,
    World,
    checkpoint_json,
    message_of,
    padded,
    record_of,
    selector,
    settings_of,
)

OTHER_ISM = "0x" + "e2" * 20
THIRD_ISM = "0x" + "e3" * 20


def called(step: object) -> tuple[bytes, bytes]:
    """(metadata, message) of a delivery call."""
    assert isinstance(step, Call), step
    assert step.to == INBOX
    assert step.data[:4] == selector("process(bytes,bytes)")
    metadata, message = abi_decode(["bytes", "bytes"], step.data[4:])
    return metadata, message


def waiting(step: object, reason: Reason) -> Wait:
    assert isinstance(step, Wait), step
    assert step.reason is reason, step
    return step


async def test_merkle_root_call(world: World) -> None:
    """Metadata proves the leaf against the newest signed root, with just enough signatures."""
    records = world.dispatch(5)
    world.all_sign(3)
    metadata, message = called(await world.step(records[1]))
    assert message == world.messages[1].encode()
    assert metadata[:32] == padded(HOOK)
    assert int.from_bytes(metadata[32:36], "big") == 1
    assert metadata[36:68] == world.leaf(3)
    siblings = [metadata[68 + 32 * i : 100 + 32 * i] for i in range(32)]
    assert root_from_proof(world.leaf(1), 1, siblings) == world.root(3)
    assert int.from_bytes(metadata[1092:1096], "big") == 3
    assert len(metadata) == 1096 + 2 * 65


async def test_message_id_call(world: World) -> None:
    """Metadata is the checkpoint at the message's own index."""
    world.multisig(ISM, 2, by_root=False)
    records = world.dispatch(3)
    world.all_sign(0, 1, 2)
    metadata, _ = called(await world.step(records[1]))
    assert metadata[:32] == padded(HOOK)
    assert metadata[32:64] == world.root(1)
    assert metadata[64:68] == (1).to_bytes(4, "big")
    assert len(metadata) == 68 + 2 * 65


@pytest.mark.parametrize("by_root", [True, False])
async def test_signatures_follow_the_validator_order(world: World, by_root: bool) -> None:
    """The contract walks its validators once, so signatures come in the set's order."""
    world.signers.reverse()
    world.multisig(ISM, 3, by_root=by_root)
    (record,) = world.dispatch()
    world.all_sign(0)
    metadata, _ = called(await world.step(record))
    expected = b""
    for signer in world.signers:
        content = checkpoint_json(signer.account, 0, world.root(0), world.leaf(0))
        expected += bytes.fromhex(content["serialized_signature"][2:])
    assert metadata.endswith(expected)


async def test_one_root_serves_a_batch(world: World) -> None:
    """All messages under one signed root are proved by it; a later one waits at a gate."""
    records = world.dispatch(6)
    world.all_sign(2, 4)
    steps = await world.adapter.next_steps(records)
    for record in records[:5]:
        step = steps[record.id]
        assert isinstance(step, Call)
        assert step.evidence["signed_index"] == "4"
        assert step.shareable
    late = waiting(steps[records[5].id], Reason.AWAITING_QUORUM)
    assert late.gate is not None
    assert late.gate_value == 5
    assert await world.adapter.levels([late.gate]) == {late.gate: 4}


async def test_reads_of_a_batch_are_few(world: World) -> None:
    """A batch costs the destination one read when its ISM is known, however many messages."""
    records = world.dispatch(50)
    world.all_sign(49)
    await world.adapter.next_steps(records)
    before = len(world.destination.reads), len(world.origin.reads)
    steps = await world.adapter.next_steps(records)
    assert all(isinstance(step, Call) for step in steps.values())
    after = len(world.destination.reads), len(world.origin.reads)
    assert after == (before[0] + 1, before[1])


async def test_delivered_already(world: World) -> None:
    """What the inbox has is done, whoever delivered it."""
    (record,) = world.dispatch()
    world.delivered.add(world.leaf(0))
    assert isinstance(await world.step(record), Done)


def garbage(world: World, bad: Signer) -> None:
    bad.raw(0, b'\x00\xff{"value": not json')


def deep(world: World, bad: Signer) -> None:
    bad.raw(0, b"[" * 16_000)


def huge(world: World, bad: Signer) -> None:
    bad.raw(0, b" " * 1_000_000)


def wrong_root(world: World, bad: Signer) -> None:
    bad.sign(0, b"\x07" * 32, world.leaf(0))


def wrong_message(world: World, bad: Signer) -> None:
    bad.sign(0, world.root(0), b"\x07" * 32)


def wrong_index(world: World, bad: Signer) -> None:
    content = checkpoint_json(bad.account, 1, world.root(0), world.leaf(0))
    bad.raw(0, json.dumps(content).encode())


def wrong_domain(world: World, bad: Signer) -> None:
    bad.sign(0, world.root(0), world.leaf(0), domain=1)


def wrong_hook(world: World, bad: Signer) -> None:
    bad.sign(0, world.root(0), world.leaf(0), hook="0x" + "77" * 20)


def copied(world: World, bad: Signer) -> None:
    """The signature of another validator of the set, which must not count twice."""
    honest = world.signers[0] if bad is not world.signers[0] else world.signers[1]
    content = checkpoint_json(honest.account, 0, world.root(0), world.leaf(0))
    bad.raw(0, json.dumps(content).encode())


def high_s(world: World, bad: Signer) -> None:
    content = checkpoint_json(bad.account, 0, world.root(0), world.leaf(0))
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    signature = content["signature"]
    signature["s"] = hex(order - int(signature["s"], 16))
    signature["v"] = 55 - signature["v"]
    bad.raw(0, json.dumps(content).encode())


def no_file(world: World, bad: Signer) -> None:
    (bad.directory / "0_with_id.json").unlink()


def silent(world: World, bad: Signer) -> None:
    (bad.directory / "index.json").unlink()


def unannounced(world: World, bad: Signer) -> None:
    world.locations[bad.address] = []


def not_a_file(world: World, bad: Signer) -> None:
    place = bad.directory / "0_with_id.json"
    place.unlink()
    place.mkdir()


FAULTS: list[tuple[Callable[[World, Signer], None], str]] = [
    (garbage, "not JSON"),
    (deep, "not JSON"),
    (huge, "too large"),
    (wrong_root, "wrong root"),
    (wrong_message, "wrong message"),
    (wrong_index, "wrong index"),
    (wrong_domain, "wrong domain"),
    (wrong_hook, "wrong domain or hook"),
    (copied, "bad signature"),
    (high_s, "bad signature"),
    (no_file, "no file"),
    (silent, "no file"),
    (unannounced, "no readable storage location"),
    (not_a_file, "not a plain file"),
]


@pytest.mark.parametrize("by_root", [True, False], ids=["by_root", "by_id"])
@pytest.mark.parametrize(("fault", "word"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
@pytest.mark.parametrize("place", [0, 2])
async def test_hostile_validators(
    world: World, fault: Callable[[World, Signer], None], word: str, by_root: bool, place: int
) -> None:
    """One bad validator of three changes nothing; with two the message waits and both are named."""
    world.multisig(ISM, 2, by_root=by_root)
    (record,) = world.dispatch()
    world.all_sign(0)
    bad, worse = world.signers[place], world.signers[1]
    fault(world, bad)
    called(await world.step(record))
    fault(world, worse)
    world.clock.pass_s(1000)
    for old in (bad, worse):  # nothing is remembered of what was signed before
        world.adapter._validators[0]._checked.forget((old.address, 0))  # noqa: SLF001
    wait = waiting(await world.step(record), Reason.AWAITING_QUORUM)
    assert f"{bad.address} {word}" in wait.detail
    assert f"{worse.address} {word}" in wait.detail
    assert wait.detail.startswith("1 of 2 signatures for leaf 0")
