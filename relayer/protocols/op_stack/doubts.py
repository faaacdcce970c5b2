"""Proofs that stand but may come to nothing: of a root that is not ours, or on a forgotten game.

Anybody may prove any withdrawal against any game that lets it, so a stranger's proof is looked
into before it is relied on, like a root before we prove against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from relayer.adapter import ChainReader, Header
from relayer.errors import BadChainData, Permanent, Transient
from relayer.protocols.op_stack.games import GameState
from relayer.protocols.op_stack.proven import Proof
from relayer.protocols.op_stack.snapshots import NoState, Snapshots

OVERDUE_S = 86_400.0
"""A game still open so long after a proof on it could have been used is taken for forgotten: its
players had the clock, any extension and the air gap to end it."""
GAMES = 64
"""Games whose roots are compared for one batch, open ones and those of the latest state first."""
RECKONED = 8
"""Blocks of the rollup whose roots are computed for one batch; the next batch goes on."""


class Doubts:
    """Judges proofs by the rollup's own state."""

    def __init__(self, rollup: ChainReader, snapshots: Snapshots) -> None:
        self._rollup = rollup
        self._snapshots = snapshots

    async def judge(
        self, proofs: Mapping[bytes, Sequence[Proof]], latest: float
    ) -> dict[bytes, list[Proof]]:
        """The same proofs, those against wrong roots with a flaw, and others with their doubts."""
        games = {one.game for mine in proofs.values() for one in mine if one.game and not one.flaw}
        ours = await self._reckon(games)
        return {
            digest: [_judged(one, ours, latest) for one in mine] for digest, mine in proofs.items()
        }

    async def _reckon(self, games: Iterable[GameState]) -> dict[GameState, bytes | None]:
        """Our root of each game's place; None where we have none, no entry where none was looked
        for. A rollup that is down casts no doubt on anything."""
        ours: dict[GameState, bytes | None] = {}
        ordered = sorted(games, key=lambda one: (one.is_open, one.place), reverse=True)
        tried = 0
        try:
            final = await self._rollup.final_header() if ordered else None
            for game in ordered[:GAMES]:
                assert final is not None
                block = await self._block_of(game, final)
                root = None if block is None else await self._known(game, block)
                if block is not None and root is None:
                    if tried == RECKONED:
                        continue
                    tried += 1
                    root = await self._computed(game, block)
                ours[game] = root
        except (Transient, Permanent):
            return ours
        return ours

    async def _block_of(self, game: GameState, final: Header) -> int | None:
        """The layer-2 block that its root is of; None when ours is not final up to there."""
        if game.place > (final.timestamp if game.is_super else final.number):
            return None
        return await self._snapshots.last_block(game.place, final) if game.is_super else game.place

    async def _known(self, game: GameState, block: int) -> bytes | None:
        known = self._snapshots.known_root(block)
        if known is None or known == game.root:
            return known
        return await self._snapshots.standing_root(block)

    async def _computed(self, game: GameState, block: int) -> bytes | None:
        try:
            snapshot = await self._snapshots.of(block, [])
        except (NoState, BadChainData):
            return None
        if snapshot.output.root == game.root:
            await self._snapshots.keep(snapshot)
        return snapshot.output.root


def _judged(proof: Proof, ours: Mapping[GameState, bytes | None], latest: float) -> Proof:
    game = proof.game
    if game is None or proof.flaw:
        return proof
    root = ours.get(game, game.root)
    if root is not None and root != game.root:
        told = f"0x{game.root.hex()[:16]}.. where ours is 0x{root.hex()[:16]}.."
        return replace(proof, flaw=f"of a wrong root, {told}")
    if game.is_open and latest - proof.due > OVERDUE_S:
        return replace(proof, doubt="no newer game serves yet", newer_than=game.created)
    if game.is_open and root is None:
        return replace(proof, doubt="its root cannot be checked, and no other game serves yet")
    return proof
