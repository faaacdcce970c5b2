"""What a dispute game is worth to the portal: its flaw if it has one, and when it is decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from relayer.abi import address_word, word
from relayer.adapter import ChainReader, View, ViewResult
from relayer.errors import BadChainData
from relayer.message import Address, ChainId
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import (
    MAX_TIME,
    SUPER_TYPES,
    read_flag,
    read_number,
    read_word,
)
from relayer.protocols.op_stack.portal import Rules

_OWN = (
    contracts.CREATED_AT,
    contracts.GAME_TYPE,
    contracts.GAME_STATUS,
    contracts.RESOLVED_AT,
    contracts.CLOCK_LIMIT,
)
_REGISTRY = (
    contracts.IS_REGISTERED,
    contracts.IS_RESPECTED,
    contracts.IS_BLACKLISTED,
    contracts.IS_RETIRED,
)


@dataclass(frozen=True, slots=True)
class GameState:
    """A game as layer 1 has it now."""

    created: int
    """Second of its creation."""
    resolved: int | None
    """Second of its resolution; None while it is open."""
    clock_s: int
    """An undisputed game can be resolved so long after its creation; 0 when it does not say."""
    flaw: str
    """Why nothing can be proved against it, or finalised on it; empty when it is good."""
    root: bytes = bytes(32)
    """The rollup's root that it claims."""
    place: int = 0
    """The layer-2 block that the root is of; of a super root, the layer-2 time."""
    is_super: bool = False

    @property
    def is_open(self) -> bool:
        return self.resolved is None


async def read_states(
    reader: ChainReader, rules: Rules, games: Iterable[Address], *, rollup: ChainId
) -> dict[Address, GameState]:
    """The state of each game at the latest block, in one read."""
    wanted = sorted(set(games))
    if not wanted:
        return {}
    views = [view for game in wanted for view in state_views(rules, game, rollup=rollup)]
    answers = await reader.read(views)
    size = len(views) // len(wanted)
    return {
        game: read_state(rules, answers[place * size : (place + 1) * size])
        for place, game in enumerate(wanted)
    }


def state_views(rules: Rules, game: Address, *, rollup: ChainId) -> list[View]:
    """What to ask of a game, and of whoever judges it.

    A super root is of many rollups, and ours has its own root in it. Newer games and older ones
    name the place differently.
    """
    own = [View(game, selector) for selector in (*_OWN, contracts.ROOT_CLAIM)]
    own.append(View(game, contracts.ROOT_CLAIM_OF + word(rollup)))
    own += [View(game, contracts.GAME_SEQUENCE), View(game, contracts.GAME_BLOCK)]
    if rules.registry is None:
        return [*own, View(rules.portal, contracts.PORTAL_BLACKLIST + address_word(game))]
    return own + [View(rules.registry, one + address_word(game)) for one in _REGISTRY]


def read_state(rules: Rules, answers: list[ViewResult]) -> GameState:
    """What the answers to `state_views` say; a game that does not answer has that flaw."""
    try:
        created, kind, status, resolved = (
            read_number(answer, "a game", below=MAX_TIME) for answer in answers[:4]
        )
        judged = [read_flag(answer, "a judgement of a game") for answer in answers[9:]]
    except BadChainData as error:
        return GameState(0, None, 0, f"unreadable ({error})")
    limit = answers[4]
    clock_s = int.from_bytes(limit.data, "big") if limit.ok and len(limit.data) == 32 else 0
    flaw = _flaw(rules, judged, created=created, kind=kind)
    if not flaw and status == contracts.CHALLENGER_WINS:
        flaw = "lost to a challenger"
    elif not flaw and status > contracts.DEFENDER_WINS:
        flaw = f"in the unknown state {status}"
    is_open = status == contracts.IN_PROGRESS or not resolved
    is_super, root, place = kind in SUPER_TYPES, bytes(32), 0
    try:
        root = read_word(answers[6 if is_super else 5], "its root")
        place = read_number(answers[7] if answers[7].ok else answers[8], "its place", below=2**53)
        flaw = flaw or ("" if any(root) else "a zero root")
    except BadChainData as error:
        flaw = flaw or f"unreadable ({error})"
    when = None if is_open else resolved
    return GameState(created, when, min(clock_s, MAX_TIME), flaw, root, place, is_super)


def _flaw(rules: Rules, judged: list[bool], *, created: int, kind: int) -> str:
    if rules.registry is not None:
        registered, respected, blacklisted, retired = judged
    else:
        registered, respected = True, kind == rules.respected_type
        blacklisted, retired = judged[0], created < rules.respected_since
    if not registered:
        return "not registered"
    if blacklisted:
        return "blacklisted"
    if retired:
        return "retired"
    return "" if respected else f"of the type {kind}, which is not respected"
