"""The roots of the rollup's state that stand on layer 1, newest first: outputs or dispute games.

What exists is read at a final block of layer 1, and what it is worth at the latest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import ChainReader, View
from relayer.errors import BadChainData
from relayer.message import Address, BlockHash, BlockNumber, ChainId
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


class Claims:
    """Reads claims, once for each final block of layer 1."""

    def __init__(self, reader: ChainReader, rollup: ChainId) -> None:
        self._reader = reader
        self._rollup = rollup
        self._kept: tuple[BlockHash, Rules, list[Claim]] | None = None

    async def newest(self, rules: Rules) -> list[Claim]:
        """Claims without a flaw among the newest ones, and those flawed ones that are newer than
        all of them; newest first. Raises `BadChainData` when layer 1 makes no sense."""
        final = await self._reader.final_header()
        if self._kept is None or self._kept[:2] != (final.hash, rules):
            self._kept = (final.hash, rules, await self._read(rules, final.number))
        return self._kept[2]

    async def _read(self, rules: Rules, block: BlockNumber) -> list[Claim]:
        is_old = rules.generation is Generation.OUTPUTS
        counter = contracts.NEXT_OUTPUT if is_old else contracts.GAME_COUNT
        (answer,) = await self._reader.read([View(rules.root_source, counter)], block=block)
        end = read_number(answer, "the number of roots on layer 1", below=U64)
        found: list[Claim] = []
        for _ in range(PAGES):
            first = max(0, end - PAGE)
            indices = range(end - 1, first - 1, -1)
            page = self._outputs if is_old else self._games
            found += await page(rules, indices, block)
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

    async def _games(self, rules: Rules, indices: Sequence[int], block: BlockNumber) -> list[Claim]:
        views = [View(rules.root_source, contracts.GAME_AT + word(index)) for index in indices]
        listed = []
        for index, answer in zip(indices, await self._reader.read(views, block=block), strict=True):
            kind, _, proxy = read_words(answer, 3, f"game {index}")
            number = number_of(kind, "a game's type", below=2**32)
            listed.append((index, number, contracts.address_of(proxy)))
        return await self._look_into(rules, listed)

    async def _look_into(
        self, rules: Rules, listed: Sequence[tuple[int, int, Address]]
    ) -> list[Claim]:
        """What each game claims and is worth now, in one read."""
        if not listed:
            return []
        views: list[View] = []
        for _, kind, game in listed:
            views += [*self._claim_views(kind, game), *state_views(rules, game)]
        answers = await self._reader.read(views)
        size = len(views) // len(listed)
        found = []
        for at, (index, kind, game) in enumerate(listed):
            mine = answers[at * size : (at + 1) * size]
            flaw = read_state(rules, mine[2:]).flaw
            root, place = bytes(32), 0
            try:
                root = read_word(mine[0], f"game {index}")
                place = read_number(mine[1], f"game {index}", below=2**53)
            except BadChainData as error:
                flaw = flaw or f"unreadable ({error})"
            flaw = flaw or ("" if any(root) else "a zero root")
            found.append(Claim(index, root, place, kind in SUPER_TYPES, game, kind, flaw))
        return found

    def _claim_views(self, kind: int, game: Address) -> list[View]:
        if kind in SUPER_TYPES:
            root = View(game, contracts.ROOT_CLAIM_OF + word(self._rollup))
            return [root, View(game, contracts.GAME_SEQUENCE)]
        return [View(game, contracts.ROOT_CLAIM), View(game, contracts.GAME_BLOCK)]
