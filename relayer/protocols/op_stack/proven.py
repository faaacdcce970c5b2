"""Proofs that stand at the portal, ours or anybody's: which are good, and when each can be used.

Two clocks run for a proved withdrawal: the proof must be old enough, and so must the root that it
was made against (since an output was proposed, or since a game was resolved).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.abi import address_of, address_word, word
from relayer.adapter import ChainReader, Clock, View
from relayer.message import Address, ChainId, Timestamp
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import (
    MAX_TIME,
    Withdrawal,
    number_of,
    read_number,
    read_words,
)
from relayer.protocols.op_stack.games import GameState, read_states
from relayer.protocols.op_stack.portal import Generation, Rules

PROOF_CLOCK, OUTPUT_CLOCK, GAME_CLOCK = "proof_maturity", "output_finality", "game_finality"
ENDS = 16
"""Submitters looked at from either end of the portal's list, which anybody may lengthen."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One proof of a withdrawal."""

    submitter: Address | None
    """None where the portal keeps one proof for all."""
    against: str
    """The output or the game, for people."""
    clocks: tuple[Clock, Clock]
    """The last second in which it is too young, of the proof and of its root."""
    flaw: str = ""
    """Why it is good for nothing any more."""
    bar: str = ""
    """Why the portal takes no other proof yet."""
    game: GameState | None = None
    """None when it was made against an output."""
    doubt: str = ""
    """Why another one is made where that can be, though this may still come to be used."""
    newer_than: int = 0
    """The other one must be on a game created after this second."""

    @property
    def is_open(self) -> bool:
        """Its game is not decided yet, so its clock shows when it could be at the earliest."""
        return self.game is not None and self.game.is_open

    @property
    def due(self) -> int:
        """The first second in which it can be used."""
        return int(max(clock.at for clock in self.clocks)) + 1


async def read_proofs(
    reader: ChainReader, rules: Rules, withdrawals: Sequence[Withdrawal], *, rollup: ChainId
) -> dict[bytes, list[Proof]]:
    """All proofs of each withdrawal, by its hash, at the latest block.

    Raises `BadChainData` when the portal makes no sense.
    """
    if rules.generation is Generation.OUTPUTS:
        return await _of_outputs(reader, rules, withdrawals)
    return await _of_games(reader, rules, withdrawals, rollup=rollup)


def best_of(proofs: Sequence[Proof]) -> Proof | None:
    """The proof without a flaw that can be used first; None when none is good.

    Those in doubt, or whose game is open, come after the others.
    """
    good = [proof for proof in proofs if not proof.flaw]
    return min(good, key=lambda proof: (bool(proof.doubt), proof.is_open, proof.due), default=None)


# --- outputs -----------------------------------------------------------------------------------


async def _of_outputs(
    reader: ChainReader, rules: Rules, withdrawals: Sequence[Withdrawal]
) -> dict[bytes, list[Proof]]:
    hashes = [one.hash for one in withdrawals]
    views = [View(rules.portal, contracts.PROVEN_OLD + digest) for digest in hashes]
    proven: dict[bytes, tuple[bytes, int, int]] = {}
    for digest, answer in zip(hashes, await reader.read(views), strict=True):
        words = read_words(answer, 3, "OptimismPortal.provenWithdrawals")
        if any(words[1]):
            at = number_of(words[1], "a proof's time", below=MAX_TIME)
            index = number_of(words[2], "an output's index", below=2**128)
            proven[digest] = (words[0], at, index)
    indices = sorted({index for _, _, index in proven.values()})
    views = [View(rules.root_source, contracts.OUTPUT + word(index)) for index in indices]
    outputs = dict(zip(indices, await reader.read(views), strict=True))
    found: dict[bytes, list[Proof]] = {digest: [] for digest in hashes}
    for digest, (root, at, index) in proven.items():
        now_there, proposed, bar = bytes(32), 0, ""
        if not outputs[index].ok:
            # the portal compares with the output of that index before it takes another proof
            bar = f"proved against output {index}, which was deleted: it must be proposed again"
        else:
            now_there, told, _ = read_words(outputs[index], 3, f"output {index}")
            proposed = number_of(told, "an output's time", below=MAX_TIME)
        flaw = "" if now_there == root else "deleted, or another one by now"
        clocks = (
            Clock(PROOF_CLOCK, Timestamp(at + rules.proof_delay_s)),
            Clock(OUTPUT_CLOCK, Timestamp(proposed + rules.root_delay_s)),
        )
        found[digest].append(Proof(None, f"output {index}", clocks, flaw, bar))
    return found


# --- games -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the portal holds of one proof."""

    digest: bytes
    submitter: Address
    game: Address
    at: int


async def _of_games(
    reader: ChainReader, rules: Rules, withdrawals: Sequence[Withdrawal], *, rollup: ChainId
) -> dict[bytes, list[Proof]]:
    hashes = [one.hash for one in withdrawals]
    submitters = await _submitters(reader, rules, hashes)
    stored = await _stored(reader, rules, submitters)
    states = await read_states(reader, rules, (one.game for one in stored), rollup=rollup)
    found: dict[bytes, list[Proof]] = {digest: [] for digest in hashes}
    for one in stored:
        found[one.digest].append(_proof(rules, one, states[one.game]))
    return found


async def _submitters(
    reader: ChainReader, rules: Rules, hashes: Sequence[bytes]
) -> list[tuple[bytes, Address]]:
    """Who has proved each; the list has an entry for every proof ever made."""
    views = [View(rules.portal, contracts.SUBMITTER_COUNT + digest) for digest in hashes]
    places: list[tuple[bytes, int]] = []
    for digest, answer in zip(hashes, await reader.read(views), strict=True):
        count = read_number(answer, "numProofSubmitters", below=2**32)
        ends = {*range(min(count, ENDS)), *range(max(0, count - ENDS), count)}
        places += [(digest, place) for place in sorted(ends)]
    views = [View(rules.portal, contracts.SUBMITTER + digest + word(at)) for digest, at in places]
    pairs: dict[tuple[bytes, Address], None] = {}
    for (digest, _), answer in zip(places, await reader.read(views), strict=True):
        pairs[digest, address_of(read_words(answer, 1, "proofSubmitters")[0])] = None
    return list(pairs)


async def _stored(
    reader: ChainReader, rules: Rules, pairs: Sequence[tuple[bytes, Address]]
) -> list[_Stored]:
    views = [
        View(rules.portal, contracts.PROVEN + digest + address_word(submitter))
        for digest, submitter in pairs
    ]
    found = []
    for (digest, submitter), answer in zip(pairs, await reader.read(views), strict=True):
        game, at = read_words(answer, 2, "OptimismPortal.provenWithdrawals")
        if any(at):
            proved_at = number_of(at, "a proof's time", below=MAX_TIME)
            found.append(_Stored(digest, submitter, address_of(game), proved_at))
    return found


def _proof(rules: Rules, stored: _Stored, game: GameState) -> Proof:
    decided = game.created + game.clock_s if game.resolved is None else game.resolved
    return Proof(
        submitter=stored.submitter,
        against=f"game {stored.game}",
        clocks=(
            Clock(PROOF_CLOCK, Timestamp(stored.at + rules.proof_delay_s)),
            Clock(GAME_CLOCK, Timestamp(decided + rules.root_delay_s)),
        ),
        flaw=game.flaw,
        game=game,
    )
