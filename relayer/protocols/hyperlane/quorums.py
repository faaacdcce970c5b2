"""Finds a quorum of validators for the messages of one origin, and says who is missing when not.

A signed root counts only when our own tree, rebuilt from the chain's logs, has the same root at
that index: validators cannot make us deliver on a lie.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from relayer.adapter import TreeReader
from relayer.errors import BadChainData
from relayer.message import Address, Reason, Timestamp, TreeId
from relayer.protocols.hyperlane.checkpoints import (
    Checkpoint,
    Quorum,
    SignedCheckpoint,
    ValidatorSet,
    count_quorum,
)
from relayer.protocols.hyperlane.memory import Memory
from relayer.protocols.hyperlane.validators import Published, Validators
from relayer.trees.append_only import root_from_proof

MAX_ROUNDS = 4
"""Lower indices tried after the highest one had bad signatures."""
MAX_DETAIL_CHARS = 600


@dataclass(frozen=True, slots=True)
class Shortfall:
    """No quorum (yet), and why in words a person can act on."""

    reason: Reason
    detail: str
    disproved: bool = False
    """Enough validators and our own tree have another message at the index."""


@dataclass(slots=True)
class _Round:
    """What was collected for one index; contradictions of our tree move to `trouble`."""

    index: int
    signed: dict[Address, SignedCheckpoint]
    trouble: dict[Address, str]
    contradicted: str = ""
    """What enough validators signed that our tree does not have."""
    disproved: bool = False
    """They signed our tree's root, for another message."""


@dataclass(frozen=True, slots=True)
class _Truth:
    """Our own tree at one index: its root, and a test for the leaf there."""

    root: bytes
    is_leaf: Callable[[bytes], bool]

    def has(self, checkpoint: Checkpoint) -> bool:
        """True when the checkpoint says what our tree says."""
        return checkpoint.root == self.root and self.is_leaf(checkpoint.message_id)


class Quorums:
    """Quorums of one origin's checkpoints."""

    def __init__(
        self,
        tree: TreeId,
        trees: TreeReader,
        validators: Validators,
        now: Callable[[], Timestamp],
    ) -> None:
        self._tree = tree
        self._trees = trees
        self._validators = validators
        self._newest: Memory[ValidatorSet, Quorum] = Memory(now, lifetime_s=float("inf"), most=1024)

    async def level(self, members: ValidatorSet) -> int:
        """The highest index up to which enough validators say they have signed, -1 when none."""
        said = await self._validators.latest(members.validators)
        return members.level(_indices(said))

    async def newest(
        self, members: ValidatorSet, *, leaves: Sequence[int], size: int
    ) -> Quorum | Shortfall:
        """The quorum at the highest index that our tree of `size` leaves can check.

        It is at or above the lowest of `leaves`, so that one root serves as many as it can. One
        found before is good enough when it is above all of them.
        """
        kept = self._newest.get(members)
        if kept is not None and kept.checkpoint.index >= max(leaves):
            if await self._root(kept.checkpoint.index, size) == kept.checkpoint.root:
                return kept
            self._newest.forget(members)
        said = await self._validators.latest(members.validators)
        barred: dict[Address, str] = {}
        best: _Round | None = None
        for _ in range(MAX_ROUNDS):
            able = {v: i for v, i in _indices(said).items() if v not in barred}
            index = min(members.level(able), size - 1)
            if index < min(leaves):
                break
            voters = [v for v, latest in able.items() if latest is not None and latest >= index]
            best = await self._collect(voters, said, index)
            truth = await self._truth(index)
            quorum = _true_quorum(members, best, truth)
            if quorum is not None:
                return self._newest.put(members, quorum)
            self._note_lies(members, best, truth)
            if not best.trouble:
                break
            barred |= best.trouble
        return _missing(members, said, best, leaf=min(leaves), barred=barred)

    async def exact(
        self, members: ValidatorSet, leaves: Collection[tuple[int, bytes]]
    ) -> dict[tuple[int, bytes], Quorum | Shortfall]:
        """A quorum for each (index, leaf), signed at exactly that index with exactly that leaf.

        Of two messages that claim one index, one is a lie, and stands in nobody's way.
        """
        said = await self._validators.latest(members.validators)
        order = sorted(set(leaves))
        roots = await self._trees.roots(self._tree, [index + 1 for index, _ in order])
        answers = await asyncio.gather(
            *(
                self._exact_one(members, said, index, truth=_Truth(root, leaf.__eq__))
                for (index, leaf), root in zip(order, roots, strict=True)
            )
        )
        return dict(zip(order, answers, strict=True))

    async def _exact_one(
        self,
        members: ValidatorSet,
        said: Mapping[Address, Published],
        index: int,
        *,
        truth: _Truth,
    ) -> Quorum | Shortfall:
        """Ask just enough validators first, and the others only when those do not suffice."""
        voters = [
            v
            for v in dict.fromkeys(members.validators)
            if (latest := said[v].index) is not None and latest >= index
        ]
        enough = _enough(members, voters)
        found = _Round(index, {}, {})
        for group in (voters[:enough], voters[enough:]):
            more = await self._collect(group, said, index)
            found.signed |= more.signed
            found.trouble |= more.trouble
            quorum = _true_quorum(members, found, truth)
            if quorum is not None:
                return quorum
        self._note_lies(members, found, truth)
        return _missing(members, said, found, leaf=index, barred=found.trouble)

    async def _root(self, index: int, size: int) -> bytes:
        if index >= size:
            return b""
        return (await self._trees.roots(self._tree, [index + 1]))[0]

    async def _truth(self, index: int) -> _Truth:
        root = (await self._trees.roots(self._tree, [index + 1]))[0]
        (siblings,) = await self._trees.proofs(self._tree, [(index, index + 1)])
        return _Truth(root, lambda leaf: root_from_proof(leaf, index, siblings) == root)

    async def _collect(
        self, voters: Sequence[Address], said: Mapping[Address, Published], index: int
    ) -> _Round:
        async def one(validator: Address) -> SignedCheckpoint | str:
            try:
                return await self._validators.checkpoint(validator, said[validator], index)
            except BadChainData as error:
                return str(error)

        answers = await asyncio.gather(*map(one, voters))
        found = _Round(index, {}, {})
        for validator, answer in zip(voters, answers, strict=True):
            if isinstance(answer, str):
                found.trouble[validator] = answer
            else:
                found.signed[validator] = answer
        return found

    def _note_lies(self, members: ValidatorSet, found: _Round, truth: _Truth) -> None:
        """Move signatures of what our tree does not have to `found.trouble`, and forget them."""
        for quorum in count_quorum(members, found.signed):
            found.disproved = quorum.checkpoint.root == truth.root
            found.contradicted = (
                f"validators signed root 0x{quorum.checkpoint.root.hex()} and message"
                f" 0x{quorum.checkpoint.message_id.hex()} at index {found.index},"
                f" our tree has root 0x{truth.root.hex()}"
            )
        for validator, signed in list(found.signed.items()):
            if not truth.has(signed.checkpoint):
                same_root = signed.checkpoint.root == truth.root
                found.trouble[validator] = "wrong message" if same_root else "wrong root"
                del found.signed[validator]
                self._validators.forget([validator], found.index)


def _true_quorum(members: ValidatorSet, found: _Round, truth: _Truth) -> Quorum | None:
    """A quorum on what our own tree says, if there is one."""
    quorums = count_quorum(members, found.signed)
    return next((quorum for quorum in quorums if truth.has(quorum.checkpoint)), None)


def _indices(said: Mapping[Address, Published]) -> dict[Address, int | None]:
    return {validator: answer.index for validator, answer in said.items()}


def _enough(members: ValidatorSet, voters: Sequence[Address]) -> int:
    """How many of `voters`, from the first, would reach the threshold."""
    weight_of: dict[Address, int] = {}
    for validator, weight in zip(members.validators, members.weights, strict=True):
        weight_of[validator] = weight_of.get(validator, 0) + weight
    total = 0
    for count, voter in enumerate(voters, start=1):
        total += weight_of[voter]
        if total >= members.threshold:
            return count
    return len(voters)


def _missing(
    members: ValidatorSet,
    said: Mapping[Address, Published],
    found: _Round | None,
    *,
    leaf: int,
    barred: Mapping[Address, str],
) -> Shortfall:
    """Name every validator that does not count for `leaf`, and why."""
    if found is not None and found.contradicted:
        return Shortfall(Reason.ROOT_MISMATCH, found.contradicted, found.disproved)
    index = leaf if found is None else found.index
    lines = []
    have = 0
    for validator, weight in zip(members.validators, members.weights, strict=True):
        answer = said[validator]
        if validator in barred:
            lines.append(f"{validator} {barred[validator]}")
        elif answer.index is None:
            lines.append(f"{validator} {answer.trouble or 'no file'}")
        elif answer.index < index:
            lines.append(f"{validator} is at index {answer.index}")
        else:
            have += weight
    where = f"for leaf {leaf}" + ("" if index == leaf else f" at index {index}")
    text = f"{have} of {members.threshold} signatures {where}: {'; '.join(lines)}"
    return Shortfall(Reason.AWAITING_QUORUM, text[:MAX_DETAIL_CHARS])
