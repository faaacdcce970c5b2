"""What the logs of Linea's two contracts say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.message import (
    Address,
    ChainId,
    DeliverySeen,
    Fact,
    Gas,
    Gate,
    LeafAdded,
    LogRef,
    Message,
    MessageId,
    MessageSeen,
    PaymentSeen,
    ProgressSeen,
    RootSeen,
    Route,
    TreeId,
)
from relayer.protocols.linea.contracts import (
    BLOCK_ANCHORED,
    HASHES_ADDED,
    MESSAGE_CLAIMED,
    MESSAGE_SENT,
    ROOT_ADDED,
    read_words,
)
from relayer.protocols.linea.message import read_sent

L1_TOPICS = (MESSAGE_SENT, MESSAGE_CLAIMED, ROOT_ADDED, BLOCK_ANCHORED)
L2_TOPICS = (MESSAGE_SENT, MESSAGE_CLAIMED, HASHES_ADDED)
MOST_BLOCK = 2**63 - 1
MOST_DEPTH = 32
"""A leaf index is a uint32."""


@dataclass(frozen=True, slots=True)
class Side:
    """One chain as its logs are read."""

    chain: ChainId
    contract: Address
    route: Route
    """Where its messages go."""
    tree: TreeId
    gate: Gate
    """What messages to this side wait on."""
    start_block: int = 0


@dataclass(frozen=True, slots=True)
class Finalisation:
    """What one transaction confirmed on L1: blocks of L2 with messages, and roots over those."""

    at: LogRef
    blocks: tuple[int, ...]
    roots: tuple[bytes, ...]
    depth: int


@dataclass(slots=True)
class _Parts:
    """A finalisation while its logs are read."""

    blocks: list[int] = field(default_factory=list)
    roots: list[bytes] = field(default_factory=list)
    depths: set[int] = field(default_factory=set)


def decode_logs(side: Side, logs: Sequence[Log]) -> tuple[list[Fact], list[LogRef]]:
    """Turn logs of whole transactions of one chain, in order, into facts.

    Says besides where blocks were confirmed without a root, which cannot be unless a log is
    missing. Raises `BadChainData` for a log of ours in a wrong shape.
    """
    facts: list[Fact] = []
    mine = [log for log in logs if log.address == side.contract and log.topics]
    for log in mine:
        kind = log.topics[0]
        if kind == MESSAGE_SENT:
            facts.extend(_sent(side, log))
        elif kind == MESSAGE_CLAIMED:
            facts.append(DeliverySeen(_id(_indexed(log, 1)[0]), log.at))
        elif kind == HASHES_ADDED:
            facts.extend(_anchored(side, log))
    rootless: list[LogRef] = []
    for found in read_finalisations(mine):
        if found.roots:
            facts.append(RootSeen(side.gate, max(found.blocks), found.roots[0], found.at))
        else:
            rootless.append(found.at)
    return facts, rootless


def read_finalisations(logs: Iterable[Log]) -> list[Finalisation]:
    """The finalisations among the rollup's logs, in order; `at` is the last log of each.

    Raises `BadChainData` for a log in a wrong shape, a zero root or trees of different depths.
    """
    parts: dict[str, _Parts] = {}
    last: dict[str, LogRef] = {}
    for log in logs:
        if log.topics[0] not in (ROOT_ADDED, BLOCK_ANCHORED):
            continue
        found = parts.setdefault(log.at.tx, _Parts())
        last[log.at.tx] = log.at
        if log.topics[0] == ROOT_ADDED:
            root, depth = _indexed(log, 2)
            if not any(root):
                raise BadChainData(f"a root in {log.at.tx} is zero")
            found.roots.append(root)
            found.depths.add(int.from_bytes(depth, "big"))
        else:
            found.blocks.append(int.from_bytes(_indexed(log, 1)[0], "big"))
    return [_finalisation(last[tx], found) for tx, found in parts.items() if found.blocks]


def _finalisation(at: LogRef, found: _Parts) -> Finalisation:
    if max(found.blocks) > MOST_BLOCK:
        raise BadChainData(f"{at.tx} confirms block {max(found.blocks)}, which cannot be")
    if len(found.depths) > 1 or len(set(found.roots)) != len(found.roots):
        raise BadChainData(f"{at.tx} adds trees of different depths, or one twice")
    depth = next(iter(found.depths), 0)
    if found.roots and not 1 <= depth <= MOST_DEPTH:
        raise BadChainData(f"{at.tx} adds trees of depth {depth}")
    return Finalisation(at, tuple(sorted(set(found.blocks))), tuple(found.roots), depth)


def _sent(side: Side, log: Log) -> Iterable[Fact]:
    sent = read_sent(log)
    digest = log.topics[3]
    index = sent.number - 1
    message = Message(
        id=_id(digest),
        route=side.route,
        sender=sent.sender,
        recipient=sent.recipient,
        nonce=sent.number,
        body=sent.body,
        payload=sent.encode(),
        at=log.at,
        tree=side.tree,
        leaf_index=index,
        extra={"fee": str(sent.fee), "value": str(sent.value)},
    )
    yield LeafAdded(side.tree, index, digest, log.at)
    yield MessageSeen(message)
    if sent.fee:
        yield PaymentSeen(message.id, side.route.destination, Gas(0), sent.fee, log.at)


def _anchored(side: Side, log: Log) -> Iterable[Fact]:
    if len(log.topics) != 1:
        raise BadChainData(f"L1L2MessageHashesAddedToInbox in {log.at.tx} has a wrong shape")
    for digest in read_words(log.data, f"L1L2MessageHashesAddedToInbox in {log.at.tx}"):
        yield ProgressSeen(_id(digest), side.chain, "anchored", log.at)


def _indexed(log: Log, count: int) -> tuple[bytes, ...]:
    """The arguments of an event that has indexed ones only."""
    if len(log.topics) != 1 + count or log.data:
        raise BadChainData(f"a log of {log.address} in {log.at.tx} has a wrong shape")
    return log.topics[1:]


def _id(digest: bytes) -> MessageId:
    return MessageId("0x" + digest.hex())
