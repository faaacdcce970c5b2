"""What a failed claim means, and that a recipient cannot pass its own words off as the outbox's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from relayer.adapter import Action, Call, Outcome, Verdict
from relayer.message import Address, Reason
from relayer.protocols.arbitrum.contracts import execute_call
from tests.unit.arbitrum.world import OUTBOX, RECIPIENT, World, padded, word


def error(signature: str, *words: bytes) -> bytes:
    return keccak(text=signature)[:4] + b"".join(words)


def reason_text(text: str) -> bytes:
    return error("Error(string)", abi_encode(["string"], [text]))


INDEX = word(1)
SOMEBODY = padded("0x" + "5b" * 20)


PROOF = (word(7), word(8))


def verdict(
    revert: bytes,
    text: str = "execution reverted",
    proof: Sequence[bytes] = PROOF,
    **changes: Any,
) -> Verdict:
    """What a revert of leaf 1's claim with a proof means."""
    world = World()
    world.send()
    record = replace(world.send(), **changes)
    call = Call(record.id, Address(OUTBOX), execute_call(proof, 1, send=record.message.payload))
    return world.adapter.classify(record, call, Outcome(revert, text, mined=False))


def root_of_claim() -> bytes:
    """The root that the outbox computes from leaf 1's claim with `PROOF`."""
    world = World()
    world.send()
    item = keccak(world.send().message.payload)
    return keccak(keccak(PROOF[0] + keccak(item)) + PROOF[1])


@pytest.mark.parametrize(
    ("revert", "action", "reason"),
    [
        (error("AlreadySpent(uint256)", INDEX), Action.DONE, Reason.DELIVERED_BY_OTHER),
        (error("UnknownRoot(bytes32)", root_of_claim()), Action.RETRY, Reason.REBUILD_PROOF),
        (error("NotContract(address)", padded(RECIPIENT)), Action.WAIT, Reason.AWAITING_TARGET),
        (error("NotOutbox(address)", padded(OUTBOX)), Action.HOLD, Reason.UNSUPPORTED),
        (
            error("CallTargetNotAllowed(address)", padded(RECIPIENT)),
            Action.DEAD,
            Reason.UNDELIVERABLE,
        ),
        (error("CallNotAllowed()"), Action.RETRY, Reason.TARGET_FAILED),
        (error("BridgeCallFailed()"), Action.RETRY, Reason.TARGET_FAILED),
        (reason_text("no, thank you"), Action.RETRY, Reason.TARGET_FAILED),
        (error("Panic(uint256)", word(0x11)), Action.RETRY, Reason.TARGET_FAILED),
        (error("Whatever()"), Action.RETRY, Reason.TARGET_FAILED),
        (b"", Action.RETRY, Reason.CALL_REVERTED),
    ],
)
def test_every_error_of_the_contracts(revert: bytes, action: Action, reason: Reason) -> None:
    """Done, wait, rebuild, configuration, bug and the recipient's own failures are told apart."""
    found = verdict(revert)
    assert (found.action, found.reason) == (action, reason)
    assert found.detail


@pytest.mark.parametrize(
    "revert",
    [
        error("AlreadySpent(uint256)", word(2)),
        error("AlreadySpent(uint256)"),
        error("NotContract(address)", SOMEBODY),
        error("NotOutbox(address)", SOMEBODY),
        error("CallTargetNotAllowed(address)", SOMEBODY),
        error("UnknownRoot(bytes32)", word(9)),
        error("PathNotMinimal(uint256,uint256)", word(1), word(4)),
        error("PathNotMinimal(uint256,uint256)", word(9), word(8)),
        error("PathNotMinimal(uint256,uint256)"),
        error("ProofTooLong(uint256)", word(2)),
        error("ProofTooLong(uint256)", word(256)),
        error("MerkleProofTooLong(uint256,uint256)", word(2), word(256)),
        error("MerkleProofTooLong(uint256,uint256)", word(257), word(256)),
        error("AlreadySpent(uint256)", INDEX, b"\0"),
    ],
)
def test_an_error_about_something_else_is_the_recipients(revert: bytes) -> None:
    """A recipient that reverts with an outbox's error about another leaf or address failed."""
    found = verdict(revert)
    assert (found.action, found.reason) == (Action.RETRY, Reason.TARGET_FAILED)


@pytest.mark.parametrize(
    ("length", "revert"),
    [
        (0, error("PathNotMinimal(uint256,uint256)", word(1), word(1))),
        (256, error("ProofTooLong(uint256)", word(256))),
        (257, error("MerkleProofTooLong(uint256,uint256)", word(257), word(256))),
    ],
)
def test_a_proof_that_has_a_wrong_form_is_a_bug_of_ours(length: int, revert: bytes) -> None:
    """Believed only of a call whose proof is really so."""
    found = verdict(revert, proof=[word(7)] * length)
    assert (found.action, found.reason) == (Action.HOLD, Reason.INTERNAL_ERROR)
    assert verdict(revert).reason is Reason.TARGET_FAILED


def test_a_recipient_with_code_that_says_it_has_none_spends_attempts() -> None:
    """Waiting for code is free; whoever has code and says NotContract of itself is not believed."""
    liar = error("NotContract(address)", padded(RECIPIENT))
    assert verdict(liar).action is Action.WAIT
    assert verdict(liar, reason=Reason.AWAITING_TARGET).action is Action.RETRY


def test_words_of_the_node_and_of_the_recipient_are_kept() -> None:
    """Out of gas is told by the node's words; the recipient's reason is printable in the detail."""
    assert verdict(b"", "out of gas: 5").reason is Reason.OUT_OF_GAS
    assert verdict(reason_text("not\ntoday")).detail == "not?today"
    assert (
        verdict(error("Panic(uint256)", word(0x11))).detail
        == "Panic(0x11): arithmetic overflow or underflow"
    )
