"""The append-only tree against golden values of four protocols and a naive reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relayer.adapter import EmptyRule, NodeAt, TreeShape
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.trees.append_only import (
    append,
    build,
    peaks,
    proof,
    proof_needs,
    root,
    root_from_proof,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
FIXED = TreeShape(empty=EmptyRule.LADDER, depth=32)
CHUNK = TreeShape(empty=EmptyRule.LADDER, depth=5)
GROWING = TreeShape(empty=EmptyRule.LADDER, depth=None, max_depth=40)
SPARSE = TreeShape(empty=EmptyRule.ZERO, depth=None)
SHALLOW = TreeShape(empty=EmptyRule.LADDER, depth=7)
MOST = 70


def fixture(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((FIXTURES / name).read_text())["cases"]
    return cases


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def leaf(index: int) -> bytes:
    return keccak256(b"leaf" + word(index))


def naive_levels(shape: TreeShape, leaves: list[bytes]) -> list[list[bytes]]:
    """All levels by padding every level to its full width: slow, obvious, and not our algorithm."""
    height = shape.depth if shape.depth is not None else max(len(leaves) - 1, 0).bit_length()
    empty = bytes(32)
    level = list(leaves)
    levels = []
    for _ in range(height):
        if len(level) % 2 or not level:
            level = [*level, empty] + ([empty] if not level else [])
        levels.append(level)
        above = []
        for left, right in zip(level[::2], level[1::2], strict=True):
            nothing = shape.empty is EmptyRule.ZERO and left == right == bytes(32)
            above.append(bytes(32) if nothing else keccak256(left + right))
        if shape.empty is EmptyRule.LADDER:
            empty = keccak256(empty + empty)
        level = above
    levels.append(level or [empty])
    return levels


def naive_proof(shape: TreeShape, index: int, levels: list[list[bytes]]) -> list[bytes]:
    ladder = [bytes(32)]
    for _ in levels:
        below = ladder[-1]
        ladder.append(keccak256(below + below) if shape.empty is EmptyRule.LADDER else below)
    found = []
    for height, level in enumerate(levels[:-1]):
        at = (index >> height) ^ 1
        found.append(level[at] if at < len(level) else ladder[height])
    return found


@pytest.mark.parametrize("case", fixture("hyperlane_merkle.json"), ids=lambda case: case["name"])
def test_hyperlane_roots_and_proofs(case: dict[str, Any]) -> None:
    """Depth-32 ladder roots and both ends of every published proof path are reproduced."""
    leaves = [unhex(value) for value in case["leaves"]]
    nodes = build(FIXED, leaves)
    assert root(FIXED, len(leaves), nodes) == unhex(case["root"])
    for index, path in enumerate(case["paths"]):
        siblings = proof(FIXED, index, len(leaves), nodes)
        assert len(siblings) == 32
        assert siblings[:2] == [unhex(value) for value in path]
        assert root_from_proof(leaves[index], index, siblings) == unhex(case["root"])


@pytest.mark.parametrize("case", fixture("lxly_roots.json"), ids=lambda c: str(len(c["leaves"])))
def test_lxly_roots(case: dict[str, Any]) -> None:
    """The LxLy exit tree is the same depth-32 ladder."""
    leaves = [unhex(value) for value in case["leaves"]]
    assert root(FIXED, len(leaves), build(FIXED, leaves)) == unhex(case["root"])


@pytest.mark.parametrize(
    "case", fixture("arbitrum_withdrawals.json"), ids=lambda case: str(case["index"])
)
def test_arbitrum_withdrawals(case: dict[str, Any]) -> None:
    """A real withdrawal's leaf leads through its siblings, zero words too, to the root."""
    item = keccak256(
        unhex(case["l2Sender"])
        + unhex(case["to"])
        + word(case["l2Block"])
        + word(case["l1Block"])
        + word(case["l2Timestamp"])
        + word(int(case["value"]))
        + unhex(case["data"])
    )
    siblings = [unhex(value) for value in case["proof"]]
    assert root_from_proof(keccak256(item), case["index"], siblings) == unhex(case["root"])


SCROLL_ROOTS = [
    "0000000000000000000000000000000000000000000000000000000000000001",
    "e90b7bceb6e7df5418fb78d8ee546e97c83a08bbccc01a0644d599ccd2a7c2e0",
    "222ff5e0b5877792c2bc1670e2ccd0c2c97cd7bb1672a57d598db05092d3d72c",
    "a9bb8c3f1f12e9aa903a50c47f314b57610a3ab32f2d463293f58836def38d36",
]
"""github.com/scroll-tech/scroll-contracts, AppendOnlyMerkleTree test: leaves 1, 2, 3, 4."""


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_scroll_roots(size: int) -> None:
    """The growing ladder tree reproduces Scroll's roots of the leaves 1, 2, 3, 4 at every size."""
    nodes = build(GROWING, [word(number) for number in range(1, 5)])
    assert root(GROWING, size, nodes).hex() == SCROLL_ROOTS[size - 1]


LINEA_ROOTS = [
    ([], "0eb01ebfc9ed27500cd4dfc979272d1f0913cc9f66540d7e8005811109e1cf2d"),
    (
        ["00", "11", "22", "33", "44"],
        "97d2505cd0c868c753353628fbb1aacc52bba62ddebac0536256e1e8560d4f27",
    ),
    (["10"], "fc3dfe7470d41465e77e7c929170578b14a066a2272c2469b60162c5282e05a6"),
]
"""github.com/Consensys/linea-monorepo, sdk SparseMerkleTree test, depth 5."""


@pytest.mark.parametrize(("leaves", "expected"), LINEA_ROOTS)
def test_linea_chunks(leaves: list[str], expected: str) -> None:
    """A chunk of fixed depth 5 reproduces Linea's sparse tree roots."""
    nodes = build(CHUNK, [unhex(value * 32) for value in leaves])
    assert root(CHUNK, len(leaves), nodes).hex() == expected


@pytest.mark.parametrize("shape", [SHALLOW, GROWING, SPARSE], ids=["fixed", "growing", "sparse"])
def test_every_leaf_against_every_past_size(shape: TreeShape) -> None:
    """Nodes stored once at the final size give the naive root and proof of every earlier size."""
    leaves = [leaf(index) for index in range(MOST)]
    nodes = build(shape, leaves)
    for size in range(MOST + 1):
        levels = naive_levels(shape, leaves[:size])
        assert root(shape, size, nodes) == levels[-1][0]
        for index in range(size):
            siblings = proof(shape, index, size, nodes)
            assert siblings == naive_proof(shape, index, levels)
            assert root_from_proof(leaves[index], index, siblings) == levels[-1][0]


@pytest.mark.parametrize("shape", [FIXED, GROWING, SPARSE], ids=["fixed", "growing", "sparse"])
def test_declared_needs_are_enough(shape: TreeShape) -> None:
    """`proof` reads only what `proof_needs` names, `root` and `append` only the peaks."""
    leaves = [leaf(index) for index in range(MOST)]
    nodes = build(shape, leaves)
    for size in range(1, MOST):
        crown = {at: nodes[at] for at in peaks(size)}
        assert root(shape, size, crown) == root(shape, size, nodes)
        added = append(shape, size, crown, leaves[size:])
        assert {**added, **build(shape, leaves[:size])} == nodes
        for index in {0, size // 2, size - 1}:
            needs = proof_needs(shape, index, size)
            assert proof(shape, index, size, {at: nodes[at] for at in needs}) == proof(
                shape, index, size, nodes
            )


def test_appends_in_any_split_are_the_same_nodes() -> None:
    """One append of 70 leaves and many appends of 1 to 9 store the same nodes."""
    leaves = [leaf(index) for index in range(MOST)]
    nodes: dict[NodeAt, bytes] = {}
    size = step = 0
    while size < MOST:
        step = step % 9 + 1
        nodes |= append(FIXED, size, nodes, leaves[size : size + step])
        size = min(size + step, MOST)
    assert nodes == build(FIXED, leaves)


def test_truncation_then_other_leaves() -> None:
    """After a reorg back to 33 leaves, other leaves give the tree that never saw the old ones."""
    old = [leaf(index) for index in range(50)]
    new = old[:33] + [leaf(1000 + index) for index in range(20)]
    nodes = build(GROWING, old)
    nodes |= append(GROWING, 33, nodes, new[33:])
    clean = build(GROWING, new)
    for size in range(34, len(new) + 1):
        assert root(GROWING, size, nodes) == root(GROWING, size, clean)
        assert proof(GROWING, 32, size, nodes) == proof(GROWING, 32, size, clean)


def test_peaks_cover_the_leaves_in_order() -> None:
    """Peaks are disjoint, adjacent, falling in height, and end at the size."""
    for size in range(200):
        edge = 0
        for at in peaks(size):
            assert at.index << at.level == edge
            edge = (at.index + 1) << at.level
        assert edge == size
        levels = [at.level for at in peaks(size)]
        assert levels == sorted(set(levels), reverse=True)


def test_what_does_not_fit_is_refused() -> None:
    """Leaves beyond the depth, leaves of a wrong size and indices outside the tree are errors."""
    full = build(CHUNK, [leaf(index) for index in range(32)])
    with pytest.raises(BadChainData, match="no room"):
        append(CHUNK, 32, full, [leaf(32)])
    with pytest.raises(BadChainData, match="31 bytes"):
        build(CHUNK, [bytes(31)])
    for index, size in [(32, 32), (-1, 3), (0, 0)]:
        with pytest.raises(BadChainData, match="not among"):
            proof(CHUNK, index, size, full)
        with pytest.raises(BadChainData, match="not among"):
            proof_needs(CHUNK, index, size)
    with pytest.raises(BadChainData, match="does not fit"):
        root_from_proof(leaf(0), 4, [bytes(32)] * 2)
