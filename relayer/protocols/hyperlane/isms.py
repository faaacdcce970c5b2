"""Reads what the interchain security module (ISM) of a recipient wants, whatever it is made of.

ISMs nest (routing, aggregation) and anybody may write one, so depth and size are bounded and what
we cannot satisfy becomes `Unsupported`, never an error for the batch. What a node refuses to
say is `Unread`: its trouble, not the ISM's word.
Source: `solidity/contracts/isms/` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from relayer.abi import revert_text
from relayer.adapter import ChainReader, View, ViewResult
from relayer.errors import BadChainData, EndpointsDisagree, Permanent, RelayerError
from relayer.message import Address, BlockNumber, Timestamp
from relayer.protocols.hyperlane import contracts
from relayer.protocols.hyperlane.checkpoints import ValidatorSet, unweighted
from relayer.protocols.hyperlane.contracts import ModuleType
from relayer.protocols.hyperlane.memory import Memory
from relayer.protocols.hyperlane.message import HyperlaneMessage

MAX_DEPTH = 8
MAX_NODES = 256
"""Modules of one message's ISM, counted with repetition; an honest one has under ten."""
MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Multisig:
    """Wants signatures of a checkpoint; `by_root`: any later one with a Merkle proof."""

    members: ValidatorSet
    by_root: bool


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Wants exactly `threshold` of its modules satisfied."""

    modules: tuple[Ism, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class Null:
    """Wants no metadata: open to all, pausable, or open to one relayer."""

    paused: bool = False
    trusted_relayer: Address | None = None


@dataclass(frozen=True, slots=True)
class CcipRead:
    """Wants what a server answers (ERC-3668)."""

    address: Address


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Wants what we cannot give, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class Unread:
    """Wants what no node has told us (yet), and why."""

    why: str


Ism = Multisig | Aggregation | Null | CcipRead | Unsupported | Unread

Answer = ViewResult | RelayerError
"""What a view answered, or why the node does not run it."""


@dataclass(frozen=True, slots=True)
class _Group:
    modules: tuple[Address, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class _Routed:
    to: Address


_Config = Multisig | _Group | _Routed | Null | CcipRead | Unsupported | Unread
_Key = tuple[Address, bytes]
"""(ISM, message id)."""
_Scope = tuple[Address, int | bytes]
"""An ISM, and the origin domain (remembered) or message (not remembered) an answer holds for."""
_Kind = ModuleType | Unsupported | Unread
Wanted = tuple[Address, HyperlaneMessage]

_QUESTION = {
    ModuleType.ROUTING: contracts.ROUTE,
    ModuleType.AGGREGATION: contracts.MODULES_AND_THRESHOLD,
    ModuleType.MERKLE_ROOT_MULTISIG: contracts.VALIDATORS_AND_THRESHOLD,
    ModuleType.MESSAGE_ID_MULTISIG: contracts.VALIDATORS_AND_THRESHOLD,
    ModuleType.WEIGHTED_MERKLE_ROOT_MULTISIG: contracts.VALIDATORS_AND_WEIGHT,
    ModuleType.WEIGHTED_MESSAGE_ID_MULTISIG: contracts.VALIDATORS_AND_WEIGHT,
}
_WEIGHTED = (ModuleType.WEIGHTED_MERKLE_ROOT_MULTISIG, ModuleType.WEIGHTED_MESSAGE_ID_MULTISIG)
_BY_ROOT = (ModuleType.MERKLE_ROOT_MULTISIG, ModuleType.WEIGHTED_MERKLE_ROOT_MULTISIG)


class IsmReader:
    """Reads ISMs of one destination chain, level by level for a whole batch of messages."""

    def __init__(
        self, reader: ChainReader, now: Callable[[], Timestamp], *, cache_s: float
    ) -> None:
        self._reader = reader
        self._kinds: Memory[Address, _Kind] = Memory(now, lifetime_s=cache_s, most=MAX_REMEMBERED)
        self._configs: Memory[_Scope, _Config] = Memory(
            now, lifetime_s=cache_s, most=MAX_REMEMBERED
        )

    async def resolve(self, wanted: Sequence[Wanted]) -> list[Ism]:
        """The ISM of each (address, message), in order; raises `Transient` only."""
        found: dict[_Key, _Config] = {}
        visits: dict[bytes, int] = {}
        frontier = {(address, message.id): message for address, message in wanted}
        tops = list(frontier)
        for _ in range(MAX_DEPTH):
            if not frontier:
                break
            configs = await self._configured(frontier)
            found |= configs
            below: dict[_Key, HyperlaneMessage] = {}
            for (address, mid), config in configs.items():
                for child in _children(config):
                    visits[mid] = visits.get(mid, 0) + 1
                    if (child, mid) not in found and visits[mid] <= MAX_NODES:
                        below[child, mid] = frontier[address, mid]
            frontier = below
        whole = {key: _whole(key, found) for key in tops}
        return [whole[address, message.id] for address, message in wanted]

    def forget(self, isms: Iterable[Address]) -> None:
        """Read these anew next time: what we knew of them did not satisfy the inbox."""
        stale = set(isms)
        for address in stale:
            self._kinds.forget(address)
        self._configs.forget_if(lambda key: key[0] in stale)

    async def _configured(self, wanted: Mapping[_Key, HyperlaneMessage]) -> dict[_Key, _Config]:
        """What each ISM says of itself for its message; two round trips when all is new."""
        kinds = await self._read_kinds(dict.fromkeys(address for address, _ in wanted))
        scopes = {key: _scope(kinds[key[0]], key[0], wanted[key]) for key in wanted}
        known: dict[_Scope, _Config] = {}
        asked: dict[_Scope, list[View]] = {}
        for key, scope in scopes.items():
            if scope in known or scope in asked:
                continue
            remembered = self._configs.get(scope)
            if remembered is not None:
                known[scope] = remembered
            else:
                asked[scope] = _questions(kinds[scope[0]], scope[0], wanted[key])
        answers = iter(
            await read_each(self._reader, [v for group in asked.values() for v in group])
        )
        for scope, group in asked.items():
            known[scope] = _config(kinds[scope[0]], scope[0], [next(answers) for _ in group])
            if isinstance(scope[1], int) and not isinstance(known[scope], Unread):
                self._configs.put(scope, known[scope])
        return {key: known[scope] for key, scope in scopes.items()}

    async def _read_kinds(self, isms: Iterable[Address]) -> dict[Address, _Kind]:
        known = {address: self._kinds.get(address) for address in isms}
        missing = [address for address, kind in known.items() if kind is None]
        views = [View(address, contracts.MODULE_TYPE) for address in missing]
        answers = await read_each(self._reader, views)
        for address, answer in zip(missing, answers, strict=True):
            kind = _kind(address, answer)
            known[address] = kind if isinstance(kind, Unread) else self._kinds.put(address, kind)
        return {address: kind for address, kind in known.items() if kind is not None}


async def read_each(
    reader: ChainReader, views: Sequence[View], *, block: BlockNumber | str = "latest"
) -> list[Answer]:
    """Answer every view; what makes one impossible to answer is in its place.

    A hostile contract may make a whole batched read fail: it takes too much of the node, or answers
    by the gas it is given, so that endpoints disagree. Raises `Transient`.
    """
    if not views:
        return []
    try:
        return list(await reader.read(views, block=block))
    except (Permanent, EndpointsDisagree) as error:
        if len(views) == 1:
            return [error]
        if isinstance(error, EndpointsDisagree) and block == "latest":
            block = (await reader.header(block)).number  # raises when they are on two forks
    middle = len(views) // 2
    left = await read_each(reader, views[:middle], block=block)
    return left + await read_each(reader, views[middle:], block=block)


def is_unread(ism: Ism) -> bool:
    """Whether a node has not told of some part of an ISM."""
    if isinstance(ism, Aggregation):
        return any(map(is_unread, ism.modules))
    return isinstance(ism, Unread)


def multisigs(ism: Ism) -> Iterator[Multisig]:
    """Every multisig in an ISM."""
    if isinstance(ism, Multisig):
        yield ism
    elif isinstance(ism, Aggregation):
        for module in ism.modules:
            yield from multisigs(module)


def lookups(ism: Ism) -> Iterator[CcipRead]:
    """Every CCIP-read module in an ISM."""
    if isinstance(ism, CcipRead):
        yield ism
    elif isinstance(ism, Aggregation):
        for module in ism.modules:
            yield from lookups(module)


def shape_of(ism: Ism) -> str:
    """A canonical text of what an ISM wants, whatever its address: the same text, the same gate."""
    match ism:
        case Multisig(members, by_root):
            parts = zip(members.validators, members.weights, strict=True)
            voters = ",".join(f"{validator}*{weight}" for validator, weight in parts)
            return f"{'root' if by_root else 'id'}({members.threshold};{voters})"
        case Aggregation(modules, threshold):
            return f"all({threshold};{','.join(map(shape_of, modules))})"
        case Null():
            return "null"
        case CcipRead():
            return "ccip"
        case Unsupported() | Unread():
            return "unsupported"


def _scope(kind: _Kind, address: Address, message: HyperlaneMessage) -> _Scope:
    """For which messages an answer holds: of one origin, of this message, or of this batch."""
    if kind is ModuleType.ROUTING:
        return address, message.id
    if kind is ModuleType.NULL:
        return address, b""
    return address, message.origin


def _questions(kind: _Kind, address: Address, message: HyperlaneMessage) -> list[View]:
    if kind is ModuleType.NULL:
        return [View(address, contracts.PAUSED), View(address, contracts.TRUSTED_RELAYER)]
    selector = _QUESTION.get(kind) if isinstance(kind, ModuleType) else None
    if selector is None:
        return []
    return [View(address, contracts.bytes_call(selector, message.encode()))]


def _kind(address: Address, answer: Answer) -> _Kind:
    if isinstance(answer, RelayerError):
        return _unread(address, answer)
    if not answer.ok:
        return Unsupported(f"ISM {address} does not answer moduleType()")
    try:
        number = contracts.read_uint(answer.data)
        return ModuleType(number)
    except (BadChainData, ValueError):
        return Unsupported(f"ISM {address} is of an unknown module type")


def _unread(address: Address, error: RelayerError) -> Unread:
    return Unread(f"the node does not tell about ISM {address}: {error}"[:300])


def _config(kind: _Kind, address: Address, answers: Sequence[Answer]) -> _Config:
    if not isinstance(kind, ModuleType):
        return kind
    said = [answer for answer in answers if isinstance(answer, ViewResult)]
    for answer in answers:
        if isinstance(answer, RelayerError):
            return _unread(address, answer)
    if kind is ModuleType.CCIP_READ:
        return CcipRead(address)
    if kind is ModuleType.NULL:
        return _null(said)
    if kind not in _QUESTION:
        return Unsupported(f"ISM {address} is of the unsupported kind {kind.name}")
    (found,) = said
    if not found.ok:
        why = revert_text(found.data) or "no reason given"
        return Unsupported(f"{kind.name} ISM {address} refuses: {why}")
    try:
        return _answered(kind, found.data)
    except BadChainData as error:
        return Unsupported(f"{kind.name} ISM {address}: {error}")


def _answered(kind: ModuleType, answer: bytes) -> _Config:
    if kind is ModuleType.ROUTING:
        return _Routed(contracts.read_address(answer))
    if kind in _WEIGHTED:
        weighted = ValidatorSet(*contracts.read_weights(answer), is_weighted=True)
        return Multisig(weighted, kind in _BY_ROOT)
    members, threshold = contracts.read_addresses_and_number(answer)
    if kind is ModuleType.AGGREGATION:
        return _Group(members, threshold)
    return Multisig(unweighted(members, threshold), kind in _BY_ROOT)


def _null(answers: Sequence[ViewResult]) -> Null:
    """`PausableIsm` and `TrustedRelayerIsm` are of kind NULL too; others have neither view."""
    paused, relayer = answers
    is_paused = paused.ok and len(paused.data) == 32 and any(paused.data)
    if relayer.ok and len(relayer.data) == 32 and not any(relayer.data[:12]):
        return Null(is_paused, contracts.read_address(relayer.data))
    return Null(is_paused)


def _children(config: _Config) -> tuple[Address, ...]:
    match config:
        case _Group(modules):
            return modules
        case _Routed(to):
            return (to,)
        case _:
            return ()


def _whole(top: _Key, found: Mapping[_Key, _Config]) -> Ism:
    """Put the levels together; a loop or an oversized tree is unsupported as a whole."""
    room = MAX_NODES

    def grow(address: Address, depth: int) -> Ism:
        nonlocal room
        room -= 1
        config = found.get((address, top[1]))
        if config is None or depth > MAX_DEPTH or room < 0:
            return Unsupported(f"ISM {top[0]} nests too deep or is too large")
        match config:
            case _Group(modules, threshold):
                return Aggregation(tuple(grow(m, depth + 1) for m in modules), threshold)
            case _Routed(to):
                return grow(to, depth + 1)
            case _:
                return config

    return grow(top[0], 0)
