"""What a dispute game is worth to the portal: its flaw if it has one, and when it is decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from relayer.adapter import ChainReader, View, ViewResult
from relayer.errors import BadChainData
from relayer.message import Address
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import MAX_TIME, address_word, read_flag, read_number
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


async def read_states(
    reader: ChainReader, rules: Rules, games: Iterable[Address]
) -> dict[Address, GameState]:
    """The state of each game at the latest block, in one read."""
    wanted = sorted(set(games))
    if not wanted:
        return {}
    views = [view for game in wanted for view in state_views(rules, game)]
    answers = await reader.read(views)
    size = len(views) // len(wanted)
    return {
        game: read_state(rules, answers[place * size : (place + 1) * size])
        for place, game in enumerate(wanted)
    }


def state_views(rules: Rules, game: Address) -> list[View]:
    """What to ask of a game, and of whoever judges it."""
    own = [View(game, selector) for selector in _OWN]
    if rules.registry is None:
        return [*own, View(rules.portal, contracts.PORTAL_BLACKLIST + address_word(game))]
    return own + [View(rules.registry, one + address_word(game)) for one in _REGISTRY]


def read_state(rules: Rules, answers: list[ViewResult]) -> GameState:
    """What the answers to `state_views` say; a game that does not answer has that flaw."""
    try:
        created, kind, status, resolved = (
            read_number(answer, "a game", below=MAX_TIME) for answer in answers[:4]
        )
        judged = [read_flag(answer, "a judgement of a game") for answer in answers[5:]]
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
    return GameState(created, None if is_open else resolved, min(clock_s, MAX_TIME), flaw)


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
