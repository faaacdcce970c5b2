"""What the logs of mailboxes, tree hooks and gas paymasters say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relayer.abi import word
from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.message import (
    Address,
    BridgeName,
    ChainId,
    DeliverySeen,
    Fact,
    Gas,
    LeafAdded,
    LogRef,
    Message,
    MessageId,
    MessageSeen,
    PaymentSeen,
    Route,
    TreeId,
    Wei,
)
from relayer.protocols.hyperlane import contracts
from relayer.protocols.hyperlane.message import VERSION, HyperlaneMessage, decode_message

TOPICS = (
    contracts.DISPATCH,
    contracts.INSERTED_INTO_TREE,
    contracts.GAS_PAYMENT,
    contracts.PROCESS,
    contracts.PROCESS_ID,
)


@dataclass(frozen=True, slots=True)
class Outpost:
    """One chain as its logs are read: contracts, and where configured routes lead from and to."""

    bridge: BridgeName
    chain: ChainId
    domain: int
    mailbox: Address
    hook: Address
    paymasters: frozenset[Address]
    tree: TreeId
    destinations: Mapping[int, ChainId]
    """Destination domain -> chain of every route from here."""
    origins: Mapping[int, ChainId]
    """Origin domain -> chain of every route to here."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A dispatch we do not carry although its destination is configured, and why."""

    message_id: MessageId
    why: str
    at: LogRef


def decode_logs(outpost: Outpost, logs: Sequence[Log]) -> tuple[list[Fact], list[Skipped]]:
    """Turn logs of whole transactions of one chain, in order, into facts.

    A chain that no route leaves from has no leaves: nobody keeps its tree.
    Raises `BadChainData` for a log of our contracts in a wrong shape.
    """
    insertions = [log for log in logs if _is(log, outpost.hook, _INSERTED)]
    leaves = [_leaf(outpost, log) for log in insertions] if outpost.destinations else []
    index_of: dict[bytes, int] = {}
    for leaf in leaves:  # the same message may be inserted again: its first leaf will do
        index_of.setdefault(leaf.leaf, leaf.index)
    facts: list[Fact] = list(leaves)
    skipped: list[Skipped] = []
    before: Log | None = None
    for log in logs:
        if _is(log, outpost.mailbox, contracts.DISPATCH):
            found = _dispatch(outpost, log, index_of)
            if isinstance(found, Skipped):
                skipped.append(found)
            elif found is not None:
                facts.append(found)
        elif log.address in outpost.paymasters and log.topics[0] == contracts.GAS_PAYMENT:
            facts.extend(_payment(outpost, log))
        elif _is(log, outpost.mailbox, contracts.PROCESS_ID):
            facts.extend(_delivery(outpost, log, before))
        before = log
    return facts, skipped


_INSERTED = contracts.INSERTED_INTO_TREE


def _is(log: Log, address: Address, topic: bytes) -> bool:
    return log.address == address and bool(log.topics) and log.topics[0] == topic


def _leaf(outpost: Outpost, log: Log) -> LeafAdded:
    if len(log.topics) != 1 or len(log.data) != 64 or any(log.data[32:60]):
        raise BadChainData(f"InsertedIntoTree in {log.at.tx} has a wrong shape")
    index = int.from_bytes(log.data[60:], "big")
    return LeafAdded(outpost.tree, index, log.data[:32], log.at)


def _dispatch(
    outpost: Outpost, log: Log, index_of: Mapping[bytes, int]
) -> MessageSeen | Skipped | None:
    message = _dispatched(log)
    destination = outpost.destinations.get(message.destination)
    if destination is None:
        return None
    leaf = message.id
    message_id = MessageId("0x" + leaf.hex())
    if message.version != VERSION:
        why = f"message version {message.version} is not {VERSION}"
        return Skipped(message_id, why, log.at)
    if message.origin != outpost.domain:
        why = f"origin domain {message.origin} is not the configured {outpost.domain}"
        return Skipped(message_id, why, log.at)
    index = index_of.get(leaf)
    return MessageSeen(
        Message(
            id=message_id,
            route=Route(outpost.bridge, outpost.chain, destination),
            sender="0x" + message.sender.hex(),
            recipient="0x" + message.recipient.hex(),
            nonce=message.nonce,
            body=message.body,
            payload=message.encode(),
            at=log.at,
            tree=None if index is None else outpost.tree,
            leaf_index=index,
        )
    )


def _dispatched(log: Log) -> HyperlaneMessage:
    """The message of a Dispatch; its indexed copies must say the same."""
    message = decode_message(_bytes_argument(log))
    said = (message.sender, word(message.destination), message.recipient)
    if log.topics[1:] != said:
        raise BadChainData(f"Dispatch in {log.at.tx} contradicts its message")
    return message


def _bytes_argument(log: Log) -> bytes:
    size = int.from_bytes(log.data[32:64], "big")
    if len(log.data) < 64 or int.from_bytes(log.data[:32], "big") != 32:
        raise BadChainData(f"Dispatch in {log.at.tx} has a wrong shape")
    if size > len(log.data) - 64:
        raise BadChainData(f"Dispatch in {log.at.tx} is cut short")
    return log.data[64 : 64 + size]


def _payment(outpost: Outpost, log: Log) -> list[PaymentSeen]:
    if len(log.topics) != 3 or len(log.data) != 64:
        raise BadChainData(f"GasPayment in {log.at.tx} has a wrong shape")
    destination = outpost.destinations.get(int.from_bytes(log.topics[2], "big"))
    if destination is None:
        return []
    gas = Gas(int.from_bytes(log.data[:32], "big"))
    amount = Wei(int.from_bytes(log.data[32:], "big"))
    message_id = MessageId("0x" + log.topics[1].hex())
    return [PaymentSeen(message_id, destination, gas, amount, log.at)]


def _delivery(outpost: Outpost, log: Log, before: Log | None) -> list[DeliverySeen]:
    """A delivery, when the Process just before it names an origin we carry from.

    The mailbox emits Process and ProcessId one after the other, whatever the recipient does.
    """
    if len(log.topics) != 2:
        raise BadChainData(f"ProcessId in {log.at.tx} has a wrong shape")
    if before is None or not _is(before, outpost.mailbox, contracts.PROCESS):
        raise BadChainData(f"ProcessId in {log.at.tx} follows no Process")
    if before.at.tx != log.at.tx or len(before.topics) != 4:
        raise BadChainData(f"ProcessId in {log.at.tx} follows no Process")
    if int.from_bytes(before.topics[1], "big") not in outpost.origins:
        return []
    return [DeliverySeen(MessageId("0x" + log.topics[1].hex()), log.at)]
