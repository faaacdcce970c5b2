"""One message as the child chain's tree commits to it, and the name we give it. Pure.

Source: `Outbox.calculateItemHash` and `calculateMerkleRoot` of OffchainLabs/nitro-contracts,
`precompiles/ArbSys.go` of OffchainLabs/nitro.
"""

from __future__ import annotations

from dataclasses import dataclass

from relayer.keccak import keccak256
from relayer.message import Address, ChainId, MessageId

MAX_POSITION = 2**48
"""More than any chain can send; keeps a leaf's index exact in every number format we meet."""


@dataclass(frozen=True, slots=True)
class Send:
    """What `ArbSys.sendTxToL1` recorded."""

    sender: bytes
    """20 bytes, on the child."""
    recipient: bytes
    """20 bytes, on the parent."""
    l2_block: int
    l1_block: int
    timestamp: int
    value: int
    """Wei; of a chain with its own gas token always with 18 decimals."""
    payload: bytes
    """The recipient's call data."""

    def encode(self) -> bytes:
        """The packed form whose hash is the item."""
        numbers = (self.l2_block, self.l1_block, self.timestamp, self.value)
        words = b"".join(number.to_bytes(32, "big") for number in numbers)
        return self.sender + self.recipient + words + self.payload


def item_of(packed: bytes) -> bytes:
    """The `hash` that L2ToL1Tx carries."""
    return keccak256(packed)


def leaf_of(item: bytes) -> bytes:
    """The tree's leaf: hashed once more, so that no leaf can be taken for an inner node."""
    return keccak256(item)


def message_id(parent: ChainId, outbox: Address, child: ChainId, position: int) -> MessageId:
    """The name of the leaf at `position`; the parent's own event knows no more than its index."""
    named = (
        b"arbitrum"
        + parent.to_bytes(32, "big")
        + bytes.fromhex(outbox[2:])
        + child.to_bytes(32, "big")
        + position.to_bytes(32, "big")
    )
    return MessageId("0x" + keccak256(named).hex())
