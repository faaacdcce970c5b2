"""What is carried: messages, their states, the reasons for them, and the legal transitions.

Everything here is pure and is stored, logged and shown under these names. Names of statuses and
reasons are a contract: add, never rename.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import NewType

ChainId = NewType("ChainId", int)
BlockNumber = NewType("BlockNumber", int)
Gas = NewType("Gas", int)
Wei = NewType("Wei", int)
Timestamp = NewType("Timestamp", float)
"""Unix time in seconds."""
MessageId = NewType("MessageId", str)
"""0x + 64 lower-case hex digits."""
TxHash = NewType("TxHash", str)
"""0x + 64 lower-case hex digits."""
BlockHash = NewType("BlockHash", str)
"""0x + 64 lower-case hex digits."""
Address = NewType("Address", str)
"""0x + 40 lower-case hex digits."""
BridgeName = NewType("BridgeName", str)
TreeId = NewType("TreeId", str)
"""`<bridge>` or `<bridge>/<part>`: unique on its origin chain."""


class Status(StrEnum):
    """Where a message is on its walk."""

    SEEN = "seen"
    WAITING = "waiting"
    READY = "ready"
    SUBMITTED = "submitted"
    INCLUDED = "included"
    DELIVERED = "delivered"
    HELD = "held"
    DEAD = "dead"
    ORPHANED = "orphaned"


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.SEEN: frozenset({Status.WAITING, Status.ORPHANED, Status.DELIVERED}),
    Status.WAITING: frozenset(
        {
            Status.WAITING,
            Status.READY,
            Status.INCLUDED,
            Status.DELIVERED,
            Status.HELD,
            Status.DEAD,
            Status.ORPHANED,
        }
    ),
    Status.READY: frozenset(
        {
            Status.WAITING,
            Status.READY,
            Status.SUBMITTED,
            Status.INCLUDED,
            Status.DELIVERED,
            Status.HELD,
            Status.DEAD,
            Status.ORPHANED,
        }
    ),
    Status.SUBMITTED: frozenset(
        {Status.WAITING, Status.INCLUDED, Status.DELIVERED, Status.DEAD, Status.ORPHANED}
    ),
    Status.INCLUDED: frozenset({Status.WAITING, Status.INCLUDED, Status.DELIVERED}),
    Status.DELIVERED: frozenset({Status.WAITING}),
    Status.HELD: frozenset({Status.WAITING, Status.DELIVERED, Status.DEAD, Status.ORPHANED}),
    Status.DEAD: frozenset({Status.WAITING, Status.DELIVERED, Status.ORPHANED}),
    Status.ORPHANED: frozenset({Status.WAITING}),
}
"""Legal moves. `delivered -> waiting`: destination reorg; `orphaned -> waiting`: re-inclusion."""


class Reason(StrEnum):
    """Why a message is where it is: closed, stable, a metric label."""

    # waiting
    NEW = "new"
    AWAITING_FINALITY = "awaiting_finality"
    AWAITING_ROOT = "awaiting_root"
    AWAITING_QUORUM = "awaiting_quorum"
    AWAITING_TIME = "awaiting_time"
    AWAITING_LEAF = "awaiting_leaf"
    AWAITING_TARGET = "awaiting_target"
    AWAITING_PAYMENT = "awaiting_payment"
    BUDGET_SPENT = "budget_spent"
    PAUSED = "paused"
    RATE_LIMITED = "rate_limited"
    SOURCE_UNREACHABLE = "source_unreachable"
    ROOT_MISMATCH = "root_mismatch"
    DRY_RUN = "dry_run"
    # ready, submitted, included, delivered
    PROVED = "proved"
    BROADCAST = "broadcast"
    MINED = "mined"
    DELIVERED_BY_US = "delivered_by_us"
    DELIVERED_BY_OTHER = "delivered_by_other"
    # failed attempts, retried
    TARGET_FAILED = "target_failed"
    CALL_REVERTED = "call_reverted"
    REBUILD_PROOF = "rebuild_proof"
    OUT_OF_GAS = "out_of_gas"
    GAS_CAP_EXCEEDED = "gas_cap_exceeded"
    FEE_CAP_EXCEEDED = "fee_cap_exceeded"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    REPLACED = "replaced"
    REORGED = "reorged"
    # held
    HELD_BY_OPERATOR = "held_by_operator"
    DENIED_BY_POLICY = "denied_by_policy"
    UNSUPPORTED = "unsupported"
    # dead
    DROPPED_BY_OPERATOR = "dropped_by_operator"
    RETRIES_EXHAUSTED = "retries_exhausted"
    INVALID_MESSAGE = "invalid_message"
    UNDELIVERABLE = "undeliverable"
    # resumed
    RETRIED_BY_OPERATOR = "retried_by_operator"
    RELEASED_BY_OPERATOR = "released_by_operator"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """Origin chain -> destination chain over one bridge."""

    bridge: BridgeName
    origin: ChainId
    destination: ChainId

    def __str__(self) -> str:
        return f"{self.bridge}:{self.origin}>{self.destination}"

    @classmethod
    def parse(cls, text: str) -> Route:
        """Read the form that `str(route)` writes; ValueError when it is not that form."""
        bridge, _, chains = text.rpartition(":")
        origin, arrow, destination = chains.partition(">")
        if not bridge or not arrow:
            raise ValueError(f"route {text!r} is not <bridge>:<origin id>><destination id>")
        return cls(BridgeName(bridge), ChainId(int(origin)), ChainId(int(destination)))


@dataclass(frozen=True, slots=True)
class LogRef:
    """Where a chain said something: the block (by hash) and the place in it."""

    chain: ChainId
    block: BlockNumber
    block_hash: BlockHash
    tx: TxHash
    log_index: int
    timestamp: Timestamp = Timestamp(0.0)
    """The block's time, 0 when the node's logs do not carry it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to deliver, as the origin chain said it; immutable."""

    id: MessageId
    route: Route
    sender: str
    """0x hex as the protocol states it, 20 or 32 bytes."""
    recipient: str
    nonce: int
    body: bytes
    """The part that counts for size limits and filters."""
    payload: bytes
    """All that the protocol needs to deliver it (for example the encoded message)."""
    at: LogRef
    tree: TreeId | None = None
    leaf_index: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    """Further immutable fields of the protocol."""
    inbox_id: MessageId | None = None
    """What the inbox calls it where that is another name: a delivery or progress seen under this
    name is the message's."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a message's timeline."""

    at: Timestamp
    status: Status
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A monotone counter that waiting messages wait on: it opens for all `value <= level`.

    A root's tree size, a checkpoint index, an anchored block. `name` is unique within the bridge
    and stable across restarts; the bridge's adapter can tell its present level.
    """

    bridge: BridgeName
    name: str

    def __str__(self) -> str:
        return f"{self.bridge}|{self.name}"


@dataclass(frozen=True, slots=True)
class Payment:
    """What was paid on the origin chain for one delivery: sums over the 32 payments with the most
    gas and the 32 of the most money."""

    gas: Gas = Gas(0)
    """Destination gas units bought."""
    amount: Wei = Wei(0)
    """Origin chain native units."""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A message and everything we remember of its walk."""

    message: Message
    status: Status
    reason: Reason
    detail: str
    since: Timestamp
    """When it took this status and reason."""
    seen_at: Timestamp
    wake_at: Timestamp | None
    """Next wake-up by the clock, None when unknown (or none is due)."""
    gate: str | None
    """`str(Gate)` it waits on, if any."""
    gate_value: int | None
    attempts: int
    alone: bool
    """Must not share a transaction (it failed in company before)."""
    payment: Payment
    timeline: tuple[Moment, ...]
    evidence: Mapping[str, str]
    """Last failure's decoded revert, simulation, transaction; bounded."""
    tx: TxHash | None
    """The last transaction that carried it (ours or another's)."""
    refused_since: Timestamp | None = None
    """When a simulation first failed with a wait, since one last passed or a person took it up."""

    @property
    def id(self) -> MessageId:
        return self.message.id

    @property
    def route(self) -> Route:
        return self.message.route

    @property
    def wasted(self) -> int:
        """Transactions it had to itself that were mined without effect, since it was last retried
        by hand and as far back as the timeline goes; in company a neighbour may be to blame."""
        wasted = 0
        for sent, then in pairwise(self.timeline):
            if then.reason is Reason.RETRIED_BY_OPERATOR:
                wasted = 0
            elif sent.status is Status.SUBMITTED and then.reason in _IN_VAIN:
                wasted += not then.detail.startswith(IN_COMPANY)
        return wasted


IN_COMPANY = "in company: "
"""Begins the detail of a failure in a transaction that others shared."""
_IN_VAIN = frozenset({Reason.TARGET_FAILED, Reason.CALL_REVERTED, Reason.INTERNAL_ERROR})


@dataclass(frozen=True, slots=True)
class Where:
    """Which messages are meant, by where they go and who sent them; None does not matter."""

    bridge: BridgeName | None = None
    origin: ChainId | None = None
    destination: ChainId | None = None
    sender: str | None = None
    """0x hex; an address equals its word padded with zeros."""
    recipient: str | None = None


def party_digits(party: str) -> str:
    """A sender's or recipient's hex digits without leading zeros: an address equals its word."""
    return party.lower().removeprefix("0x").lstrip("0") or "0"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a message's timeline, as it is told to whoever listens."""

    chain: ChainId
    """The destination, by which events are numbered."""
    number: int
    at: Timestamp
    id: MessageId
    route: Route
    status: Status
    reason: Reason
    origin_tx: TxHash
    tx: TxHash | None
    """The last transaction that carried the message."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of one chain in order."""

    events: tuple[Event, ...]
    start: int
    """Number before the first one that was looked at."""
    upto: int
    """Number of the last one that was looked at: the next page goes on behind it."""
    newest: int
    """Number of the chain's newest event, in the page or not."""
    missed: int
    """Events asked for that are not kept any more; -1 when nobody knows how many."""


def account_word(account: str) -> str:
    """An address, or the 32-byte word of one, as 64 hex digits: what accounts are compared by."""
    return account.lower().removeprefix("0x").rjust(64, "0")


def is_same_account(one: str, other: str) -> bool:
    """Equal as 32-byte words: a 20-byte address equals its left-padded form."""
    return account_word(one) == account_word(other)


# --- facts: what a chain said in a block we hold final --------------------------------------


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """The outbox took a message."""

    message: Message

    @property
    def at(self) -> LogRef:
        return self.message.at


@dataclass(frozen=True, slots=True)
class LeafAdded:
    """The outbox's tree grew by one leaf (`leaf` is the node value at level 0)."""

    tree: TreeId
    index: int
    leaf: bytes
    at: LogRef


@dataclass(frozen=True, slots=True)
class RootSeen:
    """The destination accepted a root; `level` raises the gate of that name on the bridge."""

    gate: Gate
    level: int
    root: bytes
    at: LogRef
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeliverySeen:
    """The inbox says that a message is delivered."""

    message_id: MessageId
    at: LogRef


@dataclass(frozen=True, slots=True)
class ProgressSeen:
    """Somebody carried a message one step on (proved it, say): wake it and note it."""

    message_id: MessageId
    destination: ChainId
    what: str
    at: LogRef


@dataclass(frozen=True, slots=True)
class PaymentSeen:
    """Somebody paid for the delivery of a message to `destination`."""

    message_id: MessageId
    destination: ChainId
    gas: Gas
    amount: Wei
    at: LogRef


Fact = MessageSeen | LeafAdded | RootSeen | DeliverySeen | ProgressSeen | PaymentSeen
