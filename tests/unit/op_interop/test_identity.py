"""Message hashes, identifiers and access lists against values that supersim told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from relayer.abi import address_word, word
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address
from relayer.protocols.op_interop import contracts
from relayer.protocols.op_interop.contracts import (
    MESSENGER,
    InteropMessage,
    decode_message,
    read_sent,
)
from relayer.protocols.op_interop.identifier import Identifier

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "op_interop_messages.json").read_text()
)
MESSAGES = st.builds(
    InteropMessage,
    destination=st.integers(0, 2**256 - 1),
    source=st.integers(0, 2**256 - 1),
    nonce=st.integers(0, 2**256 - 1),
    sender=st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex())),
    target=st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex())),
    body=st.binary(max_size=200),
)


def golden_message(one: dict[str, Any]) -> InteropMessage:
    return InteropMessage(
        902, GOLDEN["chain_id"], one["nonce"], one["sender"], one["target"],
        bytes.fromhex(one["body"][2:]),
    )  # fmt: skip


@pytest.mark.parametrize("one", GOLDEN["messages"], ids=["short", "two words"])
def test_hash_and_access_list_are_those_of_supersim(one: dict[str, Any]) -> None:
    """The message hash is the messenger's own, the keys are those that supersim's server tells."""
    topics = (contracts.SENT_MESSAGE, word(902), address_word(one["target"]), word(one["nonce"]))
    message = read_sent(GOLDEN["chain_id"], topics, bytes.fromhex(one["data"][2:]))
    assert message == golden_message(one)
    assert "0x" + message.hash.hex() == one["hash"]
    identifier = Identifier(
        GOLDEN["block"], one["log_index"], GOLDEN["timestamp"], GOLDEN["chain_id"]
    )
    keys = identifier.access_keys(message.log_payload())
    assert ["0x" + key.hex() for key in keys] == one["keys"]


def test_topics_selectors_and_errors_are_the_published_ones() -> None:
    """Values as `cast sig` and the contracts' ABI in ethereum-optimism/optimism have them."""
    assert contracts.SENT_MESSAGE.hex() == (
        "382409ac69001e11931a28435afef442cbfd20d9891907e8fa373ba7d351f320"
    )
    assert contracts.RELAYED_MESSAGE.hex() == (
        "c270d73e26d2d39dee7ef92093555927e344e243415547ecc350b2b5385b68a2"
    )
    assert contracts.RELAY_MESSAGE.hex() == "8d1d298f"
    assert contracts.SUCCESSFUL_MESSAGES.hex() == "b1b1b209"
    assert contracts.NOT_IN_ACCESS_LIST.hex() == "e3c00816"
    assert contracts.MESSAGE_ALREADY_RELAYED.hex() == "9ca9480b"
    assert contracts.DESTINATION_NOT_RELAY_CHAIN.hex() == "31ac2211"
    assert contracts.REENTRANT_CALL.hex() == "37ed32e8"
    assert {selector.hex() for selector in contracts.MALFORMED} == {
        "7987c157",
        "df1eb586",
        "d1f79e82",
        "94338eba",
        "596a19a9",
    }


def test_a_large_chain_id_takes_a_third_key() -> None:
    """The upper 24 bytes of a chain id go between lookup and checksum, and into the checksum."""
    small, large = Identifier(7, 3, 1000, 5), Identifier(7, 3, 1000, (9 << 64) | 5)
    lookup, extension, checksum = large.access_keys(b"payload")
    assert (lookup, extension) == (small.access_keys(b"payload")[0], b"\x02" + bytes(30) + b"\x09")
    packed = bytes(12) + (7).to_bytes(8, "big") + (1000).to_bytes(8, "big") + (3).to_bytes(4, "big")
    log_hash = keccak256(bytes.fromhex(MESSENGER[2:]) + keccak256(b"payload"))
    bound = keccak256(keccak256(log_hash + packed) + word(large.chain_id))
    assert checksum == b"\x03" + bound[1:] != small.access_keys(b"payload")[1]


@pytest.mark.parametrize(
    "place",
    [(2**64, 0, 1, 1), (1, 2**32, 1, 1), (1, 0, 2**64, 1), (1, 0, 0, 1), (-1, 0, 1, 1)],
)
def test_places_out_of_bounds_are_refused(place: tuple[int, int, int, int]) -> None:
    """What does not fit the packed form would alias another place, so it is no identifier."""
    with pytest.raises(BadChainData):
        Identifier(*place)


@given(MESSAGES)
@settings(max_examples=60, deadline=None)
def test_encodings_agree_with_an_abi_library(message: InteropMessage) -> None:
    """The hashed form, the log's data and the relay call are what eth-abi makes of them."""
    fields = [
        message.destination, message.source, message.nonce, message.sender, message.target,
        message.body,
    ]  # fmt: skip
    kinds = ["uint256", "uint256", "uint256", "address", "address", "bytes"]
    assert message.encode() == encode(kinds, fields)
    assert message.log_data() == encode(["address", "bytes"], [message.sender, message.body])
    assert decode_message(message.encode()) == message
    place = (MESSENGER, 7, 3, 1000, 901)
    call = message.relay_call(Identifier(7, 3, 1000, 901).words())
    kind = "(address,uint256,uint256,uint256,uint256)"
    assert call[4:] == encode([kind, "bytes"], [place, message.log_payload()])


@given(st.binary(max_size=400))
@settings(max_examples=60, deadline=None)
def test_garbage_is_no_message(raw: bytes) -> None:
    """Whatever is not the one canonical form is refused, never half read."""
    with pytest.raises(BadChainData):
        decode_message(raw)


def test_a_second_encoding_of_the_same_message_is_refused() -> None:
    """An offset that skips a word, dirty padding or an address with high bytes changes the hash."""
    message = golden_message(GOLDEN["messages"][0])
    encoded = message.encode()
    skipped = encoded[:160] + word(7 * 32) + bytes(32) + encoded[192:]
    dirty_padding = encoded[:-1] + b"\x01"
    dirty_address = encoded[:96] + b"\x01" + encoded[97:]
    for other in (skipped, dirty_padding, dirty_address, encoded + bytes(32), encoded[:-32]):
        with pytest.raises(BadChainData):
            decode_message(other)
