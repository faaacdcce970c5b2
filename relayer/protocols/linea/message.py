"""A Linea message: its fields, its hash, and the two calls that claim it. Pure.

The hash, which is also the leaf and our message id, is
`keccak256(abi.encode(from, to, fee, value, number, calldata))` (`MessageHashing.sol`). No chain and
no direction are part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.abi import WORD, address_word, dynamic, word
from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address, Wei
from relayer.protocols.linea.contracts import CLAIM, CLAIM_WITH_PROOF, join

HEAD_BYTES = 6 * WORD
MOST_MESSAGES = 2**53
"""Message numbers count from 1; a larger one than this nobody can have reached."""


@dataclass(frozen=True, slots=True)
class LineaMessage:
    """What `MessageSent` says."""

    sender: Address
    recipient: Address
    fee: Wei
    """What the claimer earns."""
    value: Wei
    """What the recipient gets."""
    number: int
    """1, 2, 3, ... on its side."""
    body: bytes

    def encode(self) -> bytes:
        """`abi.encode` of the fields: what is hashed, and what we keep."""
        head = (
            address_word(self.sender),
            address_word(self.recipient),
            word(self.fee),
            word(self.value),
            word(self.number),
            word(HEAD_BYTES),
        )
        return b"".join(head) + dynamic(self.body)

    @property
    def digest(self) -> bytes:
        """The message hash."""
        return keccak256(self.encode())

    def claim_call(self, fee_recipient: str) -> bytes:
        """`L2MessageService.claimMessage`."""
        head = (
            address_word(self.sender),
            address_word(self.recipient),
            word(self.fee),
            word(self.value),
            address_word(fee_recipient),
            word(7 * WORD),
            word(self.number),
        )
        return CLAIM + b"".join(head) + dynamic(self.body)

    def claim_with_proof_call(
        self, siblings: Sequence[bytes], leaf: int, *, root: bytes, fee_recipient: str
    ) -> bytes:
        """`LineaRollup.claimMessageWithProof`; `leaf` counts from 0 in the tree of `root`."""
        proof = join(siblings)
        head = (
            word(10 * WORD),
            word(self.number),
            word(leaf),
            address_word(self.sender),
            address_word(self.recipient),
            word(self.fee),
            word(self.value),
            address_word(fee_recipient),
            root,
            word(10 * WORD + len(proof)),
        )
        return CLAIM_WITH_PROOF + word(WORD) + b"".join(head) + proof + dynamic(self.body)


def decode_message(payload: bytes) -> LineaMessage:
    """Read what `encode` wrote; `BadChainData` for anything else."""
    if len(payload) < HEAD_BYTES + WORD:
        raise BadChainData(f"a message of {len(payload)} bytes is shorter than its head")
    words = [payload[start : start + WORD] for start in range(0, HEAD_BYTES, WORD)]
    message = _message(words[0], words[1], words[2:5], payload[HEAD_BYTES:])
    if message.encode() != payload:
        raise BadChainData("a message is not the encoding of its fields")
    return message


def read_sent(log: Log) -> LineaMessage:
    """The message of a `MessageSent` log, whose hash must be the one that the log names."""
    what = f"MessageSent in {log.at.tx}"
    if len(log.topics) != 4 or len(log.data) < 5 * WORD or log.data[3 * WORD : 4 * WORD] != _TAIL:
        raise BadChainData(f"{what} has a wrong shape")
    numbers = [log.data[start : start + WORD] for start in range(0, 3 * WORD, WORD)]
    message = _message(log.topics[1], log.topics[2], numbers, log.data[4 * WORD :])
    if message.digest != log.topics[3]:
        raise BadChainData(f"{what} does not hash to the message hash it names")
    return message


_TAIL = word(4 * WORD)
"""Where the call data of a `MessageSent` begin."""


def _message(
    sender: bytes, recipient: bytes, numbers: Sequence[bytes], tail: bytes
) -> LineaMessage:
    fee, value, number = (int.from_bytes(one, "big") for one in numbers)
    if not 1 <= number <= MOST_MESSAGES:
        raise BadChainData(f"there is no message number {number}")
    size = int.from_bytes(tail[:WORD], "big")
    if len(tail) != WORD + size + -size % WORD:
        raise BadChainData(f"call data of {size} bytes do not fill what they are given")
    return LineaMessage(
        sender=_address(sender),
        recipient=_address(recipient),
        fee=Wei(fee),
        value=Wei(value),
        number=number,
        body=tail[WORD : WORD + size],
    )


def _address(raw: bytes) -> Address:
    if any(raw[:12]):
        raise BadChainData("a message names an account that is no address")
    return Address("0x" + raw[12:].hex())
