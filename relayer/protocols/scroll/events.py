"""What the logs of messengers, message queue and rollup contract say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.abi import address_of
from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import (
    Address,
    ChainId,
    DeliverySeen,
    Fact,
    Gate,
    LeafAdded,
    Message,
    MessageId,
    MessageSeen,
    ProgressSeen,
    RootSeen,
    Route,
    TreeId,
)
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.contracts import Withdrawal

ORIGIN_TOPICS = (contracts.SENT_MESSAGE, contracts.APPEND_MESSAGE)
DESTINATION_TOPICS = (
    contracts.FINALIZE_BATCH,
    contracts.RELAYED_MESSAGE,
    contracts.FAILED_RELAYED_MESSAGE,
)
MAX_INDEX = 2**40
"""The queue's tree has at most 40 levels."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """The layer-2 side as its logs are read."""

    route: Route
    messenger: Address
    queue: Address
    tree: TreeId


@dataclass(frozen=True, slots=True)
class Inbox:
    """The layer-1 side as its logs are read."""

    chain: ChainId
    messenger: Address
    scroll_chain: Address
    batches: Gate


def decode_origin(outbox: Outbox, logs: Sequence[Log]) -> list[Fact]:
    """Leaves and messages of whole transactions of the rollup, in order.

    The messenger appends a message to the queue and announces it in the same transaction. Both must
    tell the same hash under the same number, else `BadChainData`: nothing is half believed.
    """
    leaves: dict[int, LeafAdded] = {}
    facts: list[Fact] = []
    for log in logs:
        if _is(log, outbox.queue, contracts.APPEND_MESSAGE):
            leaf = _leaf(outbox, log)
            if leaf.index in leaves:
                raise BadChainData(f"two leaves claim the index {leaf.index}")
            leaves[leaf.index] = leaf
            facts.append(leaf)
    for log in logs:
        if _is(log, outbox.messenger, contracts.SENT_MESSAGE):
            sent = _sent(log)
            facts.append(_message(outbox, log, sent, leaves.get(sent.nonce)))
    return facts


def decode_destination(inbox: Inbox, logs: Sequence[Log]) -> list[Fact]:
    """Accepted roots, deliveries, and tries at which the target failed, in order."""
    facts: list[Fact] = []
    for log in logs:
        if _is(log, inbox.scroll_chain, contracts.FINALIZE_BATCH):
            facts.extend(_root(inbox, log))
        elif _is(log, inbox.messenger, contracts.RELAYED_MESSAGE):
            facts.append(DeliverySeen(_relayed(log), log.at))
        elif _is(log, inbox.messenger, contracts.FAILED_RELAYED_MESSAGE):
            what = f"the target failed in {log.at.tx}"
            facts.append(ProgressSeen(_relayed(log), inbox.chain, what, log.at))
    return facts


def _is(log: Log, address: Address, topic: bytes) -> bool:
    return log.address == address and bool(log.topics) and log.topics[0] == topic


def _leaf(outbox: Outbox, log: Log) -> LeafAdded:
    if len(log.topics) != 1 or len(log.data) != 64:
        raise BadChainData(f"AppendMessage in {log.at.tx} has a wrong shape")
    index, leaf = int.from_bytes(log.data[:32], "big"), log.data[32:]
    if index >= MAX_INDEX or not any(leaf):
        raise BadChainData(f"AppendMessage in {log.at.tx} has an impossible index or a zero leaf")
    return LeafAdded(outbox.tree, index, leaf, log.at)


def _sent(log: Log) -> Withdrawal:
    """The message of a SentMessage; its gas limit means nothing on this way."""
    data = log.data
    if len(log.topics) != 3 or len(data) < 160 or int.from_bytes(data[96:128], "big") != 128:
        raise BadChainData(f"SentMessage in {log.at.tx} has a wrong shape")
    size = int.from_bytes(data[128:160], "big")
    if len(data) - 160 != size + -size % 32:
        raise BadChainData(f"SentMessage in {log.at.tx} is cut short or too long")
    return Withdrawal(
        sender=address_of(log.topics[1]),
        target=address_of(log.topics[2]),
        value=int.from_bytes(data[:32], "big"),
        nonce=int.from_bytes(data[32:64], "big"),
        body=data[160 : 160 + size],
    )


def _message(outbox: Outbox, log: Log, sent: Withdrawal, leaf: LeafAdded | None) -> MessageSeen:
    if leaf is None or leaf.at.tx != log.at.tx:
        raise BadChainData(f"SentMessage {sent.nonce} in {log.at.tx} has no leaf beside it")
    payload = sent.encode()
    if keccak256(payload) != leaf.leaf:
        raise BadChainData(f"SentMessage {sent.nonce} in {log.at.tx} is not what its leaf says")
    return MessageSeen(
        Message(
            id=MessageId("0x" + leaf.leaf.hex()),
            route=outbox.route,
            sender=sent.sender,
            recipient=sent.target,
            nonce=sent.nonce,
            body=sent.body,
            payload=payload,
            at=log.at,
            tree=outbox.tree,
            leaf_index=sent.nonce,
            extra={"value": str(sent.value)},
        )
    )


def _root(inbox: Inbox, log: Log) -> list[RootSeen]:
    """The root that a bundle stored under its last batch; before any message it is zero."""
    if len(log.topics) != 3 or len(log.data) != 64:
        raise BadChainData(f"FinalizeBatch in {log.at.tx} has a wrong shape")
    batch, root = int.from_bytes(log.topics[1], "big"), log.data[32:]
    if batch >= contracts.MAX_BATCH:
        raise BadChainData(f"FinalizeBatch in {log.at.tx} has an impossible batch index")
    return [RootSeen(inbox.batches, batch, root, log.at)] if any(root) else []


def _relayed(log: Log) -> MessageId:
    if len(log.topics) != 2 or log.data:
        raise BadChainData(f"a delivery's log in {log.at.tx} has a wrong shape")
    return MessageId("0x" + log.topics[1].hex())
