"""Events, selectors and byte layouts of Scroll's contracts, coded by hand.

Source: `src/{L1,L2,libraries}` of scroll-tech/scroll-contracts, published on npm as
`@scroll-tech/contracts` 4.0.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.abi import address_of, address_word, dynamic, selector, word
from relayer.adapter import ViewResult
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

SENT_MESSAGE = keccak256(b"SentMessage(address,address,uint256,uint256,uint256,bytes)")
APPEND_MESSAGE = keccak256(b"AppendMessage(uint256,bytes32)")
FINALIZE_BATCH = keccak256(b"FinalizeBatch(uint256,bytes32,bytes32,bytes32)")
RELAYED_MESSAGE = keccak256(b"RelayedMessage(bytes32)")
FAILED_RELAYED_MESSAGE = keccak256(b"FailedRelayedMessage(bytes32)")

RELAY_MESSAGE = selector("relayMessage(address,address,uint256,uint256,bytes)")
RELAY_WITH_PROOF = selector(
    "relayMessageWithProof(address,address,uint256,uint256,bytes,(uint256,bytes))"
)
IS_EXECUTED = selector("isL2MessageExecuted(bytes32)")
LAST_FINALIZED = selector("lastFinalizedBatchIndex()")
WITHDRAW_ROOTS = selector("withdrawRoots(uint256)")
NEXT_MESSAGE_INDEX = selector("nextMessageIndex()")
MESSAGE_ROOT = selector("messageRoot()")

FORBIDDEN_TARGET = selector("ErrorForbidToCallMessageQueue()")

MAX_BATCH = 2**53
"""Above every batch index to come; Redis sorts levels exactly up to here."""

_HEAD_BYTES = 4 + 5 * 32
"""Selector, sender, target, value, nonce and the offset of the message in `relayMessage`."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One message from layer 2 to layer 1."""

    sender: Address
    target: Address
    value: int
    """Wei that the layer-1 messenger pays out to the target."""
    nonce: int
    """Its leaf's index in the tree."""
    body: bytes
    """Call data for the target."""

    def encode(self) -> bytes:
        """`relayMessage(sender, target, value, nonce, body)`: what is hashed, selector included."""
        return RELAY_MESSAGE + self._fields() + word(5 * 32) + dynamic(self.body)

    def delivery_call(self, batch: int, siblings: Sequence[bytes]) -> bytes:
        """`L1ScrollMessenger.relayMessageWithProof`; the proof is the siblings, bottom-up."""
        body = dynamic(self.body)
        proof = word(batch) + word(64) + dynamic(b"".join(siblings))
        offsets = word(6 * 32) + word(6 * 32 + len(body))
        return RELAY_WITH_PROOF + self._fields() + offsets + body + proof

    def _fields(self) -> bytes:
        where = address_word(self.sender) + address_word(self.target)
        return where + word(self.value) + word(self.nonce)


def decode_withdrawal(encoded: bytes) -> Withdrawal:
    """Read what `Withdrawal.encode` writes; `BadChainData` for anything else."""
    if len(encoded) < _HEAD_BYTES + 32:
        raise BadChainData(f"{len(encoded)} bytes are no message")
    words = [encoded[at : at + 32] for at in range(4, _HEAD_BYTES, 32)]
    size = int.from_bytes(encoded[_HEAD_BYTES : _HEAD_BYTES + 32], "big")
    body = encoded[_HEAD_BYTES + 32 :][: min(size, len(encoded))]
    withdrawal = Withdrawal(
        address_of(words[0]),
        address_of(words[1]),
        int.from_bytes(words[2], "big"),
        int.from_bytes(words[3], "big"),
        body,
    )
    if withdrawal.encode() != encoded:
        raise BadChainData("the stored message is not in its one canonical form")
    return withdrawal


def answer_word(answer: ViewResult, what: str) -> bytes:
    """A view's answer of exactly one word; `BadChainData` names what did not answer."""
    if not answer.ok or len(answer.data) != 32:
        raise BadChainData(f"{what} does not answer: wrong address or chain?")
    return answer.data
