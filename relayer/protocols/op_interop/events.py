"""What the logs of one chain's messenger say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.message import (
    ChainId,
    DeliverySeen,
    Fact,
    LeafAdded,
    Message,
    MessageId,
    MessageSeen,
    Route,
    TreeId,
)
from relayer.protocols.op_interop.contracts import (
    MESSENGER,
    NONCE_BITS,
    RELAYED_MESSAGE,
    SENT_MESSAGE,
    InteropMessage,
    read_sent,
)

TOPICS = (SENT_MESSAGE, RELAYED_MESSAGE)
MAX_INDEX = 2**53
"""Above every count of messages to come; the store counts exactly up to here."""


@dataclass(frozen=True, slots=True)
class Member:
    """One chain of the set as its logs are read."""

    chain: ChainId
    to: Mapping[int, Route]
    """Routes that leave it, by destination chain id."""
    sources: frozenset[int]
    """Chain ids whose messages it takes."""
    tree: TreeId | None
    """Counts the messages sent, None when they are not counted."""
    first_nonce: int = 0


def decode_logs(member: Member, logs: Sequence[Log]) -> list[Fact]:
    """Messages sent and messages delivered; those of strangers' routes are only counted."""
    facts: list[Fact] = []
    for log in logs:
        if log.address != MESSENGER or not log.topics:
            continue
        if log.topics[0] == SENT_MESSAGE:
            facts += _sent(member, log)
        elif log.topics[0] == RELAYED_MESSAGE:
            facts += _relayed(member, log)
    return facts


def _sent(member: Member, log: Log) -> list[Fact]:
    sent = read_sent(member.chain, log.topics, log.data)
    encoded = sent.encode()
    message_id = MessageId("0x" + sent.hash.hex())
    facts: list[Fact] = []
    index = sent.nonce % 2**NONCE_BITS - member.first_nonce
    if member.tree is not None and index >= 0:
        if index >= MAX_INDEX:
            raise BadChainData(f"SentMessage in {log.at.tx} has an impossible nonce")
        facts.append(LeafAdded(member.tree, index, sent.hash, log.at))
    route = member.to.get(sent.destination)
    if route is not None:
        facts.append(MessageSeen(_message(message_id, route, sent, encoded, log)))
    return facts


def _message(
    message_id: MessageId, route: Route, sent: InteropMessage, encoded: bytes, log: Log
) -> Message:
    return Message(
        id=message_id,
        route=route,
        sender=sent.sender,
        recipient=sent.target,
        nonce=sent.nonce,
        body=sent.body,
        payload=encoded,
        at=log.at,
    )


def _relayed(member: Member, log: Log) -> list[Fact]:
    if len(log.topics) != 4 or len(log.data) != 32:
        raise BadChainData(f"RelayedMessage in {log.at.tx} has a wrong shape")
    if int.from_bytes(log.topics[1], "big") not in member.sources:
        return []
    return [DeliverySeen(MessageId("0x" + log.topics[3].hex()), log.at)]
