"""What the API asks of the rest of the program, as ports that `app` fills in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from relayer.message import (
    Address,
    BlockNumber,
    ChainId,
    EventPage,
    MessageId,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    TxHash,
    Wei,
    Where,
)


class PageOfRecords(Protocol):
    """Records in order; `after` is the mark of the next page, None at the end."""

    @property
    def records(self) -> Sequence[Record]: ...

    @property
    def after(self) -> str | None: ...


class MessageReader(Protocol):
    """The reading part of the store."""

    async def get(self, message_id: MessageId, /) -> Record | None:
        """The record of a message, None when it is unknown."""
        ...

    async def by_tx(self, tx: TxHash, /) -> Sequence[Record]:
        """Records whose origin or delivering transaction is `tx`."""
        ...

    async def list(
        self,
        *,
        status: Status | None,
        route: Route | None,
        reason: Reason | None,
        where: Where,
        limit: int,
        after: str | None,
        oldest_first: bool,
    ) -> PageOfRecords:
        """Records by time that match all that is not None."""
        ...


class EventReader(Protocol):
    """The part of the store that tells what happened."""

    async def chains(self) -> Sequence[ChainId]:
        """Chains that may have events."""
        ...

    async def events(self, chain: ChainId, after: int | None, /, *, limit: int) -> EventPage:
        """Events of a chain behind a number; with None none, only the newest number."""
        ...


class ApiStore(MessageReader, EventReader, Protocol):
    """All that the API reads of the store."""


@dataclass(frozen=True, slots=True)
class Native:
    """What a chain's own coin is called, and by how many decimals its smallest unit is less."""

    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """How long a route's messages take by its bridge's rules, from the block they were sent in."""

    earliest_s: float
    latest_s: float | None
    rests_on: str
    final_s: float | None = None
    """How long a block of the destination takes to become final, None when that is not known."""


@dataclass(frozen=True, slots=True)
class Finality:
    """Which block is acted on: that of a tag, or one so many blocks behind the newest."""

    tag: str | None
    depth: int | None


@dataclass(frozen=True, slots=True)
class RouteReport:
    """How one route is doing, for people."""

    route: Route
    counts: Mapping[tuple[Status, Reason], int]
    oldest_pending: Timestamp | None
    times_s: Sequence[float]
    """How long our latest deliveries took."""
    cost_wei: Wei
    gas: int
    transactions: int
    income_wei: Wei
    """What inboxes paid us, on the destination."""
    paid_wei: Wei
    """What was paid on the origin for what we delivered, to whomever."""
    problems: Sequence[str]
    """Why messages may be stuck, in words; empty when all is well."""


@dataclass(frozen=True, slots=True)
class SignerReport:
    """One of our signers; what is not known is None."""

    address: Address
    balance: Wei | None
    nonce: int | None
    """How many of its transactions are mined."""
    in_flight: int | None
    is_paused: bool


@dataclass(frozen=True, slots=True)
class ChainReport:
    """How one chain is doing; what is not known is None."""

    name: str
    id: ChainId
    head: BlockNumber | None
    final: BlockNumber | None
    final_behind_s: float | None
    """Seconds between the final block and the head, by their own times."""
    finality: Finality
    cursor: BlockNumber | None
    endpoints: int
    endpoints_healthy: int
    explorer: str | None
    native: Native
    signers: Sequence[SignerReport]
    problems: Sequence[str]
    """Why messages from or to it may be stuck, in words; empty when all is well."""


class Network(Protocol):
    """What is known of routes and chains now."""

    async def routes(self) -> Sequence[RouteReport]:
        """Every configured route."""
        ...

    async def chains(self) -> Sequence[ChainReport]:
        """Every configured chain."""
        ...

    def natives(self) -> Mapping[ChainId, Native]:
        """The coin of every configured chain."""
        ...

    async def times(self) -> Mapping[Route, Sequence[float]]:
        """How long our latest deliveries took, by route."""
        ...

    async def outlooks(self) -> Mapping[Route, Outlook]:
        """What the bridges' rules let expect; routes of which nothing is known are left out."""
        ...


Prove = Callable[[Record], Awaitable[Mapping[str, Any]]]
"""What a message needs now, freshly computed, as JSON; raises `Refused` or `Transient`."""


@dataclass(frozen=True, slots=True)
class EarlyAnswer:
    """What the chains say of a transaction of which nothing is stored."""

    records: Sequence[Record]
    """Its messages, in a block that is not final or not followed yet."""
    is_complete: bool
    """Whether every origin chain was asked and answered."""
    is_new: bool = True
    """Whether they were asked for this one: an answer that was kept costs nothing."""


AskChains = Callable[[TxHash], Awaitable[EarlyAnswer]]
"""Looks for a transaction on the origin chains, within bounds; never raises for what they say."""
