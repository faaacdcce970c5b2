"""Encoding, hash and claims of a message, against an ABI library that is not ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from eth_abi.abi import decode, encode
from hypothesis import given
from hypothesis import strategies as st

from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address, Wei
from relayer.protocols.linea.message import LineaMessage, decode_message, read_sent
from tests.unit.linea.world import (
    ALICE,
    AT,
    BOB,
    FEE_RECIPIENT,
    ROLLUP,
    abi_message,
    sent_log_parts,
)

MESSAGE = LineaMessage(ALICE, BOB, Wei(5), Wei(7), 3, b"hello")

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex()))
words = st.integers(0, 2**256 - 1).map(Wei)
messages = st.builds(
    LineaMessage, addresses, addresses, words, words, st.integers(1, 2**53), st.binary(max_size=99)
)


@given(message=messages)
def test_the_hash_is_that_of_the_abi_encoding(message: LineaMessage) -> None:
    """Plain `abi.encode`, any fields and sizes; and it can be read back."""
    assert message.encode() == abi_message(message)
    assert message.digest == keccak256(abi_message(message))
    assert decode_message(message.encode()) == message


@given(message=messages)
def test_a_log_says_all_of_the_message(message: LineaMessage) -> None:
    """What `MessageSent` carries makes the message and its hash."""
    topics, data = sent_log_parts(message)
    assert read_sent(Log(ROLLUP, tuple(topics), data, AT)) == message


def test_the_claims_as_the_contracts_read_them() -> None:
    """Selectors of the contracts' interfaces, and every argument in its place."""
    claim = MESSAGE.claim_call(FEE_RECIPIENT)
    assert claim[:4].hex() == "491e0936"
    kinds = ["address", "address", "uint256", "uint256", "address", "bytes", "uint256"]
    values = (ALICE, BOB, 5, 7, FEE_RECIPIENT, b"hello", 3)
    assert claim[4:] == encode(kinds, values)

    siblings = [keccak256(b"%d" % turn) for turn in range(5)]
    root = keccak256(b"root")
    proved = MESSAGE.claim_with_proof_call(siblings, 17, root=root, fee_recipient=FEE_RECIPIENT)
    assert proved[:4].hex() == "6463fb2a"
    kind = "(bytes32[],uint256,uint32,address,address,uint256,uint256,address,bytes32,bytes)"
    expected = (tuple(siblings), 3, 17, ALICE, BOB, 5, 7, FEE_RECIPIENT, root, b"hello")
    assert proved[4:] == encode([kind], [expected])
    assert decode([kind], proved[4:]) == (expected,)


@pytest.mark.parametrize("number", [0, 2**53 + 1, 2**256 - 1])
def test_numbers_that_nobody_can_have_reached(number: int) -> None:
    """Messages count from 1, so 0 is a lie, and so is what is past every counter."""
    topics, data = sent_log_parts(replace(MESSAGE, number=number))
    with pytest.raises(BadChainData, match="no message number"):
        read_sent(Log(ROLLUP, tuple(topics), data, AT))


def _spoil(place: int, value: int = 1) -> Callable[[list[bytes], bytes], tuple[list[bytes], bytes]]:
    def spoil(topics: list[bytes], data: bytes) -> tuple[list[bytes], bytes]:
        return topics, data[:place] + bytes([data[place] ^ value]) + data[place + 1 :]

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        lambda topics, data: (topics[:3], data),
        lambda topics, data: (topics, data[:-32]),
        lambda topics, data: (topics, data + bytes(32)),
        lambda topics, data: ([*topics[:3], keccak256(b"another")], data),
        lambda topics, data: ([topics[0], b"\1" + topics[1][1:], *topics[2:]], data),
        _spoil(31),  # the fee
        _spoil(63),  # the value
        _spoil(95),  # the number
        _spoil(127),  # where the call data begin
        _spoil(159),  # their size
        _spoil(160),  # themselves
    ],
)
def test_a_log_that_lies_is_bad_data(
    spoil: Callable[[list[bytes], bytes], tuple[list[bytes], bytes]],
) -> None:
    """Anything but the message that hashes to the log's own hash is refused."""
    topics, data = spoil(*sent_log_parts(MESSAGE))
    with pytest.raises(BadChainData):
        read_sent(Log(ROLLUP, tuple(topics), data, AT))


@pytest.mark.parametrize("payload", [b"", bytes(6 * 32), MESSAGE.encode() + b"\0", bytes(7 * 32)])
def test_a_payload_that_is_no_encoding_is_bad_data(payload: bytes) -> None:
    """Stored messages are checked as strictly as logs."""
    with pytest.raises(BadChainData):
        decode_message(payload)
