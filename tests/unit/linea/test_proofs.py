"""The trees of a finalisation: values of Linea's own tests, and what is no proof."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relayer.devnet.linea_operator import roots_of
from relayer.keccak import keccak256
from relayer.trees.append_only import root_from_proof
from tests.unit.linea.world import confirmed

FIVE = [bytes([17 * turn]) * 32 for turn in range(5)]
"""0x00.., 0x11.., ... 0x44..: the leaves of `SparseMerkleTree.test.ts` in Linea's SDK."""
FIVE_ROOT = bytes.fromhex("97d2505cd0c868c753353628fbb1aacc52bba62ddebac0536256e1e8560d4f27")
ONE = bytes([0x10]) * 32
ONE_ROOT = bytes.fromhex("fc3dfe7470d41465e77e7c929170578b14a066a2272c2469b60162c5282e05a6")


@pytest.mark.parametrize(("leaves", "root"), [(FIVE, FIVE_ROOT), ([ONE], ONE_ROOT)])
def test_roots_of_lineas_own_tests(leaves: list[bytes], root: bytes) -> None:
    """Depth 5: the values that Linea's SDK has in its tests."""
    ours = confirmed(leaves, depth=5, roots=[root])
    assert ours.is_whole()
    (proof,) = ours.proofs([(101 + len(leaves) - 1, leaves[-1])])
    assert proof is not None
    assert (proof.root, proof.leaf, len(proof.siblings)) == (root, len(leaves) - 1, 5)


@given(count=st.integers(1, 40), depth=st.integers(1, 5), pick=st.randoms())
def test_every_message_of_every_tree_has_a_proof(
    count: int, depth: int, pick: random.Random
) -> None:
    """Any number of messages, any depth: each leads to one of the roots, at its own place."""
    leaves = [keccak256(b"%d" % turn) for turn in range(count)]
    ours = confirmed(leaves, depth=depth)
    assert ours.is_whole()
    wanted = [(101 + turn, leaf) for turn, leaf in enumerate(leaves)]
    pick.shuffle(wanted)
    for (number, leaf), proof in zip(wanted, ours.proofs(wanted), strict=True):
        assert proof is not None
        assert proof.leaf == (number - 101) % 2**depth
        assert root_from_proof(leaf, proof.leaf, proof.siblings) == proof.root
        assert proof.root == roots_of(leaves, depth)[(number - 101) // 2**depth]


def test_a_message_that_is_not_there_has_no_proof() -> None:
    """A number outside, or another hash at the number."""
    ours = confirmed(FIVE, depth=5)
    wanted = [(100, FIVE[0]), (106, FIVE[4]), (101, FIVE[1]), (102, FIVE[1])]
    found = ours.proofs(wanted)
    assert [proof is None for proof in found] == [True, True, True, False]


def test_one_hidden_message_spoils_just_the_trees_from_there_on() -> None:
    """What leads to an accepted root is proved, the rest is not, and the whole is not whole."""
    leaves = [keccak256(b"%d" % turn) for turn in range(8)]
    ours = confirmed(leaves[:6], depth=2, roots=roots_of(leaves, 2))
    assert not ours.is_whole()
    found = ours.proofs([(101 + turn, leaves[turn]) for turn in range(6)])
    assert [proof is not None for proof in found] == [True] * 4 + [False] * 2
