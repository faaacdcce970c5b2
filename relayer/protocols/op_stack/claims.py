"""The roots of the rollup's state that stand on layer 1, newest first: outputs or dispute games.

What exists is read at a final block of layer 1, and what it is worth at the latest one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from relayer.abi import address_of, word
from relayer.adapter import ChainReader, Header, View
from relayer.message import Address, BlockNumber, ChainId, Timestamp
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import MAX_TIME, U64, number_of, read_number, read_words
from relayer.protocols.op_stack.games import read_state, state_views
from relayer.protocols.op_stack.portal import Generation, Rules

PAGE = 32
"""Claims read at once, newest first."""
READ_AGAIN_S = 30.0
"""What claims are worth may change without an event that we follow."""
TOO_YOUNG = "of this very second"
"""A game cannot be proved against in the second of its creation."""
PAGES = 4
"""Pages looked through for one that serves: anybody may put flawed, wrong or old ones on top."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A root that layer 1 has for a moment of the rollup."""

    index: int
    """Of the output, or of the game: what the portal is given."""
    root: bytes
    place: int
    """The layer-2 block that it is of; of a super root, the layer-2 time."""
    made: int
    """Second of layer 1 in which it was put there."""
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
    final: Header
    claims: list[Claim]
    end: int
    """Index of the oldest claim that was read."""


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
        """Claims down to one without a flaw at least, newest first, and older ones if they were
        asked for already. Raises `BadChainData` when layer 1 makes no sense."""
        news, now = await self._news(rules), self._now()
        kept = self._kept
        is_fresh = kept is not None and 0 <= now - kept.at < READ_AGAIN_S
        if kept is None or not is_fresh or (kept.rules, kept.news) != (rules, news):
            kept = _Read(rules, news, now, *await self._start(rules))
            while _goes_on(kept) and not any(not claim.flaw for claim in kept.claims):
                kept = await self._deeper(kept)
            if any(claim.flaw == TOO_YOUNG for claim in kept.claims):
                kept = replace(kept, at=Timestamp(0))
            self._kept = kept
        return kept.claims

    async def older(self, rules: Rules, *, known: int, since: float) -> list[Claim]:
        """Claims beyond the newest `known` ones, a page at a time, down to the second `since`;
        empty when there are no more, or after `PAGES` pages."""
        kept = self._kept
        if kept is None or kept.rules != rules:
            return []
        if len(kept.claims) <= known and _goes_on(kept) and kept.claims[-1].made >= since:
            deeper = await self._deeper(kept)
            if self._kept is kept:
                self._kept = deeper
            kept = deeper
        return kept.claims[known:]

    async def _start(self, rules: Rules) -> tuple[Header, list[Claim], int]:
        """Where reading starts: the final block, nothing read, and how many claims there are."""
        final = await self._reader.final_header()
        is_old = rules.generation is Generation.OUTPUTS
        counter = contracts.NEXT_OUTPUT if is_old else contracts.GAME_COUNT
        (answer,) = await self._reader.read([View(rules.root_source, counter)], block=final.number)
        return final, [], read_number(answer, "the number of roots on layer 1", below=U64)

    async def _deeper(self, kept: _Read) -> _Read:
        """The same with one more page."""
        first = max(0, kept.end - PAGE)
        indices = range(kept.end - 1, first - 1, -1)
        if kept.rules.generation is Generation.OUTPUTS:
            page = await self._outputs(kept.rules, indices, kept.final.number)
        else:
            page = await self._games(kept.rules, indices, kept.final)
        return replace(kept, claims=[*kept.claims, *page], end=first)

    async def _outputs(
        self, rules: Rules, indices: Sequence[int], block: BlockNumber
    ) -> list[Claim]:
        views = [View(rules.root_source, contracts.OUTPUT + word(index)) for index in indices]
        found = []
        for index, answer in zip(indices, await self._reader.read(views, block=block), strict=True):
            root, told, number = read_words(answer, 3, f"output {index}")
            place = number_of(number, "an output's block", below=2**53)
            made = number_of(told, "an output's time", below=MAX_TIME)
            found.append(Claim(index, root, place, made, flaw="" if any(root) else "a zero root"))
        return found

    async def _games(self, rules: Rules, indices: Sequence[int], final: Header) -> list[Claim]:
        views = [View(rules.root_source, contracts.GAME_AT + word(index)) for index in indices]
        listed = []
        answers = await self._reader.read(views, block=final.number)
        for index, answer in zip(indices, answers, strict=True):
            kind, told, proxy = read_words(answer, 3, f"game {index}")
            number = number_of(kind, "a game's type", below=2**32)
            made = number_of(told, "a game's time", below=MAX_TIME)
            listed.append((index, number, made, address_of(proxy)))
        return await self._look_into(rules, listed, until=final.timestamp)

    async def _look_into(
        self, rules: Rules, listed: Sequence[tuple[int, int, int, Address]], *, until: float
    ) -> list[Claim]:
        """What each game claims and is worth now, in one read."""
        if not listed:
            return []
        views: list[View] = []
        for *_, game in listed:
            views += state_views(rules, game, rollup=self._rollup)
        answers = await self._reader.read(views)
        size = len(views) // len(listed)
        found = []
        for at, (index, kind, made, game) in enumerate(listed):
            mine = answers[at * size : (at + 1) * size]
            state = read_state(rules, mine)
            flaw = state.flaw or (TOO_YOUNG if state.created >= until else "")
            found.append(
                Claim(index, state.root, state.place, made, state.is_super, game, kind, flaw)
            )
        return found


def _goes_on(kept: _Read) -> bool:
    return kept.end > 0 and len(kept.claims) < PAGE * PAGES
