"""What the logs of ArbSys on the child and of the outbox on the parent say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.message import (
    Address,
    BridgeName,
    ChainId,
    DeliverySeen,
    Fact,
    Gate,
    LeafAdded,
    Message,
    MessageSeen,
    RootSeen,
    Route,
    TreeId,
)
from relayer.protocols.arbitrum import contracts
from relayer.protocols.arbitrum.message import (
    MAX_POSITION,
    Send,
    item_of,
    leaf_of,
    message_id,
)

CHILD_TOPICS = (contracts.L2_TO_L1_TX,)
PARENT_TOPICS = (contracts.SEND_ROOT_UPDATED, contracts.EXECUTED)
LOG_BITS = 20
MAX_BLOCK = 2**33
"""With `LOG_BITS` below it a level stays within 2^53, which Redis scores hold exactly."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of one bridge, as their logs are read."""

    bridge: BridgeName
    child: ChainId
    parent: ChainId
    outbox: Address
    tree: TreeId

    @property
    def route(self) -> Route:
        return Route(self.bridge, self.child, self.parent)

    @property
    def accepted(self) -> Gate:
        """Opens as far as the newest root that the parent accepted reaches (its tree size)."""
        return Gate(self.bridge, "accepted")

    @property
    def provable(self) -> Gate:
        """The same, but only as far as our own tree has that root."""
        return Gate(self.bridge, "provable")


def decode_logs(ends: Ends, logs: Sequence[Log]) -> list[Fact]:
    """Turn logs of one chain, in order, into facts; `BadChainData` for a misshapen one of ours."""
    facts: list[Fact] = []
    for log in logs:
        topic = log.topics[0] if log.topics else b""
        if log.at.chain == ends.child and log.address == contracts.ARB_SYS:
            if topic == contracts.L2_TO_L1_TX:
                facts += _send(ends, log)
        elif log.at.chain == ends.parent and log.address == ends.outbox:
            if topic == contracts.SEND_ROOT_UPDATED:
                facts += _root(ends, log)
            elif topic == contracts.EXECUTED:
                facts.append(_delivery(ends, log))
    return facts


def _send(ends: Ends, log: Log) -> list[Fact]:
    """The leaf first, so that a message never waits for its own."""
    if len(log.topics) != 4:
        raise _misshapen("L2ToL1Tx", log)
    send, position = _read_send(log), _position(log.topics[3], log)
    packed = send.encode()
    item = item_of(packed)
    if item != log.topics[2]:
        raise BadChainData(f"L2ToL1Tx in {log.at.tx} does not hash to the item it names")
    message = Message(
        id=message_id(ends.parent, ends.outbox, ends.child, position),
        route=ends.route,
        sender="0x" + send.sender.hex(),
        recipient="0x" + send.recipient.hex(),
        nonce=position,
        body=send.payload,
        payload=packed,
        at=log.at,
        tree=ends.tree,
        leaf_index=position,
        extra={
            "item": "0x" + item.hex(),
            "l2_block": str(send.l2_block),
            "l1_block": str(send.l1_block),
            "l2_timestamp": str(send.timestamp),
            "value": str(send.value),
        },
    )
    return [LeafAdded(ends.tree, position, leaf_of(item), log.at), MessageSeen(message)]


def _read_send(log: Log) -> Send:
    """Data are (caller, arbBlockNum, ethBlockNum, timestamp, callvalue, offset, data)."""
    numbers = [int.from_bytes(log.data[at : at + 32], "big") for at in range(32, 224, 32)]
    size = numbers[5]
    if len(log.data) < 224 or numbers[4] != 192 or size > len(log.data) - 224:
        raise _misshapen("L2ToL1Tx", log)
    if any(log.data[:12]) or any(log.topics[1][:12]):
        raise _misshapen("L2ToL1Tx", log)
    return Send(
        sender=log.data[12:32],
        recipient=log.topics[1][12:],
        l2_block=numbers[0],
        l1_block=numbers[1],
        timestamp=numbers[2],
        value=numbers[3],
        payload=log.data[224 : 224 + size],
    )


def _root(ends: Ends, log: Log) -> list[Fact]:
    """A root of an empty tree (a rollup that starts) is no root: nothing can be proved against it.

    The tree's size is not in the event; it is asked of the child when it is needed.
    """
    if len(log.topics) != 3 or log.data:
        raise _misshapen("SendRootUpdated", log)
    if not 0 <= log.at.log_index < 1 << LOG_BITS or not 0 <= log.at.block < MAX_BLOCK:
        raise _misshapen("SendRootUpdated", log)
    root, child_block = log.topics[1], log.topics[2]
    if not any(root) or not any(child_block):
        return []
    level = log.at.block << LOG_BITS | log.at.log_index
    extra = {"child_block": "0x" + child_block.hex()}
    return [RootSeen(ends.accepted, level, root, log.at, extra)]


def _delivery(ends: Ends, log: Log) -> DeliverySeen:
    if len(log.topics) != 4 or len(log.data) != 32 or any(log.topics[3]):
        raise _misshapen("OutBoxTransactionExecuted", log)
    position = _position(log.data, log)
    return DeliverySeen(message_id(ends.parent, ends.outbox, ends.child, position), log.at)


def _position(raw: bytes, log: Log) -> int:
    position = int.from_bytes(raw, "big")
    if position >= MAX_POSITION:
        raise BadChainData(f"a log in {log.at.tx} names leaf {position}: no chain has that many")
    return position


def _misshapen(name: str, log: Log) -> BadChainData:
    return BadChainData(f"{name} in {log.at.tx} has a wrong shape")
