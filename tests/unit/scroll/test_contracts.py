"""Selectors, events, leaves and calls are those of Scroll's contracts."""

from __future__ import annotations

import pytest
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from hypothesis import given
from hypothesis import strategies as st

from relayer.adapter import ViewResult
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.adapter import SHAPE
from relayer.protocols.scroll.contracts import Withdrawal, decode_withdrawal
from relayer.trees.append_only import build, proof, root, root_from_proof
from tests.unit.scroll.world import withdrawal

WITHDRAWALS = st.builds(
    Withdrawal,
    sender=st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex())),
    target=st.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex())),
    value=st.integers(0, 2**256 - 1),
    nonce=st.integers(0, 2**256 - 1),
    body=st.binary(max_size=300),
)
ROOTS = (
    "0000000000000000000000000000000000000000000000000000000000000001",
    "e90b7bceb6e7df5418fb78d8ee546e97c83a08bbccc01a0644d599ccd2a7c2e0",
    "222ff5e0b5877792c2bc1670e2ccd0c2c97cd7bb1672a57d598db05092d3d72c",
    "a9bb8c3f1f12e9aa903a50c47f314b57610a3ab32f2d463293f58836def38d36",
)
"""Of the leaves 1, 2, 3, 4: github.com/scroll-tech/scroll,
`bridge-history-api/internal/utils/withdraw_trie_test.go`, and scroll-contracts,
`src/test/L2MessageQueue.t.sol`."""


def test_events_and_selectors() -> None:
    """As computed by the Solidity compiler for `@scroll-tech/contracts` 4.0.0."""
    found = [
        contracts.SENT_MESSAGE, contracts.APPEND_MESSAGE, contracts.FINALIZE_BATCH,
        contracts.RELAYED_MESSAGE, contracts.FAILED_RELAYED_MESSAGE,
    ]  # fmt: skip
    assert [topic.hex() for topic in found] == [
        "104371f3b442861a2a7b82a070afbbaab748bb13757bf47769e170e37809ec1e",
        "faa617c2d8ce12c62637dbce76efcc18dae60574aa95709bdcedce7e76071693",
        "26ba82f907317eedc97d0cbef23de76a43dd6edb563bdb6e9407645b950a7a2d",
        "4641df4a962071e12719d8c8c8e5ac7fc4d97b927346a3d7a335b1f7517e133c",
        "99d0e048484baa1b1540b1367cb128acd7ab2946d1ed91ec10e3c85e4bf51b8f",
    ]
    assert contracts.RELAY_MESSAGE.hex() == "8ef1332e"
    assert contracts.RELAY_WITH_PROOF.hex() == "c311b6fc"
    assert contracts.IS_EXECUTED.hex() == "088681a7"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_golden_roots_and_their_proofs(size: int) -> None:
    """The adapter's tree shape gives Scroll's roots, and every leaf proves to them."""
    leaves = [number.to_bytes(32, "big") for number in range(1, size + 1)]
    nodes = build(SHAPE, leaves)
    assert root(SHAPE, size, nodes).hex() == ROOTS[size - 1]
    for index, leaf in enumerate(leaves):
        siblings = proof(SHAPE, index, size, nodes)
        assert len(siblings) == (size - 1).bit_length()
        assert root_from_proof(leaf, index, siblings).hex() == ROOTS[size - 1]


@given(one=WITHDRAWALS)
def test_the_leaf_s_preimage_is_abi_encoded(one: Withdrawal) -> None:
    """What is hashed is `abi.encodeWithSignature("relayMessage(...)")`, and reads back."""
    fields = [one.sender, one.target, one.value, one.nonce, one.body]
    expected = abi_encode(["address", "address", "uint256", "uint256", "bytes"], fields)
    assert one.encode() == bytes.fromhex("8ef1332e") + expected
    assert decode_withdrawal(one.encode()) == one


@given(one=WITHDRAWALS, batch=st.integers(0, 2**64), count=st.integers(0, 40))
def test_the_delivery_call_is_abi_encoded(one: Withdrawal, batch: int, count: int) -> None:
    """`relayMessageWithProof` takes the fields and the concatenated siblings."""
    siblings = [keccak256(bytes([place])) for place in range(count)]
    data = one.delivery_call(batch, siblings)
    kinds = ["address", "address", "uint256", "uint256", "bytes", "(uint256,bytes)"]
    fields = abi_decode(kinds, data[4:])
    assert data[:4].hex() == "c311b6fc"
    assert fields == (
        one.sender, one.target, one.value, one.nonce, one.body, (batch, b"".join(siblings)),
    )  # fmt: skip


@given(junk=st.binary(max_size=400))
def test_junk_is_no_message(junk: bytes) -> None:
    """A stored payload in any but the one canonical form is refused."""
    with pytest.raises(BadChainData):
        decode_withdrawal(junk)


def test_a_message_with_anything_added_or_taken_is_refused() -> None:
    """Trailing bytes, lost bytes, dirty padding and a far-off length do not read back."""
    good = withdrawal(3, body=b"abc").encode()
    dirty = good[:-1] + b"\x01"
    far = good[:164] + (2**255).to_bytes(32, "big") + good[196:]
    for bad in (good + bytes(32), good[:-32], dirty, far):
        with pytest.raises(BadChainData):
            decode_withdrawal(bad)


def test_an_answer_is_one_word_or_an_error() -> None:
    """A contract that is not there answers nothing, which is not zero."""
    assert contracts.answer_word(ViewResult(True, bytes(32)), "it") == bytes(32)
    for bad in (ViewResult(True, b""), ViewResult(False, bytes(32)), ViewResult(True, bytes(33))):
        with pytest.raises(BadChainData, match="it does not answer"):
            contracts.answer_word(bad, "it")
