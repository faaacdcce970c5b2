"""Layouts and hashes, measured by real contracts and by a generic ABI codec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st

from relayer.abi import word
from relayer.adapter import Log, ViewResult
from relayer.errors import BadChainData
from relayer.message import Address, MessageSeen, Route
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import (
    OutputProof,
    Relay,
    Withdrawal,
    decode_withdrawal,
    read_relay,
)
from relayer.protocols.op_stack.events import Outbox, decode_origin, read_passed
from relayer.protocols.op_stack.settings import MESSAGE_PASSER, MESSENGER
from relayer.trees.state_proof import prove_account, prove_slot
from tests.unit.op_stack.world import BRIDGE, L1_ID, L1_MESSENGER, L2_ID, at, relayed, withdrawal

FIXTURE = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "op_stack_withdrawals.json").read_text()
)
TX = "(uint256,address,address,uint256,uint256,bytes)"
ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex()))
WITHDRAWALS = st.builds(
    Withdrawal,
    nonce=st.integers(0, 2**256 - 1),
    sender=ADDRESSES,
    target=ADDRESSES,
    value=st.integers(0, 2**256 - 1),
    gas_limit=st.integers(0, 2**256 - 1),
    data=st.binary(max_size=200),
)


def octets(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def logs() -> list[Log]:
    return [
        Log(MESSAGE_PASSER, tuple(map(octets, log["topics"])), octets(log["data"]), at(L2_ID))
        for log in FIXTURE["logs"]
    ]


def fields(one: Withdrawal) -> tuple[int, str, str, int, int, bytes]:
    return (one.nonce, one.sender, one.target, one.value, one.gas_limit, one.data)


# --- what real contracts made -----------------------------------------------------------------


def test_hash_slot_and_output_root_are_those_of_the_contracts() -> None:
    """Logs, state and output of contracts-bedrock, which took proofs made of them."""
    told = FIXTURE["proof"]
    block = FIXTURE["block"]
    account = prove_account(
        octets(block["stateRoot"]), octets(MESSAGE_PASSER), list(map(octets, told["accountProof"]))
    )
    output = OutputProof(octets(block["stateRoot"]), account.storage_root, octets(block["hash"]))
    assert output.root == octets(FIXTURE["output_root"])
    for log, storage in zip(logs(), told["storageProof"], strict=True):
        one = read_passed(log)  # recomputes the hash
        assert int(storage["key"], 16) == int.from_bytes(one.slot, "big")
        value, _ = prove_slot(account.storage_root, one.slot, list(map(octets, storage["proof"])))
        assert value == 1


def test_the_messengers_name_of_a_message_is_the_one_it_relayed() -> None:
    """The hash that the real L1CrossDomainMessenger told in RelayedMessage is the inbox id."""
    messengers = (MESSENGER, Address(FIXTURE["l1_messenger"]))
    outbox = Outbox(Route(BRIDGE, L2_ID, L1_ID), MESSAGE_PASSER, messengers, None)
    facts = decode_origin(outbox, logs())
    seen = [fact.message for fact in facts if isinstance(fact, MessageSeen)]
    assert [one.inbox_id for one in seen] == [None, *FIXTURE["relayed"]]
    assert [one.body for one in seen] == [b"plain", b"through the messenger"]
    assert seen[1].sender != MESSENGER
    assert seen[1].recipient == seen[0].recipient


# --- what a generic codec makes -----------------------------------------------------------------


@given(WITHDRAWALS)
def test_the_withdrawals_encoding(one: Withdrawal) -> None:
    """Byte for byte `abi.encode`, and read back; one byte more or less is refused."""
    types = ["uint256", "address", "address", "uint256", "uint256", "bytes"]
    assert one.encode() == abi_encode(types, fields(one))
    assert decode_withdrawal(one.encode()) == one
    for bad in (one.encode()[:-1], one.encode() + b"\x00", one.encode()[:100], b""):
        with pytest.raises(BadChainData):
            decode_withdrawal(bad)


@given(WITHDRAWALS, st.integers(0, 2**256 - 1), st.lists(st.binary(max_size=100), max_size=4))
def test_the_proofs_call(one: Withdrawal, index: int, nodes: list[bytes]) -> None:
    """`proveWithdrawalTransaction` as a generic codec writes it."""
    output = OutputProof(b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)
    parts = (bytes(32), output.state_root, output.storage_root, output.block_hash)
    types = [TX, "uint256", "(bytes32,bytes32,bytes32,bytes32)", "bytes[]"]
    expected = abi_encode(types, [fields(one), index, parts, nodes])
    assert one.prove_call(index, output, nodes) == contracts.PROVE + expected
    assert contracts.PROVE.hex() == "4870496f"


@given(WITHDRAWALS)
def test_the_finalisations_calls(one: Withdrawal) -> None:
    """With and without the submitter whose proof is meant."""
    plain = abi_encode([TX], [fields(one)])
    assert one.finalize_call(None) == contracts.FINALIZE + plain
    external = abi_encode([TX, "address"], [fields(one), L1_MESSENGER])
    assert one.finalize_call(L1_MESSENGER) == contracts.FINALIZE_EXTERNAL + external
    assert (contracts.FINALIZE.hex(), contracts.FINALIZE_EXTERNAL.hex()) == ("8c3152e9", "43ca1c50")


def test_a_relay_is_told_from_anything_else() -> None:
    """Only the two messengers' own relayMessage in its one canonical form is one."""
    one = relayed(3, body=b"to the target")
    relay = read_relay(one, (MESSENGER, L1_MESSENGER))
    assert relay is not None
    types = ["uint256", "address", "address", "uint256", "uint256", "bytes"]
    assert abi_decode(types, one.data[4:])[5] == relay.body == b"to the target"
    others = (
        withdrawal(3, data=one.data),
        Withdrawal(one.nonce, MESSENGER, L1_MESSENGER, 0, 0, one.data + b"\x00"),
        Withdrawal(one.nonce, MESSENGER, L1_MESSENGER, 0, 0, b"\x00" + one.data[1:]),
        Withdrawal(one.nonce, MESSENGER, L1_MESSENGER, 0, 0, one.data[:40]),
        Withdrawal(one.nonce, MESSENGER, Address("0x" + "77" * 20), 0, 0, one.data),
    )
    assert [read_relay(other, (MESSENGER, L1_MESSENGER)) for other in others] == [None] * 5


def test_a_relay_with_an_impossible_address_is_none() -> None:
    """Dirty high bytes in an address word: the messenger would revert, so it is a plain call."""
    data = bytearray(Relay(1, MESSENGER, MESSENGER, 0, 0, b"x").encode())
    data[4 + 32] = 1
    one = Withdrawal(1, MESSENGER, L1_MESSENGER, 0, 0, bytes(data))
    assert read_relay(one, (MESSENGER, L1_MESSENGER)) is None


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33), bytes(64)])
def test_short_and_long_answers_are_refused(data: bytes) -> None:
    """A view's answer has as many words as it should, no more and no less."""
    with pytest.raises(BadChainData, match="the thing does not answer"):
        contracts.read_number(ViewResult(True, data), "the thing")
    with pytest.raises(BadChainData):
        contracts.read_flag(ViewResult(True, word(2)), "the thing")
