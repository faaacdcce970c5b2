"""The incremental Merkle tree of Hyperlane's MerkleTreeHook, kept as its 32-node frontier.

Deliberately apart from the relayer's own trees: the validators' roots are an independent word.
Source: `solidity/contracts/libs/Merkle.sol` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

from relayer.errors import BadChainData
from relayer.keccak import keccak256

DEPTH = 32


def _ladder() -> tuple[bytes, ...]:
    zeros = [bytes(32)]
    for _ in range(DEPTH):
        zeros.append(keccak256(zeros[-1] * 2))
    return tuple(zeros)


ZEROS = _ladder()
"""Root of the empty subtree of each height."""


class Frontier:
    """An append-only tree that knows its size and its root."""

    def __init__(self) -> None:
        self.size = 0
        self._branch = list(ZEROS[:DEPTH])

    def append(self, leaf: bytes) -> None:
        """Add the next leaf."""
        if self.size >= 2**DEPTH - 1:
            raise BadChainData("the tree is full")
        self.size += 1
        node, rest = leaf, self.size
        for level in range(DEPTH):
            if rest & 1:
                self._branch[level] = node
                return
            node = keccak256(self._branch[level] + node)
            rest >>= 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        node = ZEROS[0]
        for level in range(DEPTH):
            if self.size >> level & 1:
                node = keccak256(self._branch[level] + node)
            else:
                node = keccak256(node + ZEROS[level])
        return node
