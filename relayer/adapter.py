"""The port a protocol fills in: what to follow, what a log means, what a message needs next.

The engine knows only this file. A folder `relayer/protocols/<name>/` exports
`PLUGIN: Plugin`; it is loaded by the `protocol:` word of a bridge in the operator's YAML. Methods
take and return many messages, because RPC round trips are the cost that matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from relayer.errors import ConfigInvalid
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    Fact,
    Gas,
    Gate,
    LogRef,
    MessageId,
    Reason,
    Record,
    RootSeen,
    Route,
    Timestamp,
    TreeId,
    Wei,
)

# --- what chains give ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Log:
    """One event log, checked for shape when it was read."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    at: LogRef


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a block header the engine and the adapters use."""

    number: BlockNumber
    hash: BlockHash
    parent_hash: BlockHash
    timestamp: Timestamp
    state_root: bytes
    base_fee: Wei | None
    gas_limit: Gas
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class View:
    """One `eth_call` without sender or value."""

    to: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class ViewResult:
    """What a view answered; `data` is revert data when `ok` is false."""

    ok: bool
    data: bytes


class ChainReader(Protocol):
    """Read-only access to one chain; raises `Transient` when no endpoint can answer."""

    @property
    def chain_id(self) -> ChainId: ...

    async def read(
        self, views: Sequence[View], *, block: BlockNumber | str = "latest"
    ) -> list[ViewResult]:
        """Answer views in order, packed through Multicall3 where the chain has it."""
        ...

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        """The header of a block by number, hash or tag; `StaleEndpoint` when unknown."""
        ...

    async def final_header(self) -> Header:
        """The newest block that the chain's finality rule accepts."""
        ...

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> list[Log]:
        """Logs of an inclusive range; `RangeTooWide` when the provider wants less."""
        ...

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        """One raw JSON-RPC call, for what only a protocol needs (`eth_getProof`, `zks_...`)."""
        ...

    async def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Raw (method, params) in as few requests as can be; a `RelayerError` for a refusal."""
        ...


# --- trees -----------------------------------------------------------------------------------


class EmptyRule(StrEnum):
    """What stands for an empty subtree."""

    LADDER = "ladder"
    """Z[0] = 0x0, Z[i+1] = keccak(Z[i], Z[i])."""
    ZERO = "zero"
    """The zero word at every level."""


@dataclass(frozen=True, slots=True)
class TreeShape:
    """How a protocol's append-only tree is built (keccak-256 inner nodes, left || right)."""

    empty: EmptyRule
    depth: int | None
    """Fixed depth, or None when depth is ceil(log2(size))."""
    max_depth: int = 64


@dataclass(frozen=True, slots=True)
class NodeAt:
    """A node by level (0 = leaves) and index in its level."""

    level: int
    index: int


@dataclass(frozen=True, slots=True)
class TreeSpec:
    """One tree that the engine keeps for a bridge."""

    id: TreeId
    chain: ChainId
    """The origin chain, whose follower fills it."""
    shape: TreeShape


class TreeReader(Protocol):
    """Proofs and roots of stored trees at any past size."""

    async def size(self, tree: TreeId) -> int:
        """Number of contiguous leaves stored."""
        ...

    async def roots(self, tree: TreeId, sizes: Sequence[int]) -> list[bytes]:
        """The root of the first n leaves for each n in `sizes` (each <= size)."""
        ...

    async def proofs(self, tree: TreeId, wanted: Sequence[tuple[int, int]]) -> list[list[bytes]]:
        """Bottom-up siblings for each (leaf index, size), in one round trip for all."""
        ...


class RootReader(Protocol):
    """Roots that a destination accepted in blocks we hold final (`RootSeen` facts)."""

    async def best_root(self, chain: ChainId, gate: Gate) -> RootSeen | None:
        """The root of the highest level accepted on `chain`; None when there is none."""
        ...

    async def root_at(self, chain: ChainId, gate: Gate, level: int) -> RootSeen | None:
        """The accepted root of the lowest level that is at least `level`."""
        ...


class ProofKeeper(Protocol):
    """Keeps proofs that a node serves only for a while; a memory, never the truth."""

    async def keep_proofs(self, chain: ChainId, proofs: Mapping[str, bytes]) -> None:
        """Keep proofs by name for weeks, under the origin or destination chain they belong to."""
        ...

    async def kept_proofs(self, chain: ChainId, names: Sequence[str]) -> dict[str, bytes]:
        """Those of `names` that are kept; whoever uses one verifies it again."""
        ...


# --- what an adapter says --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogSource:
    """Logs a bridge wants of a chain: every log of `addresses` with topic0 in `topics`."""

    chain: ChainId
    addresses: tuple[Address, ...]
    topics: tuple[bytes, ...]
    start_block: BlockNumber
    reading: str = ""
    """Settings that decide what the logs mean, as one line: when it changes, they are read again.
    Routes, addresses and topics need not be in it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """One named moment a message waits for (shown to people)."""

    name: str
    at: Timestamp


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: costs no attempt. Wakes at the gate, at `recheck_s`, whichever is first."""

    reason: Reason
    detail: str = ""
    gate: Gate | None = None
    gate_value: int = 0
    recheck_s: float = 60.0
    """Seconds until it is looked at again even when no gate opens."""
    clocks: tuple[Clock, ...] = ()
    disproved: bool = False
    """A root that the destination accepts (or the origin now) has another message in its place: if
    it was ever read otherwise, that reading takes the place of the stored one."""


@dataclass(frozen=True, slots=True)
class Call:
    """What would carry the message one step on, right now."""

    message_id: MessageId
    to: Address
    data: bytes
    value: Wei = Wei(0)
    income: Wei = Wei(0)
    """What the inbox pays at least to whoever makes this call, in wei of the destination."""
    gas_floor: Gas = Gas(0)
    """Send at least this much gas, whatever the estimate says."""
    access_list: tuple[tuple[Address, tuple[bytes, ...]], ...] = ()
    shareable: bool = True
    """May run inside Multicall3 (False: it needs our own address as msg.sender)."""
    sender: Address | None = None
    """The only account that may make it, where the inbox asks who calls; it travels alone, and is
    refused when the lane has no such signer."""
    what: str = "deliver"
    final: bool = True
    """False for a step after which the message needs more steps."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Root, index, proof and the like, for `relayer prove`."""


@dataclass(frozen=True, slots=True)
class Done:
    """The destination says it is delivered already (read at its latest block)."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Never, or not without a person: `held` when a person can change it, else `dead`."""

    reason: Reason
    detail: str
    dead: bool = False


Step = Wait | Call | Done | Refuse


class Action(StrEnum):
    """What to do after a call failed."""

    DONE = "done"
    """Delivered already, by whomever."""
    WAIT = "wait"
    """The world is not ready (paused, rate limited, root unknown): costs no attempt."""
    RETRY = "retry"
    """Costs an attempt; backs off; dead when attempts run out."""
    HOLD = "hold"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to a call in simulation or on chain."""

    revert: bytes
    """Bounded return data of the failure, empty for a bare revert."""
    text: str
    """The node's words, redacted and bounded."""
    mined: bool
    """True when a mined transaction carried it without delivering it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A failure in the engine's words."""

    action: Action
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class TreeTruth:
    """The chain's own word on a tree at a block we hold final."""

    tree: TreeId
    block: BlockNumber
    size: int
    root: bytes | None


class Adapter(Protocol):
    """One configured bridge; the methods a protocol fills in. None of them writes or sends."""

    @property
    def name(self) -> BridgeName: ...

    def routes(self) -> Sequence[Route]:
        """Every route the bridge is configured to carry."""
        ...

    def sources(self) -> Sequence[LogSource]:
        """What followers must read, per chain."""
        ...

    def trees(self) -> Sequence[TreeSpec]:
        """The trees kept for this bridge."""
        ...

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        """Turn logs of whole blocks of one chain, in order, into facts. Pure.

        Logs that are not ours are skipped; a log of ours in a wrong shape raises `BadChainData`.
        """
        ...

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        """Say what each message needs now; every given message has an answer.

        All of them are of `routes()`: what the configuration does not carry is not asked about.
        """
        ...

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        """The present level of each gate; a gate left out is unknown and opens fully."""
        ...

    def classify(self, record: Record, call: Call, outcome: Outcome) -> Verdict:
        """Say what a failed call means. Pure."""
        ...

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        """An origin's own leaf count and root of each tree at a final block, for its auditor.

        Empty for a chain without trees of this bridge, and when it does not answer.
        """
        ...

    async def aclose(self) -> None:
        """Free what the adapter holds."""
        ...


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a setting says of a contract, as a question that the contract itself can answer."""

    field: str
    """The setting's path within the bridge's section: `chains.alpha.domain`."""
    value: Address | int | None
    """What the contract should answer; None where any answer shows that it is the right kind."""
    chain: ChainId
    contract: Address
    views: tuple[str, ...]
    """Signatures without arguments; the first that is answered counts (versions differ)."""
    may_be_silent: bool = False
    """Some versions of the contract have none of the views."""


@runtime_checkable
class Checkable(Protocol):
    """An adapter whose settings can be held against the contracts; a protocol may fill it in."""

    def expectations(self) -> Sequence[Expectation]:
        """What the settings expect of the contracts, asked by `check-config --online`. Pure."""
        ...


@dataclass(frozen=True, slots=True)
class Delay:
    """How long a bridge lets messages of a route wait, from a final origin block to a delivery."""

    earliest_s: float
    """No message is faster."""
    latest_s: float | None
    """Time enough while nothing is odd: nobody disputes, nobody is down. None: not known."""
    rests_on: str
    """What is counted, in words: shown to whoever waits."""


@runtime_checkable
class Foreseeable(Protocol):
    """An adapter that knows how long its messages take; a protocol may fill it in."""

    async def delays(self) -> Mapping[Route, Delay]:
        """By contracts and settings, never by guess: a route of which nothing is known is left out.

        Asked about once a minute; raises `Transient` when a contract cannot be read now.
        """
        ...


def carrier_of(adapters: Mapping[BridgeName, Adapter], route: Route) -> Adapter | None:
    """The adapter that carries the route; None when the configuration has no such route."""
    adapter = adapters.get(route.bridge)
    return adapter if adapter is not None and route in adapter.routes() else None


class AdapterContext(Protocol):
    """What the engine lends to an adapter."""

    @property
    def chains(self) -> Mapping[str, ChainReader]:
        """By the chain's name in the configuration."""
        ...

    @property
    def trees(self) -> TreeReader: ...

    @property
    def roots(self) -> RootReader: ...

    @property
    def proofs(self) -> ProofKeeper: ...

    @property
    def now(self) -> Callable[[], Timestamp]: ...


def require_chains(context: AdapterContext, bridge: BridgeName, named: Mapping[str, str]) -> None:
    """Raise `ConfigInvalid` when a setting names a chain that the configuration does not have.

    `named` maps each setting's path within the bridge's section to the chain it names.
    """
    for setting, chain in named.items():
        if chain not in context.chains:
            known = ", ".join(sorted(context.chains))
            raise ConfigInvalid(
                f"bridges.{bridge}.{setting}: no chain {chain!r}; configured are {known}"
            )


@dataclass(frozen=True, slots=True)
class Plugin:
    """A protocol folder's export."""

    name: str
    settings: type[BaseModel]
    build: Callable[[BridgeName, Any, AdapterContext], Adapter]
    """(bridge name, validated settings, context) -> adapter."""
