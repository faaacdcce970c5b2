"""The packed message format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relayer.errors import BadChainData
from relayer.protocols.hyperlane.message import HEADER_BYTES, HyperlaneMessage, decode_message

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_published_vector() -> None:
    """The id of Hyperlane's own test message is reproduced, and decoding is the inverse."""
    (case,) = json.loads((FIXTURES / "hyperlane_message.json").read_text())["cases"]
    message = HyperlaneMessage(
        version=case["version"],
        nonce=case["nonce"],
        origin=case["origin"],
        sender=bytes.fromhex(case["sender"][2:]),
        destination=case["destination"],
        recipient=bytes.fromhex(case["recipient"][2:]),
        body=bytes(case["body"]),
    )
    assert "0x" + message.id.hex() == case["id"]
    assert decode_message(message.encode()) == message
    assert message.recipient_address == "0x" + "22" * 20


def test_short_messages_are_refused() -> None:
    """Anything shorter than the header is an error; the bare header has an empty body."""
    with pytest.raises(BadChainData, match="76 bytes"):
        decode_message(bytes(HEADER_BYTES - 1))
    assert decode_message(bytes(HEADER_BYTES)).body == b""


def test_a_recipient_of_32_bytes_is_no_address() -> None:
    """A recipient with anything above 20 bytes cannot be an EVM contract."""
    message = decode_message(bytes(45) + b"\x01" + bytes(31))
    assert message.recipient_address is None
