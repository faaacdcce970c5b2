"""Where a message was said, and the access list with which a transaction names it.

Source: ethereum-optimism/specs, `interop/predeploys.md` (Identifier, CrossL2Inbox), and
`op-supervisor/supervisor/types` (access-list encoding); the same as CrossL2Inbox's own
`calculateChecksum`.
"""

from __future__ import annotations

from dataclasses import dataclass

from relayer.abi import address_word, word
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.protocols.op_interop.contracts import MESSENGER

LOOKUP, CHAIN_EXTENSION, CHECKSUM = b"\x01", b"\x02", b"\x03"
"""First bytes of the three kinds of key."""
U32, U64 = 2**32, 2**64


@dataclass(frozen=True, slots=True)
class Identifier:
    """The place of a messenger's log; it says nothing of the block's hash."""

    block: int
    log_index: int
    """In the block, not in the transaction."""
    timestamp: int
    """Of the block."""
    chain_id: int

    def __post_init__(self) -> None:
        if not (0 <= self.block < U64 and 0 <= self.log_index < U32 and 0 < self.timestamp < U64):
            raise BadChainData("a log's place is out of bounds")

    def words(self) -> bytes:
        """`(origin, blockNumber, logIndex, timestamp, chainId)` as the contracts take it."""
        place = word(self.block) + word(self.log_index) + word(self.timestamp)
        return address_word(MESSENGER) + place + word(self.chain_id)

    def access_keys(self, payload: bytes) -> tuple[bytes, ...]:
        """Storage keys of the inbox that name the log with this payload, in their one order."""
        packed = _u64(self.block) + _u64(self.timestamp) + self.log_index.to_bytes(4, "big")
        lookup = LOOKUP + bytes(3) + _u64(self.chain_id % U64) + packed
        if self.chain_id < U64:
            return lookup, self.checksum(payload)
        extension = CHAIN_EXTENSION + bytes(7) + word(self.chain_id)[:24]
        return lookup, extension, self.checksum(payload)

    def checksum(self, payload: bytes) -> bytes:
        """The key that the inbox looks for."""
        packed = _u64(self.block) + _u64(self.timestamp) + self.log_index.to_bytes(4, "big")
        log_hash = keccak256(bytes.fromhex(MESSENGER[2:]) + keccak256(payload))
        in_place = keccak256(log_hash + bytes(12) + packed)
        return CHECKSUM + keccak256(in_place + word(self.chain_id))[1:]


def _u64(number: int) -> bytes:
    return number.to_bytes(8, "big")
