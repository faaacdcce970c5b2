"""Checkpoints: digest, signatures and what is counted as a quorum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from relayer.errors import BadChainData
from relayer.message import Address
from relayer.protocols.hyperlane.checkpoints import (
    Checkpoint,
    SignedCheckpoint,
    ValidatorSet,
    count_quorum,
    domain_hash,
    parse_checkpoint,
    signer,
    unweighted,
)
from tests.unit.hyperlane.world import HOOK, ORIGIN_DOMAIN, checkpoint_json, padded

FIXTURES = Path(__file__).parents[2] / "fixtures"
CASES = json.loads((FIXTURES / "hyperlane_domain_hash.json").read_text())["cases"]
ACCOUNT = Account.from_key(b"\x11" * 32)
A, B, C = (Address("0x" + digit * 40) for digit in "abc")


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["domain"]))
def test_domain_hash_vectors(case: dict[str, Any]) -> None:
    """Hyperlane's own domain hashes are reproduced."""
    found = domain_hash(case["domain"], bytes.fromhex(case["mailbox"][2:]))
    assert "0x" + found.hex() == case["expectedDomainHash"]


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("v_shift", [0, 27])
def test_signatures_of_another_library(index: int, v_shift: int) -> None:
    """A checkpoint that `eth_account` signed is its account's, v given as 27/28 or 0/1."""
    content = checkpoint_json(ACCOUNT, index, b"\x01" * 32, b"\x02" * 32, v_shift=v_shift)
    signed = parse_checkpoint(json.dumps(content).encode())
    assert signed.signature[64] in (27, 28)
    assert "0x" + signed.signature.hex() == content["serialized_signature"]
    assert signer(signed) == ACCOUNT.address.lower()
    expected = Checkpoint(ORIGIN_DOMAIN, padded(HOOK), b"\x01" * 32, index, b"\x02" * 32)
    assert signed.checkpoint == expected


def test_leading_zeros_may_be_left_out() -> None:
    """r and s are published as numbers: a short one is padded to its 32 bytes."""
    for index in range(1000):
        content = checkpoint_json(ACCOUNT, index, b"\x01" * 32, b"\x02" * 32)
        if len(content["signature"]["r"]) < 66:
            break
    else:
        pytest.fail("no short r among 1000 signatures")
    signed = parse_checkpoint(json.dumps(content).encode())
    assert signer(signed) == ACCOUNT.address.lower()


def test_a_changed_checkpoint_is_somebody_elses() -> None:
    """Each field is under the signature."""
    content = checkpoint_json(ACCOUNT, 4, b"\x01" * 32, b"\x02" * 32)
    inner = content["value"]["checkpoint"]
    for change in ({"root": "0x" + "03" * 32}, {"index": 5}, {"mailbox_domain": 7}):
        changed = {**content, "value": {**content["value"], "checkpoint": {**inner, **change}}}
        signed = parse_checkpoint(json.dumps(changed).encode())
        assert signer(signed) != ACCOUNT.address.lower()


BROKEN: list[tuple[str, Any]] = [
    ("v", 29),
    ("v", True),
    ("v", "27"),
    ("r", "0x" + "1" * 65),
    ("r", "0xzz"),
    ("r", 5),
    ("r", "0x"),
    ("s", "0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1"),
    ("s", "-0x1"),
    ("s", "0x-1"),
]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_broken_signatures_are_refused(name: str, value: Any) -> None:
    """Signatures that the contract would refuse, or that are none, are errors."""
    content = checkpoint_json(ACCOUNT, 4, b"\x01" * 32, b"\x02" * 32)
    content["signature"][name] = value
    with pytest.raises(BadChainData):
        parse_checkpoint(json.dumps(content).encode())


def test_zero_signature_is_nobodys() -> None:
    """r = s = 0 recovers to no key."""
    content = checkpoint_json(ACCOUNT, 4, b"\x01" * 32, b"\x02" * 32)
    content["signature"] = {"r": "0x0", "s": "0x0", "v": 27}
    with pytest.raises(BadChainData, match="bad signature"):
        signer(parse_checkpoint(json.dumps(content).encode()))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{}",
        b'{"value": 3, "signature": 4}',
        b'{"value": {"checkpoint": null, "message_id": "0x"}, "signature": {}}',
        b"[" * 16_000,
        b'{"a":' * 3_000,
        b"9" * 16_000,
        b'{"value": NaN, "signature": Infinity}',
    ],
)
def test_hostile_files_are_refused(raw: bytes) -> None:
    """Whatever a validator publishes, reading it ends in `BadChainData` or a checkpoint."""
    with pytest.raises(BadChainData):
        parse_checkpoint(raw)


def signed_by(checkpoint: Checkpoint, mark: int) -> SignedCheckpoint:
    return SignedCheckpoint(checkpoint, bytes([mark]) * 65)


def test_quorum_follows_the_set_and_stops_at_the_threshold() -> None:
    """Order is the set's whatever the order of arrival, and no signature is superfluous."""
    one = Checkpoint(1, bytes(32), b"\x01" * 32, 0, b"\x02" * 32)
    signed = {C: signed_by(one, 3), A: signed_by(one, 1), B: signed_by(one, 2)}
    (quorum,) = count_quorum(unweighted([A, B, C], 2), signed)
    assert quorum.signatures == (b"\x01" * 65, b"\x02" * 65)
    assert count_quorum(unweighted([A, B, C], 4), signed) == []
    assert count_quorum(unweighted([A, B, C], 0), signed) == []


def test_quorum_counts_only_the_same_checkpoint() -> None:
    """Signatures of different checkpoints do not add up."""
    one = Checkpoint(1, bytes(32), b"\x01" * 32, 0, b"\x02" * 32)
    other = Checkpoint(1, bytes(32), b"\x03" * 32, 0, b"\x02" * 32)
    members = unweighted([A, B, C], 2)
    assert count_quorum(members, {A: signed_by(one, 1), B: signed_by(other, 2)}) == []
    signed = {A: signed_by(one, 1), B: signed_by(other, 2), C: signed_by(one, 3)}
    (quorum,) = count_quorum(members, signed)
    assert quorum.signatures == (b"\x01" * 65, b"\x03" * 65)


def test_outsiders_do_not_count() -> None:
    """A signature of nobody in the set is left out."""
    one = Checkpoint(1, bytes(32), b"\x01" * 32, 0, b"\x02" * 32)
    assert count_quorum(unweighted([A, B], 2), {A: signed_by(one, 1), C: signed_by(one, 3)}) == []


@pytest.mark.parametrize(
    ("weights", "threshold", "latest", "level"),
    [
        ((1, 1, 1), 2, {A: 5, B: 3, C: 9}, 5),
        ((1, 1, 1), 3, {A: 5, B: 3, C: 9}, 3),
        ((1, 1, 1), 1, {A: 5, B: 3, C: 9}, 9),
        ((1, 1, 1), 2, {A: 5, B: None, C: None}, -1),
        ((1, 1, 1), 0, {A: 5}, -1),
        ((1, 1, 1), 4, {A: 5, B: 5, C: 5}, -1),
        ((7, 2, 1), 8, {A: 5, B: 3, C: 9}, 5),
        ((7, 2, 1), 9, {A: 5, B: 3, C: 9}, 3),
        ((1, 1, 1), 2, {}, -1),
    ],
)
def test_level(
    weights: tuple[int, ...], threshold: int, latest: dict[Address, int | None], level: int
) -> None:
    """The level is the highest index that validators of enough weight have reached."""
    assert ValidatorSet((A, B, C), weights, threshold).level(latest) == level
