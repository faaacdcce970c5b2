"""The bytes of ISM metadata, against the offsets of the contracts' libraries."""

from __future__ import annotations

from relayer.protocols.hyperlane.checkpoints import Checkpoint, Quorum
from relayer.protocols.hyperlane.metadata import (
    aggregation_metadata,
    merkle_root_metadata,
    message_id_metadata,
)

CHECKPOINT = Checkpoint(1, b"\x01" * 32, b"\x02" * 32, 0x0A0B0C0D, b"\x03" * 32)
QUORUM = Quorum(CHECKPOINT, (b"\x04" * 65, b"\x05" * 65))


def test_message_id_layout() -> None:
    """hook 0:32, root 32:64, index 64:68, then signatures."""
    found = message_id_metadata(QUORUM)
    assert found == (
        b"\x01" * 32 + b"\x02" * 32 + b"\x0a\x0b\x0c\x0d" + b"\x04" * 65 + b"\x05" * 65
    )


def test_merkle_root_layout() -> None:
    """hook 0:32, leaf index 32:36, id 36:68, proof 68:1092, signed index 1092:1096, signatures."""
    siblings = [bytes([level]) * 32 for level in range(32)]
    found = merkle_root_metadata(QUORUM, 7, siblings)
    assert found[:36] == b"\x01" * 32 + b"\x00\x00\x00\x07"
    assert found[36:68] == b"\x03" * 32
    assert found[68:1092] == b"".join(siblings)
    assert found[1092:1096] == b"\x0a\x0b\x0c\x0d"
    assert found[1096:] == b"\x04" * 65 + b"\x05" * 65


def test_aggregation_layout() -> None:
    """A left-out module has the range (0, 0), an empty blob a range of no length after the head."""
    found = aggregation_metadata([None, b"abc", b"", b"de"])
    head = [int.from_bytes(found[4 * i : 4 * i + 4], "big") for i in range(8)]
    assert head == [0, 0, 32, 35, 35, 35, 35, 37]
    assert found[32:] == b"abcde"
