"""What the store takes and gives besides messages: cursors, leases, intents, results, totals."""

from __future__ import annotations

from collections.abc import Mapping
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
    "Charge",
    "CostTotal",
    "Cursor",
    "Delivery",
    "Failure",
    "Inclusion",
    "Intent",
    "IntentCall",
    "Lease",
    "Memory",
    "NodeAt",
    "Page",
    "Role",
    "RollbackResult",
    "RouteState",
    "SaveResult",
    "Settlement",
    "StatusCount",
    "TreeState",
]


class Role(StrEnum):
    """What a lease gives the sole right to."""

    FOLLOWER = "follower"
    LANE = "lane"
    WEBHOOKS = "webhooks"


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
    """Keys that held something else than a message record, with the cause. Where the fact was the
    message itself, it was set aside and the record made anew; else it is left alone."""
    contradicted: tuple[MessageId, ...] = ()
    """Messages that were read before with other content or at another place."""

    @property
    def changed(self) -> bool:
        """Whether anything was new."""
        return bool(self.new_messages or self.new_deliveries or self.payments or self.roots)


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
    """How much of a tree is stored; `epoch` grows with every truncation, also over a lost store."""

    size: int
    epoch: int


@dataclass(frozen=True, slots=True)
class IntentCall:
    """One message's part in a transaction."""

    message_id: MessageId
    what: str
    final: bool = True
    """False when the message needs more steps after this one."""
    income: Wei = Wei(0)
    """What the inbox pays us when this call delivers."""
    gas: Gas = Gas(1)
    """Its part of the transaction's gas, by which the cost is shared."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Money taken out of one day's budgets before a transaction is sent; corrected afterwards."""

    day: str
    """UTC, as 2026-01-31."""
    gwei: Mapping[str, int]
    """By budget; whole gwei, rounded up (Redis counts to 2^63)."""
    expected: Wei
    """What the whole transaction was expected to cost."""

    def corrected(self, cost: Wei) -> dict[str, int]:
        """What to add to each budget so that it holds what the transaction really cost."""
        return {
            name: -(-gwei * cost // self.expected) - gwei if self.expected else 0
            for name, gwei in self.gwei.items()
        }


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
    charge: Charge | None = None
    """What it was expected to take out of the operator's budgets."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed; without `wake_at` it was the last one."""

    id: MessageId
    reason: Reason
    detail: str
    evidence: Mapping[str, str]
    wake_at: Timestamp | None
    alone: bool = True
    """Must not share a transaction from now on."""


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where an intent's transaction was mined, and which messages it delivered there."""

    block: BlockNumber
    tx: TxHash
    ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of an intent; messages it does not name wait again for `reason`."""

    reason: Reason
    detail: str
    inclusion: Inclusion | None = None
    failures: tuple[Failure, ...] = ()
    costs: Mapping[Route, CostTotal] = field(default_factory=dict)
    incomes: Mapping[Route, Wei] = field(default_factory=dict)
    """What the inbox paid us, in wei of the destination."""
    paid: Mapping[Route, Wei] = field(default_factory=dict)
    """What was paid on the origins for the messages it delivered, in wei of each origin."""
    charge: Charge | None = None
    """The intent's own."""
    cost: Wei = Wei(0)
    """Of the whole transaction."""


@dataclass(frozen=True, slots=True)
class StatusCount:
    """A key of `counts()`."""

    route: Route
    status: Status
    reason: Reason


@dataclass(frozen=True, slots=True)
class RouteState:
    """How one route is doing."""

    oldest_pending: Timestamp | None
    """When the oldest message that is not finished was first seen."""
    times_s: tuple[float, ...]
    """How long our latest deliveries took from seen to delivered, newest first."""


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
