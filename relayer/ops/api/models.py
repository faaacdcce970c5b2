"""The shapes of the API: what is validated on the way in and promised on the way out.

Names are a contract: add, never rename. Times are ISO 8601 in UTC, amounts of wei are decimal
strings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from relayer.message import Reason, Status

MAX_PAGE = 200
DEFAULT_PAGE = 50

_HASH = r"^0x[0-9a-fA-F]{64}$"
_ACCOUNT = r"^0x([0-9a-fA-F]{24})?[0-9a-fA-F]{40}$"
_BRIDGE = r"^[a-z0-9][a-z0-9_-]{0,47}$"
_ROUTE = r"^[a-z0-9][a-z0-9_-]{0,47}:[1-9][0-9]{0,18}>[1-9][0-9]{0,18}$"
_CURSOR = r"^[A-Za-z0-9_-]{1,4000}$"

FORMS = {
    _HASH: "0x and 64 hex digits",
    _ACCOUNT: "0x and 40 hex digits (an address) or 64 (a word)",
    _BRIDGE: "a bridge's name: lower-case letters, digits, _ and -",
    _ROUTE: "<bridge>:<origin id>><destination id>",
    _CURSOR: "as it was given: letters, digits, _ and -",
}
"""What text must be, for people, by the pattern that says so to programs."""

Hash = Annotated[str, StringConstraints(pattern=_HASH), Field(examples=["0x" + "ab" * 32])]
Account = Annotated[str, StringConstraints(pattern=_ACCOUNT), Field(examples=["0x" + "ab" * 20])]
BridgeText = Annotated[str, StringConstraints(pattern=_BRIDGE)]
RouteText = Annotated[str, StringConstraints(pattern=_ROUTE), Field(examples=["main:1>10"])]
Cursor = Annotated[str, StringConstraints(pattern=_CURSOR)]
Time = Annotated[str, Field(examples=["2026-01-31T12:00:00.000Z"])]
WeiText = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,80}$")]


def _digits(value: Any) -> Any:
    """Query values are text; pydantic would also take ` 7 ` and `1_0` for numbers."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) < 20):
        raise ValueError("must be a whole number in decimal digits")
    return value


ChainNumber = Annotated[int, BeforeValidator(_digits), Field(ge=1, lt=2**63)]


class Asked(BaseModel):
    """Parameters of a request: unknown ones are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Nothing(Asked):
    """No parameters."""


class MessagesAsked(Asked):
    """Which messages a list is of; with `tx` there is one page."""

    tx: Hash | None = Field(None, description="Origin or delivering transaction.")
    status: Status | None = None
    reason: Reason | None = None
    route: RouteText | None = Field(None, description="`<bridge>:<origin id>><destination id>`.")
    bridge: BridgeText | None = None
    origin: ChainNumber | None = Field(None, description="Chain id.")
    destination: ChainNumber | None = Field(None, description="Chain id.")
    sender: Account | None = Field(
        None, description="An address equals its 32-byte word padded with zeros."
    )
    recipient: Account | None = None
    order: Literal["newest", "oldest"] = "newest"
    limit: Annotated[int, BeforeValidator(_digits), Field(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE
    cursor: Cursor | None = Field(None, description="`next` of the page before.")


class EventsAsked(Asked):
    """Which events are told; all that are given must match."""

    id: Hash | None = Field(None, description="Of one message.")
    tx: Hash | None = Field(None, description="Origin or delivering transaction.")
    route: RouteText | None = None
    status: Status | None = None
    after: Cursor | None = Field(
        None,
        description="An event's id to go on behind, for clients that cannot set a header;"
        " `-` begins with the oldest event that is kept.",
    )


class Estimate(BaseModel):
    """When a message will be delivered, and how that is known; null times are unknown."""

    at: Time | None = Field(description="Most likely.")
    earliest: Time | None
    latest: Time | None = Field(
        description="19 of 20 are delivered by then; by `configured_delay` all, if nothing is odd."
    )
    basis: Literal["route_statistics", "clock", "configured_delay", "unknown"] = Field(
        description="`route_statistics`: the route's latest deliveries by this relayer;"
        " `clock`: a delay that the bridge imposes ends then, delivery follows;"
        " `configured_delay`: what the bridge's contracts and the configuration let expect;"
        " `unknown`: nothing honest can be said."
    )
    detail: str = Field(description="What a `configured_delay` is made of, in words.")
    samples: int = Field(ge=0, description="Deliveries the statistics rest on.")


class Gate(BaseModel):
    """What opens the way: a counter that must reach a value."""

    gate: str
    value: str


class Native(BaseModel):
    """The coin that amounts of a chain are in."""

    symbol: str
    decimals: int = Field(description="One `symbol` is 10 to this power of its smallest unit.")


class Payment(BaseModel):
    """What was paid on the origin chain for the delivery."""

    gas: WeiText
    amount_wei: WeiText
    count: int
    native: Native | None = Field(
        description="Of the origin; null when the chain is not configured any more."
    )


class Moment(BaseModel):
    """One line of a message's timeline."""

    at: Time
    status: Status
    reason: Reason
    detail: str


class Message(BaseModel):
    """A message and where it is."""

    id: Hash
    route: str
    bridge: str
    origin: int
    destination: int
    sender: str
    recipient: str
    nonce: str
    leaf_index: int | None
    body_bytes: int
    origin_tx: Hash
    origin_block: int
    origin_block_hash: Hash
    status: Status
    reason: Reason
    explanation: str
    since: Time
    seen_at: Time
    next_wake_up: str | None = Field(description="A time, `unknown`, or null when none is due.")
    waits_for: Gate | None
    attempts: int
    tx: Hash | None = Field(description="The last transaction that carried it.")
    payment: Payment
    estimate: Estimate | None = Field(description="Null once it is delivered.")


class MessageWalk(Message):
    """A message with its whole walk."""

    timeline: list[Moment]
    evidence: dict[str, str]


class MessagesOfTransaction(BaseModel):
    """All messages of one transaction."""

    messages: list[MessageWalk]
    truncated: bool
    next: None = None
    chains_answered: bool | None = Field(
        description="Where nothing is stored of it: whether every origin chain was asked and"
        " answered; if not, ask again. Null where none need be asked."
    )


class MessagePage(BaseModel):
    """One page of a list; it may be short, even empty, while `next` says that there is more."""

    messages: list[Message]
    truncated: bool = Field(description="Whether there is more.")
    next: str | None


class Storage(BaseModel):
    """An entry of a transaction's access list (EIP-2930)."""

    address: str
    storageKeys: list[str]


class ProofCall(BaseModel):
    """The call that anyone may send now; root and proof are in the evidence."""

    id: Hash
    step: Literal["call"]
    what: str
    chain: int = Field(description="Chain id to send it on.")
    to: str
    data: str
    value_wei: WeiText
    gas_floor: int
    access_list: list[Storage]
    shareable: bool
    final: bool = Field(description="False when more steps follow.")
    evidence: dict[str, str]


class Clock(BaseModel):
    """A moment that is waited for, in Unix seconds."""

    name: str
    at: float


class ProofWait(BaseModel):
    """There is no call yet."""

    id: Hash
    step: Literal["wait"]
    reason: Reason
    detail: str
    gate: str | None
    gate_value: str
    recheck_s: float
    clocks: list[Clock]


class ProofRefused(BaseModel):
    """There will be no call, or not without a person."""

    id: Hash
    step: Literal["refuse"]
    reason: Reason
    detail: str
    dead: bool


class ProofDone(BaseModel):
    """It is delivered already."""

    id: Hash
    step: Literal["done"]
    detail: str


class Count(BaseModel):
    """Messages in one status for one reason."""

    status: Status
    reason: Reason
    count: int


class DeliveryTimes(BaseModel):
    """How long this relayer's latest deliveries took; null without any."""

    samples: int
    p50_s: float | None
    p95_s: float | None


class Natives(BaseModel):
    """The coins at both ends; null when the chain is not configured."""

    origin: Native | None
    destination: Native | None


class Route(BaseModel):
    """How one route is doing."""

    route: str
    bridge: str
    origin: int
    destination: int
    health: Literal["ok", "degraded"]
    problems: list[str]
    messages: dict[Status, int]
    reasons: list[Count] = Field(description="Of what is not delivered.")
    oldest_pending_s: float | None
    delivery: DeliveryTimes
    cost_wei: WeiText = Field(description="Spent on the destination.")
    gas: WeiText
    transactions: int
    income_wei: WeiText = Field(description="Paid to the relayer by the inbox, on the destination.")
    paid_wei: WeiText = Field(
        description="Paid on the origin for what was delivered, to whomever the bridge gives it."
    )
    native: Natives


class Routes(BaseModel):
    """All configured routes."""

    routes: list[Route]


class Endpoints(BaseModel):
    """How many RPC endpoints there are, and how many answer."""

    total: int
    healthy: int


class Signer(BaseModel):
    """One of the relayer's signers; null is not known."""

    address: str
    balance_wei: WeiText | None
    nonce: int | None = Field(description="How many of its transactions are mined.")
    in_flight: int | None
    paused: bool = Field(description="It sends nothing new.")


class Finality(BaseModel):
    """Which block is acted on: that of a tag, or one so many blocks behind the head."""

    tag: Literal["finalized", "safe", "latest"] | None
    depth: int | None
    behind_s: float | None = Field(description="Seconds from the final block to the head, now.")


class Chain(BaseModel):
    """How one chain is doing; null is not known."""

    name: str
    id: int
    head: int | None
    final: int | None
    finality: Finality
    cursor: int | None = Field(description="Everything up to this block is stored.")
    lag_blocks: int | None = Field(description="Final blocks that are not stored yet.")
    endpoints: Endpoints
    explorer: str | None
    native: Native
    health: Literal["ok", "degraded"]
    problems: list[str]
    signers: list[Signer]


class Chains(BaseModel):
    """All configured chains."""

    chains: list[Chain]


class Event(BaseModel):
    """The data of one server-sent event, and of one webhook."""

    at: Time
    id: Hash
    route: str
    status: Status
    reason: Reason
    origin_tx: str
    tx: Hash | None


class Reset(BaseModel):
    """The data of a `reset`: events were lost to this listener, which reads again what it shows."""

    missed: int | None = Field(description="How many; null when that cannot be known.")


class Notice(BaseModel):
    """What is posted to a webhook."""

    event_id: str = Field(
        description="The same each time that an event is posted.", examples=["10-1795572972001"]
    )
    type: Literal["message"]
    event: Event


class Problem(BaseModel):
    """What is wrong, with which field and value."""

    code: str
    text: str
    field: str | None = None
    value: str | None = None


class Failure(BaseModel):
    """Every error has this shape."""

    error: Problem
