"""What the adapter answers for messages, from quorum to call, honest and hostile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_account import Account

from relayer.adapter import Call, Done, EmptyRule, Refuse, Wait
from relayer.errors import BadChainData, ConfigInvalid, EndpointDown
from relayer.message import Reason
from relayer.protocols import hyperlane
from relayer.trees.append_only import root_from_proof
from tests.fakes import FakeChain, FakeContext, FakeTrees, Reverts, truths_of
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
    (huge, "object is too large"),
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


both_kinds = pytest.mark.parametrize("by_root", [True, False], ids=["by_root", "by_id"])
every_fault = pytest.mark.parametrize(
    ("fault", "word"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS]
)
Fault = Callable[[World, Signer], None]


@both_kinds
@every_fault
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_bad_validator(
    world: World, fault: Fault, word: str, by_root: bool, place: int
) -> None:
    """One bad validator of three changes nothing, wherever it stands in the set."""
    world.multisig(ISM, 2, by_root=by_root)
    (record,) = world.dispatch()
    world.all_sign(0)
    fault(world, world.signers[place])
    step = await world.step(record)
    called(step)
    assert isinstance(step, Call)
    assert step.evidence["signatures"] == "2"


@both_kinds
@every_fault
async def test_two_bad_validators(world: World, fault: Fault, word: str, by_root: bool) -> None:
    """Two bad ones of three leave the message waiting, and both are named with what is wrong."""
    world.multisig(ISM, 2, by_root=by_root)
    (record,) = world.dispatch()
    world.all_sign(0)
    bad, worse = world.signers[0], world.signers[2]
    fault(world, bad)
    fault(world, worse)
    step = await world.step(record)
    agree = fault in (wrong_root, wrong_message)
    wait = waiting(step, Reason.ROOT_MISMATCH if agree else Reason.AWAITING_QUORUM)
    if not agree:
        assert f"{bad.address} {word}" in wait.detail
        assert f"{worse.address} {word}" in wait.detail
        assert wait.detail.startswith("1 of 2 signatures for leaf 0")


@both_kinds
async def test_a_quorum_heals(world: World, by_root: bool) -> None:
    """Once a bad validator publishes the truth, the message goes."""
    world.multisig(ISM, 2, by_root=by_root)
    (record,) = world.dispatch()
    world.all_sign(0)
    for signer in world.signers[1:]:
        garbage(world, signer)
    waiting(await world.step(record), Reason.AWAITING_QUORUM)
    world.all_sign(0, signers=world.signers[2:])
    world.clock.pass_s(1)
    called(await world.step(record))


@both_kinds
async def test_a_lone_liar_does_not_stop_an_honest_one(world: World, by_root: bool) -> None:
    """With a threshold of one, a liar's own quorum is passed over for the honest validator's."""
    world.multisig(ISM, 1, by_root=by_root)
    (record,) = world.dispatch()
    world.all_sign(0)
    wrong_root(world, world.signers[0])
    wrong_root(world, world.signers[1])
    called(await world.step(record))


async def test_an_index_beyond_the_tree_is_harmless(world: World) -> None:
    """Validators ahead of us (or boasting) cannot make us prove against a root we do not have."""
    records = world.dispatch(2)
    world.all_sign(0, 1)
    for signer in world.signers:
        signer.latest(2**32 - 1)
    step = await world.step(records[0])
    assert isinstance(step, Call)
    assert step.evidence["signed_index"] == "1"


@pytest.mark.parametrize("boast", [b"", b"-1", b"1e9", b"99999999999", b"\xff", b"4294967296"])
async def test_bad_latest_indices(world: World, boast: bytes) -> None:
    """A latest index that is no 32-bit number counts as none."""
    (record,) = world.dispatch()
    world.all_sign(0)
    for signer in world.signers[1:]:
        signer.latest(boast)
    wait = waiting(await world.step(record), Reason.AWAITING_QUORUM)
    assert wait.detail.count("latest index is not a number") == 2


async def test_falls_back_to_a_lower_index(world: World) -> None:
    """Bad signatures at the newest index do not hide a good quorum below it."""
    records = world.dispatch(4)
    world.all_sign(1)
    for signer in world.signers[:2]:
        signer.raw(3, b"garbage")
        signer.latest(3)
    world.all_sign(2, signers=world.signers[2:])
    step = await world.step(records[0])
    wait = waiting(step, Reason.AWAITING_QUORUM)
    assert wait.gate is None  # the gate is open: only asking again helps
    for signer in world.signers[:1]:
        signer.latest(1)
    world.clock.pass_s(1)
    step = await world.step(records[0])
    assert isinstance(step, Call)
    assert step.evidence["signed_index"] == "1"


async def test_waits_at_a_gate_until_enough_have_signed(world: World) -> None:
    """A message ahead of the signatures waits at a gate that opens at the second of three."""
    records = world.dispatch(3)
    world.all_sign(0)
    wait = waiting(await world.step(records[2]), Reason.AWAITING_QUORUM)
    assert wait.gate is not None
    assert (wait.gate.bridge, wait.gate_value) == (BRIDGE, 2)
    assert wait.gate.name.startswith(f"quorum:{ORIGIN_DOMAIN}:")
    assert f"{world.signers[1].address} is at index 0" in wait.detail
    world.all_sign(2, signers=world.signers[:1])
    world.clock.pass_s(1)
    assert await world.adapter.levels([wait.gate]) == {wait.gate: 0}
    world.all_sign(2, signers=world.signers[2:])
    assert await world.adapter.levels([wait.gate]) == {wait.gate: 0}  # not read again so soon
    world.clock.pass_s(1)
    assert await world.adapter.levels([wait.gate]) == {wait.gate: 2}
    called(await world.step(records[2]))


async def test_unknown_gates_are_left_out(make_world: MakeWorld, world: World) -> None:
    """After a restart a gate is unknown, so it opens and its messages are looked at anew."""
    records = world.dispatch(2)
    world.all_sign(0)
    wait = waiting(await world.step(records[1]), Reason.AWAITING_QUORUM)
    assert wait.gate is not None
    assert await make_world().adapter.levels([wait.gate]) == {}


async def test_an_unreachable_origin_keeps_gates_shut(world: World) -> None:
    """When announcements cannot be read, the level is not guessed."""
    records = world.dispatch(2)
    world.all_sign(0)
    wait = waiting(await world.step(records[1]), Reason.AWAITING_QUORUM)
    assert wait.gate is not None
    world.clock.pass_s(1000)
    world.origin.failure = EndpointDown("fake", "gone")
    assert await world.adapter.levels([wait.gate]) == {wait.gate: -1}
    waiting(await world.step(records[1]), Reason.SOURCE_UNREACHABLE)


async def test_a_reorganised_tree_is_not_proved_with_old_signatures(world: World) -> None:
    """A remembered quorum is dropped when our tree no longer has its root."""
    world.dispatch(2)
    world.all_sign(0, 1)
    called(await world.step(record_of(world.messages[0], 0)))
    world.trees.truncate(TREE, 1)
    world.messages.pop()
    (record,) = world.dispatch(body=b"another history")
    waiting(await world.step(record), Reason.ROOT_MISMATCH)
    world.all_sign(1)
    world.clock.pass_s(1)
    called(await world.step(record))


async def test_a_leaf_not_yet_in_the_tree(world: World) -> None:
    """A message seen before its leaf is stored waits for the leaf."""
    world.all_sign()
    record = record_of(message_of(0), 0)
    waiting(await world.step(record), Reason.AWAITING_LEAF)


@pytest.mark.parametrize("by_root", [True, False])
async def test_a_leaf_that_is_another_message(world: World, by_root: bool) -> None:
    """A wrong leaf index never becomes a call; another reading of the message may be right."""
    world.multisig(ISM, 2, by_root=by_root)
    world.dispatch(2)
    world.all_sign(0, 1)
    wrong = record_of(world.messages[0], 1)
    assert waiting(await world.step(wrong), Reason.ROOT_MISMATCH).disproved
    right = record_of(world.messages[1], 1)
    for order in ([wrong, right], [right, wrong]):  # it stands in nobody's way
        steps = await world.adapter.next_steps(order)
        waiting(steps[wrong.id], Reason.ROOT_MISMATCH)
        called(steps[right.id])


async def test_a_dispatch_without_the_tree_hook(world: World) -> None:
    """No leaf, no signature: a multisig can never be satisfied, a null ISM can."""
    world.dispatch()
    leafless = record_of(world.messages[0], None)
    step = await world.step(leafless)
    assert isinstance(step, Refuse)
    assert (step.reason, step.dead) == (Reason.UNDELIVERABLE, False)
    world.null(OTHER_ISM)
    world.recipient_isms[RECIPIENT] = OTHER_ISM
    world.clock.pass_s(100)
    assert called(await world.step(leafless))[0] == b""


async def test_weighted_multisig(world: World) -> None:
    """Weights are added in the set's order until the threshold weight is reached; blanks for those
    who did not sign let the contract look at all that are passed."""
    (record,) = world.dispatch()
    for by_root, kind in ((True, 1096), (False, 68)):
        world.weighted(ISM, [1, 7, 5], 10, by_root=by_root)
        world.clock.pass_s(100)
        world.all_sign(0, signers=world.signers[1:])
        metadata, _ = called(await world.step(record))
        assert len(metadata) == kind + 3 * 65
        assert metadata[-65:] == bytes(65)
        assert any(metadata[-66:-65])
    world.weighted(ISM, [3, 6, 3], 10)
    world.clock.pass_s(100)
    wait = waiting(await world.step(record), Reason.AWAITING_QUORUM)
    assert wait.detail.startswith("9 of 10 signatures")


@pytest.mark.parametrize("threshold", [0, 4])
async def test_impossible_thresholds(world: World, threshold: int) -> None:
    """A set that cannot reach its threshold (or has none) is held, not awaited."""
    world.multisig(ISM, threshold)
    (record,) = world.dispatch()
    step = await world.step(record)
    assert isinstance(step, Refuse)
    assert step.reason is Reason.UNSUPPORTED


async def test_more_weight_than_a_contract_takes_is_held(world: World) -> None:
    """Whatever the validators weigh, `verify` refuses such a threshold."""
    world.weighted(ISM, [10**10] * 3, 10**10 + 1)
    (record,) = world.dispatch()
    step = await world.step(record)
    assert isinstance(step, Refuse)
    assert step.reason is Reason.UNSUPPORTED


async def test_aggregation_takes_exactly_its_threshold(world: World) -> None:
    """Of three satisfied modules two are used, the others have the range (0, 0)."""
    world.multisig(OTHER_ISM, 2)
    world.multisig(THIRD_ISM, 2, by_root=False)
    null = "0x" + "e4" * 20
    world.null(null)
    world.aggregation(ISM, [OTHER_ISM, THIRD_ISM, null], 2)
    (record,) = world.dispatch()
    world.all_sign(0)
    metadata, _ = called(await world.step(record))
    ranges = [int.from_bytes(metadata[4 * i : 4 * i + 4], "big") for i in range(6)]
    end = 24 + 68 + 130
    assert ranges == [0, 0, 24, end, end, end]
    assert len(metadata) == end


async def test_aggregation_that_lacks_a_module(world: World) -> None:
    """What is missing of an aggregation decides: wait while waiting helps, else refuse."""
    world.multisig(OTHER_ISM, 2)
    world.ism(THIRD_ISM, 8)
    world.aggregation(ISM, [OTHER_ISM, THIRD_ISM], 1)
    (record,) = world.dispatch()
    wait = waiting(await world.step(record), Reason.AWAITING_QUORUM)
    assert wait.gate is not None
    assert await world.adapter.levels([wait.gate]) == {wait.gate: -1}
    world.aggregation(ISM, [OTHER_ISM, THIRD_ISM], 2)
    world.clock.pass_s(100)
    step = await world.step(record)
    assert isinstance(step, Refuse)
    assert "ARB_L2_TO_L1" in step.detail


@pytest.mark.parametrize(("threshold", "level"), [(1, 3), (2, 0)])
async def test_gate_of_an_aggregation(world: World, threshold: int, level: int) -> None:
    """Its level is the one that as many modules as its threshold have reached."""
    world.multisig(OTHER_ISM, 1)
    world.multisig(THIRD_ISM, 3)
    world.aggregation(ISM, [THIRD_ISM, OTHER_ISM], threshold)
    records = world.dispatch(5)
    world.all_sign(0)
    world.all_sign(3, signers=world.signers[:1])
    wait = waiting(await world.step(records[4]), Reason.AWAITING_QUORUM)
    assert wait.gate is not None
    assert await world.adapter.levels([wait.gate]) == {wait.gate: level}


async def test_routing_to_a_nested_ism(world: World) -> None:
    """Routing passes the metadata of its target through."""
    world.multisig(THIRD_ISM, 2, by_root=False)
    world.routing(OTHER_ISM, THIRD_ISM)
    world.routing(ISM, OTHER_ISM)
    (record,) = world.dispatch()
    world.all_sign(0)
    assert len(called(await world.step(record))[0]) == 68 + 130


async def test_routing_without_a_route(world: World) -> None:
    """A routing ISM that has no module for the origin is held with its own words."""

    def refuses(_: bytes) -> bytes:
        words = b"No ISM found for origin: 1000"
        size = len(words).to_bytes(32, "big")
        padding = bytes(-len(words) % 32)
        head = bytes.fromhex("08c379a0") + (32).to_bytes(32, "big")
        raise Reverts(head + size + words + padding)

    world.ism(ISM, 1)
    world.destination.answer(ISM, selector("route(bytes)"), refuses)
    (record,) = world.dispatch()
    step = await world.step(record)
    assert isinstance(step, Refuse)
    assert "No ISM found for origin: 1000" in step.detail


async def test_paused_ism(world: World) -> None:
    """A paused ISM is a wait, read anew each time."""
    world.null(ISM, paused=True)
    (record,) = world.dispatch()
    waiting(await world.step(record), Reason.PAUSED)
    world.null(ISM, paused=False)
    assert called(await world.step(record))[0] == b""


async def test_a_trusted_relayer_is_named(world: World) -> None:
    """An ISM that asks who delivers takes it from that account only."""
    world.null(ISM, relayer="0x" + "99" * 20)
    (record,) = world.dispatch()
    step = await world.step(record)
    assert isinstance(step, Call)
    assert step.sender == "0x" + "99" * 20


@pytest.mark.parametrize(
    ("kind", "name"), [(3, "LEGACY_MULTISIG"), (11, "OP_L2_TO_L1"), (77, "unknown")]
)
async def test_unsupported_kinds(world: World, kind: int, name: str) -> None:
    """A kind we cannot satisfy is held and named."""
    world.ism(ISM, kind)
    (record,) = world.dispatch()
    step = await world.step(record)
    assert isinstance(step, Refuse)
    assert (step.reason, step.dead) == (Reason.UNSUPPORTED, False)
    assert name in step.detail


async def test_ism_loops_end(world: World) -> None:
    """An ISM that contains itself, or explodes, is refused in bounded work."""
    (record,) = world.dispatch()
    world.aggregation(ISM, [ISM] * 40, 1)
    step = await world.step(record)
    assert isinstance(step, Refuse)
    assert "nests too deep or is too large" in step.detail
    world.routing(OTHER_ISM, OTHER_ISM)
    world.recipient_isms[RECIPIENT] = OTHER_ISM
    world.clock.pass_s(100)
    assert isinstance(await world.step(record), Refuse)


async def test_one_poisonous_recipient_stops_nobody(world: World) -> None:
    """A recipient whose ISM cannot be told is refused; the others of its batch go."""
    bad = "0x" + "66" * 20
    world.recipient_isms[bad] = "revert"
    records = [*world.dispatch(), *world.dispatch(recipient=bad), *world.dispatch()]
    world.all_sign(2)
    steps = await world.adapter.next_steps(records)
    called(steps[records[0].id])
    called(steps[records[2].id])
    refused = steps[records[1].id]
    assert isinstance(refused, Refuse)
    assert refused.reason is Reason.UNDELIVERABLE


async def test_stored_messages_are_checked(world: World) -> None:
    """A stored message that is not what its id says, or not for here, never becomes a call."""
    (record,) = world.dispatch()
    other = message_of(9).encode()
    cases = [
        (replace(record.message, payload=other), "does not hash"),
        (replace(record.message, payload=b"short"), "shorter than its header"),
    ]
    for message, words in cases:
        step = await world.step(replace(record, message=message))
        assert isinstance(step, Refuse)
        assert words in step.detail
    stray = replace(message_of(1), destination=ORIGIN_DOMAIN)
    step = await world.step(record_of(stray, 0))
    assert isinstance(step, Refuse)
    assert "wrong origin or destination domain" in step.detail
    long = replace(message_of(1), recipient=b"\x01" * 32)
    step = await world.step(record_of(long, 0))
    assert isinstance(step, Refuse)
    assert "not an EVM address" in step.detail


async def test_a_changed_ism_is_read_anew_after_a_refusal(world: World) -> None:
    """What the inbox refused is rebuilt from fresh configuration, not from the cached one."""
    (record,) = world.dispatch()
    world.all_sign(0)
    assert len(called(await world.step(record))[0]) == 1096 + 130
    world.multisig(ISM, 3)
    assert len(called(await world.step(record))[0]) == 1096 + 130
    refused = replace(record, reason=Reason.REBUILD_PROOF)
    assert len(called(await world.step(refused))[0]) == 1096 + 195


async def test_local_storage_must_be_allowed(make_world: MakeWorld) -> None:
    """`file://` locations are read only where the operator said so."""
    world = make_world(allow_local_storage=False)
    world.multisig(ISM, 2)
    (record,) = world.dispatch()
    world.all_sign(0)
    wait = waiting(await world.step(record), Reason.AWAITING_QUORUM)
    assert "local storage is not allowed" in wait.detail


async def test_concurrent_batches_share_what_they_read(world: World) -> None:
    """Lanes that ask at once get the same answers."""
    records = world.dispatch(4)
    world.all_sign(3)
    answers = await asyncio.gather(*(world.step(record) for record in records))
    assert all(isinstance(answer, Call) for answer in answers)


async def test_truth_is_read_at_a_final_block(world: World) -> None:
    """The auditor gets the hook's own count and root."""
    world.origin.answer(HOOK, selector("count()"), (7).to_bytes(32, "big"))
    world.origin.answer(HOOK, selector("root()"), b"\x05" * 32)
    (truth,) = await truths_of(world.adapter)
    assert (truth.tree, truth.size, truth.root) == (TREE, 7, b"\x05" * 32)
    assert truth.block == world.origin.final


async def test_truth_before_the_hook_was_deployed(world: World) -> None:
    """A final block without the contracts has an empty tree: nothing to compare, no lie."""
    world.origin.answer(HOOK, selector("count()"), b"")
    world.origin.answer(HOOK, selector("root()"), b"")
    (truth,) = await truths_of(world.adapter)
    assert (truth.tree, truth.size, truth.root) == (TREE, 0, None)


async def test_one_chains_truth_is_not_the_others_trouble(make_world: MakeWorld) -> None:
    """An auditor has its own chain read and no other."""
    world = make_world(routes="all")
    world.destination.answer("0x" + "b2" * 20, selector("count()"), (7).to_bytes(32, "big"))
    world.destination.answer("0x" + "b2" * 20, selector("root()"), b"\x05" * 32)
    world.origin.failure = EndpointDown("fake", "gone")
    (truth,) = await world.adapter.truth(world.destination.chain_id)
    assert (truth.tree, truth.size) == (f"hyper/{DESTINATION_ID}", 7)
    with pytest.raises(EndpointDown):
        await world.adapter.truth(world.origin.chain_id)
    world.origin.failure = None
    with pytest.raises(BadChainData, match="no Merkle tree hook"):
        await world.adapter.truth(world.origin.chain_id)


async def test_trouble_of_one_set_is_not_that_of_another(world: World) -> None:
    """Where new validators cannot be looked up, sets that are known go on."""
    world.multisig(OTHER_ISM, 1)
    other = "0x" + "66" * 20
    world.recipient_isms[other] = OTHER_ISM
    known, new = *world.dispatch(), *world.dispatch(recipient=other)
    world.all_sign(1)
    called(await world.step(known))
    stranger = Account.from_key(b"\x77" * 32).address
    answer = abi_encode(["address[]", "uint8"], [[stranger], 1])
    world.destination.answer(OTHER_ISM, selector("validatorsAndThreshold(bytes)"), answer)
    world.origin.failure = EndpointDown("fake", "gone")
    steps = await world.adapter.next_steps([known, new])
    called(steps[known.id])
    waiting(steps[new.id], Reason.SOURCE_UNREACHABLE)


def test_what_it_follows(world: World) -> None:
    """One source a chain, one depth-32 ladder tree an origin, the configured routes only."""
    assert {source.chain: source.start_block for source in world.adapter.sources()} == {
        ORIGIN_ID: 3,
        DESTINATION_ID: 0,
    }
    (tree,) = world.adapter.trees()
    assert (tree.id, tree.chain) == (TREE, ORIGIN_ID)
    assert (tree.shape.empty, tree.shape.depth) == (EmptyRule.LADDER, 32)
    assert [str(route) for route in world.adapter.routes()] == ["hyper:11>22"]


def test_unknown_chains_are_refused() -> None:
    """A bridge cannot name a chain that the configuration does not have."""
    plugin = hyperlane.PLUGIN
    context = FakeContext({"origin": FakeChain(1)}, FakeTrees(hyperlane.adapter.SHAPE))
    with pytest.raises(ConfigInvalid, match=r"chains\.destination: no chain 'destination'"):
        plugin.build(BRIDGE, settings_of(), context)
