"""What the store takes and gives besides messages: cursors, leases, intents, results, totals."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from relayer.adapter import NodeAt
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    ChainId,
    Gas,
    MessageId,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    TreeId,
    TxHash,
    Wei,
)

__all__ = [
    "Attempt",
    "CostTotal",
    "Cursor",
    "Delivery",
    "Intent",
    "IntentCall",
    "Lease",
    "Memory",
    "NodeAt",
    "Page",
    "Role",
    "RollbackResult",
    "SaveResult",
    "StatusCount",
    "TreeState",
]


class Role(StrEnum):
    """What a lease gives the sole right to."""

    FOLLOWER = "follower"
    LANE = "lane"


@dataclass(frozen=True, slots=True)
class Lease:
    """The sole right to a role of a chain until it expires; `token` only ever grows."""

    chain: ChainId
    role: Role
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """A scanned block: everything at or below it is stored."""

    block: BlockNumber
    hash: BlockHash


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a fact has just made `delivered`."""

    id: MessageId
    route: Route
    by_us: bool
    seen_at: Timestamp


@dataclass(frozen=True, slots=True)
class SaveResult:
    """What a batch of facts changed; repeats change nothing and are not listed."""

    new_messages: tuple[MessageId, ...] = ()
    """Created, or back from `orphaned`."""
    new_deliveries: tuple[Delivery, ...] = ()
    payments: int = 0
    roots: int = 0
    woken: frozenset[ChainId] = frozenset()
    """Lanes that have something new to do."""
    unreadable: tuple[str, ...] = ()
    """Keys that hold something else than a message record, with the cause; left alone."""


@dataclass(frozen=True, slots=True)
class RollbackResult:
    """What undoing replaced blocks changed."""

    facts: int = 0
    orphaned: tuple[MessageId, ...] = ()
    reopened: tuple[MessageId, ...] = ()
    """Deliveries undone: the messages wait again."""
    payments: int = 0
    roots: int = 0
    trees: dict[TreeId, int] = field(default_factory=dict)
    """New sizes of the trees that were cut."""


@dataclass(frozen=True, slots=True)
class TreeState:
    """How much of a tree is stored; `epoch` grows with every truncation."""

    size: int
    epoch: int


@dataclass(frozen=True, slots=True)
class IntentCall:
    """One message's part in a transaction."""

    message_id: MessageId
    what: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed envelope of an intent, kept before it is broadcast."""

    hash: TxHash
    raw: bytes
    max_fee: Wei
    tip: Wei
    gas_price: Wei | None
    """Set on legacy transactions only."""
    gas: Gas
    at: Timestamp
    block: BlockNumber
    """The head when it was signed."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What one nonce of one signer is meant for."""

    signer: Address
    nonce: int
    calls: tuple[IntentCall, ...]
    attempts: tuple[Attempt, ...]
    created_at: Timestamp
    purpose: Literal["deliver", "cancel"]


@dataclass(frozen=True, slots=True)
class StatusCount:
    """A key of `counts()`."""

    route: Route
    status: Status
    reason: Reason


@dataclass(frozen=True, slots=True)
class Page:
    """Records newest first; `after` is the mark of the next page, None at the end."""

    records: tuple[Record, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class CostTotal:
    """What deliveries of a route have cost so far."""

    wei: Wei
    gas: Gas
    txs: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes Redis uses, and its limit (0 = none), summed over primaries."""

    used: int
    limit: int
