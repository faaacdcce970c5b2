"""The trees of one finalisation: its messages in order, 2**depth to a tree, filled up with zeros.

Source: `ts-libs/sdk/**/merkleTree` and `getMessageProof` of Consensys/linea-monorepo. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import EmptyRule, TreeShape
from relayer.protocols.linea.events import Finalisation
from relayer.trees import append_only


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that a message is in a root; checked."""

    root: bytes
    leaf: int
    """Its place in the tree of that root."""
    siblings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A finalisation with the messages of its blocks, numbered without a gap."""

    finalisation: Finalisation
    first_number: int
    leaves: Sequence[bytes]

    def is_whole(self) -> bool:
        """Whether these messages make just the roots that the rollup accepted."""
        roots = [
            append_only.root(self._shape, len(part), append_only.build(self._shape, part))
            for part in (self._tree(turn) for turn in range(-(-len(self.leaves) // self._width)))
        ]
        return tuple(roots) == self.finalisation.roots

    def proofs(self, wanted: Sequence[tuple[int, bytes]]) -> list[Proof | None]:
        """A proof for each (message number, hash); None when it is in no accepted root."""
        trees: dict[int, list[int]] = {}
        for turn, (number, digest) in enumerate(wanted):
            place = number - self.first_number
            if 0 <= place < len(self.leaves) and self.leaves[place] == digest:
                trees.setdefault(place // self._width, []).append(turn)
        found: list[Proof | None] = [None] * len(wanted)
        for tree, turns in trees.items():
            leaves = self._tree(tree)
            nodes = append_only.build(self._shape, leaves)
            for turn in turns:
                number, digest = wanted[turn]
                leaf = (number - self.first_number) % self._width
                siblings = append_only.proof(self._shape, leaf, len(leaves), nodes)
                root = append_only.root_from_proof(digest, leaf, siblings)
                if root in self.finalisation.roots:
                    found[turn] = Proof(root, leaf, tuple(siblings))
        return found

    @property
    def _width(self) -> int:
        return 1 << self.finalisation.depth

    @property
    def _shape(self) -> TreeShape:
        return TreeShape(EmptyRule.LADDER, self.finalisation.depth)

    def _tree(self, turn: int) -> Sequence[bytes]:
        return self.leaves[turn * self._width : (turn + 1) * self._width]
