"""The roots of the rollup's state that stand on layer 1, newest first: outputs or dispute games.

What exists is read at a final block of layer 1, and what it is worth at the latest one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from relayer.adapter import ChainReader, Header, View
from relayer.errors import BadChainData
from relayer.message import Address, BlockNumber, ChainId, Timestamp
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import (
    SUPER_TYPES,
    U64,
    number_of,
    read_number,
    read_word,
    read_words,
    word,
)
from relayer.protocols.op_stack.games import read_state, state_views
from relayer.protocols.op_stack.portal import Generation, Rules

PAGE = 32
"""Claims read at once, newest first."""
READ_AGAIN_S = 30.0
"""What claims are worth may change without an event that we follow."""
TOO_YOUNG = "of this very second"
"""A game cannot be proved against in the second of its creation."""
PAGES = 4
"""Pages looked through for one that is not flawed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A root that layer 1 has for a moment of the rollup."""

    index: int
    """Of the output, or of the game: what the portal is given."""
    root: bytes
    place: int
    """The layer-2 block that it is of; of a super root, the layer-2 time."""
    is_super: bool = False
    game: Address | None = None
    kind: int = 0
    """Type of the game."""
    flaw: str = ""
    """Why the portal would not take it."""

    def __str__(self) -> str:
        if self.game is None:
            return f"output {self.index}"
        return f"game {self.index} ({self.game}, type {self.kind})"


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, when, and what was known of new roots then."""

    rules: Rules
    news: object
    at: Timestamp
    claims: list[Claim]


class Claims:
    """Reads claims when an event tells of a new one, and every now and then."""

    def __init__(
        self,
        reader: ChainReader,
        rollup: ChainId,
        *,
        news: Callable[[Rules], Awaitable[object]],
        now: Callable[[], Timestamp],
    ) -> None:
        """`news` answers something else when there may be new claims."""
        self._reader = reader
        self._rollup = rollup
        self._news = news
        self._now = now
        self._kept: _Read | None = None

    async def newest(self, rules: Rules) -> list[Claim]:
        """Claims without a flaw among the newest ones, and those flawed ones that are newer than
        all of them; newest first. Raises `BadChainData` when layer 1 makes no sense."""
        news, now = await self._news(rules), self._now()
        kept = self._kept
        is_fresh = kept is not None and 0 <= now - kept.at < READ_AGAIN_S
        if kept is None or not is_fresh or (kept.rules, kept.news) != (rules, news):
            claims = await self._read(rules, await self._reader.final_header())
            self._kept = kept = _Read(rules, news, now, claims)
            if any(claim.flaw == TOO_YOUNG for claim in claims):
                self._kept = None
        return kept.claims

    async def _read(self, rules: Rules, final: Header) -> list[Claim]:
        block = final.number
        is_old = rules.generation is Generation.OUTPUTS
        counter = contracts.NEXT_OUTPUT if is_old else contracts.GAME_COUNT
        (answer,) = await self._reader.read([View(rules.root_source, counter)], block=block)
        end = read_number(answer, "the number of roots on layer 1", below=U64)
        found: list[Claim] = []
        for _ in range(PAGES):
            first = max(0, end - PAGE)
            indices = range(end - 1, first - 1, -1)
            if is_old:
                found += await self._outputs(rules, indices, block)
            else:
                found += await self._games(rules, indices, final)
            end = first
            if end == 0 or any(not claim.flaw for claim in found):
                break
        return found

    async def _outputs(
        self, rules: Rules, indices: Sequence[int], block: BlockNumber
    ) -> list[Claim]:
        views = [View(rules.root_source, contracts.OUTPUT + word(index)) for index in indices]
        found = []
        for index, answer in zip(indices, await self._reader.read(views, block=block), strict=True):
            root, _, number = read_words(answer, 3, f"output {index}")
            place = number_of(number, "an output's block", below=2**53)
            found.append(Claim(index, root, place, flaw="" if any(root) else "a zero root"))
        return found

    async def _games(self, rules: Rules, indices: Sequence[int], final: Header) -> list[Claim]:
        views = [View(rules.root_source, contracts.GAME_AT + word(index)) for index in indices]
        listed = []
        answers = await self._reader.read(views, block=final.number)
        for index, answer in zip(indices, answers, strict=True):
            kind, _, proxy = read_words(answer, 3, f"game {index}")
            number = number_of(kind, "a game's type", below=2**32)
            listed.append((index, number, contracts.address_of(proxy)))
        return await self._look_into(rules, listed, until=final.timestamp)

    async def _look_into(
        self, rules: Rules, listed: Sequence[tuple[int, int, Address]], *, until: float
    ) -> list[Claim]:
        """What each game claims and is worth now, in one read."""
        if not listed:
            return []
        views: list[View] = []
        for _, kind, game in listed:
            views += [self._root_view(kind, game), *_place_views(game)]
            views += state_views(rules, game)
        answers = await self._reader.read(views)
        size = len(views) // len(listed)
        found = []
        for at, (index, kind, game) in enumerate(listed):
            mine = answers[at * size : (at + 1) * size]
            state = read_state(rules, mine[3:])
            flaw = state.flaw or (TOO_YOUNG if state.created >= until else "")
            root, place = bytes(32), 0
            try:
                root = read_word(mine[0], f"game {index}")
                told = mine[1] if mine[1].ok else mine[2]
                place = read_number(told, f"game {index}", below=2**53)
            except BadChainData as error:
                flaw = flaw or f"unreadable ({error})"
            flaw = flaw or ("" if any(root) else "a zero root")
            found.append(Claim(index, root, place, kind in SUPER_TYPES, game, kind, flaw))
        return found

    def _root_view(self, kind: int, game: Address) -> View:
        """A super root is of many rollups, and ours has its own root in it."""
        if kind in SUPER_TYPES:
            return View(game, contracts.ROOT_CLAIM_OF + word(self._rollup))
        return View(game, contracts.ROOT_CLAIM)


def _place_views(game: Address) -> list[View]:
    """Newer games and older ones name it differently; of a super root it is a time."""
    return [View(game, contracts.GAME_SEQUENCE), View(game, contracts.GAME_BLOCK)]
