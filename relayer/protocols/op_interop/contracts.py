"""Events, selectors and byte layouts of the interop predeploys, coded by hand.

Source: `src/L2/{L2ToL2CrossDomainMessenger,CrossL2Inbox}.sol` and `src/libraries/Hashing.sol` of
contracts-bedrock in ethereum-optimism/optimism; messenger 1.3.0 and 2.0.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.abi import address_of, address_word, dynamic, selector, word
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

MESSENGER = Address("0x4200000000000000000000000000000000000023")
"""L2ToL2CrossDomainMessenger"""
INBOX = Address("0x4200000000000000000000000000000000000022")
"""CrossL2Inbox"""
UNSAFE_TARGETS = frozenset(
    {
        Address("0x4200000000000000000000000000000000000007"),
        Address("0x4200000000000000000000000000000000000016"),
    }
)
"""L2CrossDomainMessenger and L2ToL1MessagePasser: messenger 2.0.0 relays nothing to them."""

SENT_MESSAGE = keccak256(b"SentMessage(uint256,address,uint256,address,bytes)")
RELAYED_MESSAGE = keccak256(b"RelayedMessage(uint256,uint256,bytes32,bytes32)")

RELAY_MESSAGE = selector("relayMessage((address,uint256,uint256,uint256,uint256),bytes)")
SUCCESSFUL_MESSAGES = selector("successfulMessages(bytes32)")
MESSAGE_NONCE = selector("messageNonce()")
VERSION = selector("version()")

NOT_IN_ACCESS_LIST = selector("NotInAccessList()")
MESSAGE_ALREADY_RELAYED = selector("MessageAlreadyRelayed()")
DESTINATION_NOT_RELAY_CHAIN = selector("MessageDestinationNotRelayChain()")
REENTRANT_CALL = selector("ReentrantCall()")
TARGET_UNSAFE = frozenset(
    {
        selector("MessageTargetUnsafe()"),
        selector("L2ToL2CrossDomainMessenger_MessageTargetUnsafe()"),
    }
)
MALFORMED = {
    selector(f"{name}()"): name
    for name in (
        "IdOriginNotL2ToL2CrossDomainMessenger",
        "EventPayloadNotSentMessage",
        "BlockNumberTooHigh",
        "LogIndexTooHigh",
        "TimestampTooHigh",
    )
}
"""What the contracts say of an identifier or payload that we made wrongly."""

KNOWN_MAJORS = (1, 2)
"""Of the messenger's `version()`."""
NONCE_BITS = 240
"""Of a message nonce; the two bytes above them are a format version, 0 today."""
_HEAD_BYTES = 6 * 32


@dataclass(frozen=True, slots=True)
class InteropMessage:
    """One message from one layer 2 to another."""

    destination: int
    source: int
    nonce: int
    sender: Address
    target: Address
    body: bytes
    """Call data for the target."""

    def encode(self) -> bytes:
        """What is hashed: `abi.encode(destination, source, nonce, sender, target, message)`."""
        where = word(self.destination) + word(self.source) + word(self.nonce)
        who = address_word(self.sender) + address_word(self.target)
        return where + who + word(_HEAD_BYTES) + dynamic(self.body)

    @property
    def hash(self) -> bytes:
        """The message hash, the same under every identifier."""
        return keccak256(self.encode())

    def log_payload(self) -> bytes:
        """Topics and data of its SentMessage, one after the other."""
        topics = SENT_MESSAGE + word(self.destination) + address_word(self.target)
        return topics + word(self.nonce) + self.log_data()

    def log_data(self) -> bytes:
        """The data of its SentMessage."""
        return address_word(self.sender) + word(64) + dynamic(self.body)

    def relay_call(self, identifier: bytes) -> bytes:
        """`relayMessage` with the five words of an identifier."""
        return RELAY_MESSAGE + identifier + word(6 * 32) + dynamic(self.log_payload())


def decode_message(encoded: bytes) -> InteropMessage:
    """Read what `InteropMessage.encode` writes; `BadChainData` for anything else."""
    if len(encoded) < _HEAD_BYTES + 32:
        raise BadChainData(f"{len(encoded)} bytes are no message")
    words = [encoded[at : at + 32] for at in range(0, _HEAD_BYTES + 32, 32)]
    size = min(int.from_bytes(words[6], "big"), len(encoded))
    message = InteropMessage(
        destination=int.from_bytes(words[0], "big"),
        source=int.from_bytes(words[1], "big"),
        nonce=int.from_bytes(words[2], "big"),
        sender=address_of(words[3]),
        target=address_of(words[4]),
        body=encoded[_HEAD_BYTES + 32 :][:size],
    )
    if message.encode() != encoded:
        raise BadChainData("the stored message is not in its one canonical form")
    return message


def read_sent(source: int, topics: Sequence[bytes], data: bytes) -> InteropMessage:
    """The message that a SentMessage of chain `source` tells of; `BadChainData` if misshapen."""
    if len(topics) != 4 or topics[0] != SENT_MESSAGE or len(data) < 96:
        raise BadChainData("a SentMessage has a wrong shape")
    size = min(int.from_bytes(data[64:96], "big"), len(data))
    message = InteropMessage(
        destination=int.from_bytes(topics[1], "big"),
        source=source,
        nonce=int.from_bytes(topics[3], "big"),
        sender=address_of(data[:32]),
        target=address_of(topics[2]),
        body=data[96 : 96 + size],
    )
    if message.log_data() != data:
        raise BadChainData("a SentMessage is cut short, too long or padded oddly")
    return message
