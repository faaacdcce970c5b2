"""What the logs of both sides say. Pure.

The portal knows a withdrawal by its hash, the layer-1 messenger a cross-domain message by another
one: `Message.inbox_id`. A finalised cross-domain message has only reached the messenger; whether
the target took it, the messenger says itself, just before the portal speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.abi import address_of
from relayer.adapter import Log
from relayer.errors import BadChainData
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
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import Withdrawal, read_relay

ORIGIN_TOPICS = (contracts.MESSAGE_PASSED,)
DESTINATION_TOPICS = (
    contracts.WITHDRAWAL_PROVEN,
    contracts.WITHDRAWAL_FINALIZED,
    contracts.RELAYED_MESSAGE,
    contracts.FAILED_RELAYED_MESSAGE,
    contracts.OUTPUT_PROPOSED,
    contracts.GAME_CREATED,
)
MAX_INDEX = 2**53
"""Above every count to come; the store counts exactly up to here."""
LOGS_OF_A_BLOCK = 2**16
"""Games are numbered by their place on the chain; a block has no more logs."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """The rollup as its logs are read."""

    route: Route
    passer: Address
    messengers: tuple[Address, Address]
    """Of the rollup and of layer 1."""
    tree: TreeId | None
    """Counts the withdrawals sent, None when they are not counted."""
    first_nonce: int = 0


@dataclass(frozen=True, slots=True)
class Inbox:
    """Layer 1 as its logs are read."""

    chain: ChainId
    portal: Address
    messenger: Address
    oracle: Address | None
    factory: Address | None
    outputs: Gate
    games: Gate


def decode_origin(outbox: Outbox, logs: Sequence[Log]) -> list[Fact]:
    """Withdrawals sent, in order; several may be in one transaction."""
    facts: list[Fact] = []
    for log in logs:
        if _is(log, outbox.passer, contracts.MESSAGE_PASSED):
            facts += _sent(outbox, log)
    return facts


def decode_destination(inbox: Inbox, logs: Sequence[Log]) -> list[Fact]:
    """Steps, deliveries and new roots of whole transactions, in order."""
    facts: list[Fact] = []
    called: tuple[str, bool] | None = None
    """(transaction, success) of the messenger's word since the portal last spoke."""
    for log in logs:
        if _is(log, inbox.messenger, contracts.RELAYED_MESSAGE):
            facts.append(DeliverySeen(_hash_of(log, topics=2, size=0), log.at))
            called = (log.at.tx, True)
        elif _is(log, inbox.messenger, contracts.FAILED_RELAYED_MESSAGE):
            failed = _hash_of(log, topics=2, size=0)
            what = "the messenger called the target, which failed"
            facts.append(ProgressSeen(failed, inbox.chain, what, log.at))
            called = (log.at.tx, False)
        elif _is(log, inbox.portal, contracts.WITHDRAWAL_PROVEN):
            proved = _hash_of(log, topics=4, size=0)
            facts.append(ProgressSeen(proved, inbox.chain, "proved", log.at))
        elif _is(log, inbox.portal, contracts.WITHDRAWAL_FINALIZED):
            was_called = called is not None and called[0] == log.at.tx
            is_failed_call = was_called and called is not None and not called[1]
            facts.append(_finalized(inbox, log, is_failed_call=is_failed_call))
            called = None
        elif _is(log, inbox.oracle, contracts.OUTPUT_PROPOSED):
            facts += _output(inbox, log)
        elif _is(log, inbox.factory, contracts.GAME_CREATED):
            facts += _game(inbox, log)
    return facts


def read_passed(log: Log) -> Withdrawal:
    """The withdrawal of a MessagePassed whose hash is what its fields hash to."""
    data = log.data
    if len(log.topics) != 4 or len(data) < 160 or int.from_bytes(data[64:96], "big") != 128:
        raise BadChainData(f"MessagePassed in {log.at.tx} has a wrong shape")
    size = int.from_bytes(data[128:160], "big")
    if len(data) - 160 != size + -size % 32:
        raise BadChainData(f"MessagePassed in {log.at.tx} is cut short or too long")
    withdrawal = Withdrawal(
        nonce=int.from_bytes(log.topics[1], "big"),
        sender=address_of(log.topics[2]),
        target=address_of(log.topics[3]),
        value=int.from_bytes(data[:32], "big"),
        gas_limit=int.from_bytes(data[32:64], "big"),
        data=data[160 : 160 + size],
    )
    if withdrawal.hash != data[96:128]:
        raise BadChainData(f"MessagePassed in {log.at.tx} tells another hash than its fields have")
    return withdrawal


def read_finalized(log: Log) -> tuple[MessageId, bool]:
    """The withdrawal that the portal has finalised, and whether its call succeeded."""
    message_id = _hash_of(log, topics=2, size=32)
    return message_id, contracts.number_of(log.data, "success", below=2) == 1


def _is(log: Log, address: Address | None, topic: bytes) -> bool:
    return log.address == address and bool(log.topics) and log.topics[0] == topic


def _sent(outbox: Outbox, log: Log) -> list[Fact]:
    withdrawal = read_passed(log)
    facts: list[Fact] = []
    index = withdrawal.number - outbox.first_nonce
    if outbox.tree is not None and index >= 0:
        if index >= MAX_INDEX:
            raise BadChainData(f"MessagePassed in {log.at.tx} has an impossible nonce")
        facts.append(LeafAdded(outbox.tree, index, withdrawal.hash, log.at))
    relay = read_relay(withdrawal, outbox.messengers)
    user = withdrawal if relay is None else relay
    facts.append(
        MessageSeen(
            Message(
                id=MessageId("0x" + withdrawal.hash.hex()),
                route=outbox.route,
                sender=user.sender,
                recipient=user.target,
                nonce=withdrawal.number,
                body=withdrawal.data if relay is None else relay.body,
                payload=withdrawal.encode(),
                at=log.at,
                extra={"value": str(withdrawal.value)},
                inbox_id=None if relay is None else MessageId("0x" + relay.hash.hex()),
            )
        )
    )
    return facts


def _finalized(inbox: Inbox, log: Log, *, is_failed_call: bool) -> Fact:
    """A delivery, unless the call failed: the portal's own, or the messenger's within it."""
    message_id, success = read_finalized(log)
    if success and not is_failed_call:
        return DeliverySeen(message_id, log.at)
    what = "finalised at the portal, success=" + ("true" if success else "false")
    return ProgressSeen(message_id, inbox.chain, what, log.at)


def _output(inbox: Inbox, log: Log) -> list[RootSeen]:
    if len(log.topics) != 4 or len(log.data) != 32:
        raise BadChainData(f"OutputProposed in {log.at.tx} has a wrong shape")
    index = contracts.number_of(log.topics[2], "an output's index", below=MAX_INDEX)
    root = log.topics[1]
    return [RootSeen(inbox.outputs, index, root, log.at)] if any(root) else []


def _game(inbox: Inbox, log: Log) -> list[RootSeen]:
    if len(log.topics) != 4 or log.data:
        raise BadChainData(f"DisputeGameCreated in {log.at.tx} has a wrong shape")
    extra = {"game": address_of(log.topics[1])}
    place = min(log.at.log_index, LOGS_OF_A_BLOCK - 1)
    level = min(log.at.block * LOGS_OF_A_BLOCK + place, MAX_INDEX - 1)
    root = log.topics[3]
    return [RootSeen(inbox.games, level, root, log.at, extra)] if any(root) else []


def _hash_of(log: Log, *, topics: int, size: int) -> MessageId:
    if len(log.topics) != topics or len(log.data) != size:
        raise BadChainData(f"a log of {log.address} in {log.at.tx} has a wrong shape")
    return MessageId("0x" + log.topics[1].hex())
