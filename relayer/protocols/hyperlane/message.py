"""Hyperlane's message format, version 3.

Source: `solidity/contracts/libs/Message.sol` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

from dataclasses import dataclass

from relayer.errors import BadChainData
from relayer.keccak import keccak256

VERSION = 3
HEADER_BYTES = 77


@dataclass(frozen=True, slots=True)
class HyperlaneMessage:
    """One message as it was dispatched; `sender` and `recipient` are 32 bytes."""

    nonce: int
    origin: int
    sender: bytes
    destination: int
    recipient: bytes
    body: bytes
    version: int = VERSION

    def encode(self) -> bytes:
        """The packed form that inboxes take and ids are hashes of."""
        return b"".join(
            (
                self.version.to_bytes(1, "big"),
                self.nonce.to_bytes(4, "big"),
                self.origin.to_bytes(4, "big"),
                self.sender,
                self.destination.to_bytes(4, "big"),
                self.recipient,
                self.body,
            )
        )

    @property
    def id(self) -> bytes:
        """The message id: keccak-256 of the packed form."""
        return keccak256(self.encode())

    @property
    def recipient_address(self) -> str | None:
        """The recipient as a 20-byte address, None when it cannot be one on an EVM chain."""
        return None if any(self.recipient[:12]) else "0x" + self.recipient[12:].hex()


def decode_message(packed: bytes) -> HyperlaneMessage:
    """Read the packed form of any version; `BadChainData` when it is shorter than its header."""
    if len(packed) < HEADER_BYTES:
        raise BadChainData(f"a message of {len(packed)} bytes is shorter than its header")
    return HyperlaneMessage(
        version=packed[0],
        nonce=int.from_bytes(packed[1:5], "big"),
        origin=int.from_bytes(packed[5:9], "big"),
        sender=packed[9:41],
        destination=int.from_bytes(packed[41:45], "big"),
        recipient=packed[45:77],
        body=packed[77:],
    )
