"""The state-proof verifier, measured by a proof of a public chain and by py-trie."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import rlp
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from trie import HexaryTrie
from trie.exceptions import BadTrieProof

from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.trees.state_proof import EMPTY_ROOT, prove_account, prove_slot, walk
from tests.unit.changed_proofs import changed

FIXTURE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "sepolia_state_proof.json").read_text()
)
MUTATIONS = 10_000


def octets(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def listed(name: str) -> list[bytes]:
    """The nodes of one of the fixture's proofs."""
    return [bytes(node) for node in rlp.decode(octets(FIXTURE[name]))]


HEADER = octets(FIXTURE["rlpBlockHeader"])
STATE_ROOT = bytes(rlp.decode(HEADER)[3])
ACCOUNT, SLOT = octets(FIXTURE["account"]), octets(FIXTURE["slot"])


# --- a public chain ------------------------------------------------------------------------


def test_a_public_chains_proof_holds() -> None:
    """Header, account and slot of a real block, down to the value that was published."""
    assert keccak256(HEADER) == octets(FIXTURE["blockHash"])
    account = prove_account(STATE_ROOT, ACCOUNT, listed("rlpAccountProof"))
    value, proved = prove_slot(account.storage_root, SLOT, listed("rlpStorageProof"))
    assert value == int(FIXTURE["slotValue"], 16)
    assert list(proved.nodes) == listed("rlpStorageProof")


def test_nothing_else_is_proved_by_it() -> None:
    """Another account, another slot, another root: all refused."""
    account = prove_account(STATE_ROOT, ACCOUNT, listed("rlpAccountProof"))
    for wrong in (ACCOUNT[::-1], bytes(20)):
        with pytest.raises(BadChainData):
            prove_account(STATE_ROOT, wrong, listed("rlpAccountProof"))
    for slot in (SLOT[::-1], bytes(32)):
        with pytest.raises(BadChainData):
            prove_slot(account.storage_root, slot, listed("rlpStorageProof"))
    with pytest.raises(BadChainData):
        prove_slot(STATE_ROOT, SLOT, listed("rlpStorageProof"))


@pytest.mark.parametrize("name", ["rlpAccountProof", "rlpStorageProof"])
def test_no_mutation_is_accepted(name: str) -> None:
    """Ten thousand changes of bytes, lengths, nodes and order of a real proof."""
    whole = listed(name)
    storage_root = prove_account(STATE_ROOT, ACCOUNT, listed("rlpAccountProof")).storage_root
    check: Callable[..., object] = partial(prove_account, STATE_ROOT, ACCOUNT)
    if name == "rlpStorageProof":
        check = partial(prove_slot, storage_root, SLOT)
    rng = random.Random(9_567_705)
    tried = 0
    while tried < MUTATIONS:
        nodes = changed(whole, rng)
        if nodes == whole:
            continue
        tried += 1
        with pytest.raises(BadChainData):
            check(nodes)


# --- an independent implementation -----------------------------------------------------------

KEYS = st.one_of(
    st.binary(min_size=32, max_size=32),
    # long common prefixes make extensions, and leaves so short that they stand in their parents
    st.tuples(st.integers(0, 31), st.binary(min_size=32, max_size=32)).map(
        lambda pair: bytes(pair[0]) + pair[1][pair[0] :]
    ),
    st.integers(0, 300).map(lambda number: number.to_bytes(32, "big")),
)
TRIES = st.dictionaries(KEYS, st.binary(min_size=1, max_size=60), max_size=40)


def grown(content: Mapping[bytes, bytes]) -> HexaryTrie:
    trie = HexaryTrie({})
    for key, value in content.items():
        trie[key] = value
    return trie


def theirs(root: bytes, key: bytes, nodes: list[bytes]) -> bytes | None:
    """What py-trie makes of a proof, None for absence; BadTrieProof when it does not hold."""
    return HexaryTrie.get_from_proof(root, key, [rlp.decode(node) for node in nodes]) or None


def proof_of(trie: HexaryTrie, key: bytes) -> list[bytes]:
    return [rlp.encode(node) for node in trie.get_proof(key)]


@seed(1)
@settings(max_examples=400, deadline=None)
@given(content=TRIES, stranger=KEYS)
def test_it_agrees_with_py_trie_on_any_trie(content: dict[bytes, bytes], stranger: bytes) -> None:
    """What is there is proved with its value, what is not is proved absent."""
    trie = grown(content)
    for key in [*content, stranger]:
        nodes = proof_of(trie, key)
        if trie.root_hash == EMPTY_ROOT:
            nodes = []
        assert walk(trie.root_hash, key, nodes).value == content.get(key)
        if nodes:
            assert theirs(trie.root_hash, key, nodes) == content.get(key)


@seed(2)
@settings(max_examples=400, deadline=None)
@given(content=TRIES.filter(bool), choice=st.randoms(use_true_random=False))
def test_inlined_nodes_may_be_listed_or_left_out(
    content: dict[bytes, bytes], choice: random.Random
) -> None:
    """Both forms are taken, and the way is told with every node on its own either way."""
    trie = grown(content)
    key = choice.choice(sorted(content))
    whole = proof_of(trie, key)
    short = [node for place, node in enumerate(whole) if place == 0 or len(node) >= 32]
    ways = [walk(trie.root_hash, key, form) for form in (whole, short)]
    assert [way.value for way in ways] == [content[key]] * 2
    assert ways[0].nodes == ways[1].nodes


@seed(3)
@settings(max_examples=400, deadline=None)
@given(content=TRIES.filter(bool), rng=st.randoms(use_true_random=False))
def test_it_takes_no_changed_proof_that_py_trie_reads_otherwise(
    content: dict[bytes, bytes], rng: random.Random
) -> None:
    """Where ours accepts a changed proof (a node inlined or not), the value is still the true one;
    py-trie, which looks nodes up by hash, never finds another value either."""
    trie = grown(content)
    key = rng.choice(sorted(content))
    whole = proof_of(trie, key)
    for _ in range(10):
        nodes = changed(whole, rng)
        try:
            ours = walk(trie.root_hash, key, nodes).value
        except BadChainData:
            continue
        assert ours == content[key]
        assert theirs(trie.root_hash, key, nodes) == ours


@seed(4)
@settings(max_examples=200, deadline=None)
@given(content=TRIES.filter(lambda content: len(content) > 1), rng=st.randoms())
def test_both_refuse_a_proof_with_a_node_missing(
    content: dict[bytes, bytes], rng: random.Random
) -> None:
    """A node that is referred to by its hash cannot be done without."""
    trie = grown(content)
    key = rng.choice(sorted(content))
    whole = proof_of(trie, key)
    needed = [place for place, node in enumerate(whole) if place == 0 or len(node) >= 32]
    place = rng.choice(needed)
    nodes = whole[:place] + whole[place + 1 :]
    with pytest.raises(BadChainData):
        walk(trie.root_hash, key, nodes)
    with pytest.raises(BadTrieProof):
        theirs(trie.root_hash, key, nodes)
