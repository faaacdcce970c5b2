"""The append-only keccak-256 tree of outboxes, in one parameterised form.

Only nodes of complete subtrees are stored: they never change, so a proof of any leaf against any
past size needs O(depth) of them, an append is O(1) amortised and a reorg is a truncation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relayer.adapter import EmptyRule, NodeAt, TreeShape
from relayer.errors import BadChainData
from relayer.keccak import keccak256

ZERO_WORD = bytes(32)


def _zero_ladder(levels: int) -> tuple[bytes, ...]:
    ladder = [ZERO_WORD]
    for _ in range(levels):
        ladder.append(keccak256(ladder[-1] + ladder[-1]))
    return tuple(ladder)


_LADDER = _zero_ladder(64)


def peaks(size: int) -> list[NodeAt]:
    """Return the complete subtrees that cover leaves [0, size), left to right."""
    found = []
    first = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            found.append(NodeAt(level, first >> level))
            first += 1 << level
    return found


def append(
    shape: TreeShape, size: int, nodes: Mapping[NodeAt, bytes], leaves: Sequence[bytes]
) -> dict[NodeAt, bytes]:
    """Return every node that `leaves` complete when put after `size` leaves, level 0 included.

    `nodes` must hold `peaks(size)`. Raises `BadChainData` when a leaf is not 32 bytes or the tree
    has no room.
    """
    if size + len(leaves) > 1 << _deepest(shape):
        raise BadChainData(f"no room for {len(leaves)} leaves after {size} in the tree")
    frontier = [nodes[peak] for peak in peaks(size)]
    added: dict[NodeAt, bytes] = {}
    for index, leaf in enumerate(leaves, start=size):
        if len(leaf) != 32:
            raise BadChainData(f"leaf {index} has {len(leaf)} bytes, not 32")
        value, level = leaf, 0
        added[NodeAt(0, index)] = value
        while index >> level & 1:
            value = keccak256(frontier.pop() + value)
            level += 1
            added[NodeAt(level, index >> level)] = value
        frontier.append(value)
    return added


def root(shape: TreeShape, size: int, nodes: Mapping[NodeAt, bytes]) -> bytes:
    """Return the root of the first `size` leaves; `nodes` must hold `peaks(size)`."""
    return _node(shape, NodeAt(_height(shape, size), 0), size=size, nodes=nodes)


def proof_needs(shape: TreeShape, index: int, size: int) -> set[NodeAt]:
    """Return the complete nodes that `proof` of leaf `index` against `size` leaves reads."""
    _check_leaf(index, size)
    needed: set[NodeAt] = set()
    for sibling in _siblings(shape, index, size):
        first, end = _span(sibling)
        if end <= size:
            needed.add(sibling)
        elif first < size:
            needed.update(peak for peak in peaks(size) if _span(peak)[0] >= first)
    return needed


def proof(shape: TreeShape, index: int, size: int, nodes: Mapping[NodeAt, bytes]) -> list[bytes]:
    """Return the siblings of leaf `index` bottom-up, against the tree of the first `size` leaves.

    `nodes` must hold `proof_needs(shape, index, size)`. Raises `BadChainData` when the leaf is
    not among the first `size`.
    """
    _check_leaf(index, size)
    return [
        _node(shape, sibling, size=size, nodes=nodes) for sibling in _siblings(shape, index, size)
    ]


def root_from_proof(leaf: bytes, index: int, siblings: Sequence[bytes]) -> bytes:
    """Return the root that `leaf` at `index` leads to; bit i of `index` set = sibling i is left.

    Raises `BadChainData` when `index` does not fit under that many siblings.
    """
    if index < 0 or index >> len(siblings):
        raise BadChainData(f"leaf index {index} does not fit under {len(siblings)} siblings")
    value = leaf
    for level, sibling in enumerate(siblings):
        pair = sibling + value if index >> level & 1 else value + sibling
        value = keccak256(pair)
    return value


def build(shape: TreeShape, leaves: Sequence[bytes]) -> dict[NodeAt, bytes]:
    """Return all complete nodes of a tree of `leaves`, for trees kept in memory."""
    return append(shape, 0, {}, leaves)


def _deepest(shape: TreeShape) -> int:
    return shape.max_depth if shape.depth is None else shape.depth


def _height(shape: TreeShape, size: int) -> int:
    if shape.depth is not None:
        return shape.depth
    return (size - 1).bit_length() if size else 0


def _span(at: NodeAt) -> tuple[int, int]:
    return at.index << at.level, (at.index + 1) << at.level


def _siblings(shape: TreeShape, index: int, size: int) -> list[NodeAt]:
    return [NodeAt(level, (index >> level) ^ 1) for level in range(_height(shape, size))]


def _check_leaf(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise BadChainData(f"leaf {index} is not among the first {size}")


def _node(shape: TreeShape, at: NodeAt, *, size: int, nodes: Mapping[NodeAt, bytes]) -> bytes:
    """The value of any node in the tree of the first `size` leaves; O(depth) hashes."""
    first, end = _span(at)
    if first >= size:
        return ZERO_WORD if shape.empty is EmptyRule.ZERO else _LADDER[at.level]
    if end <= size:
        return nodes[at]
    level, index = at.level - 1, at.index * 2
    left = _node(shape, NodeAt(level, index), size=size, nodes=nodes)
    right = _node(shape, NodeAt(level, index + 1), size=size, nodes=nodes)
    return keccak256(left + right)
