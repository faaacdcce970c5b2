"""What refusals of portal, messenger and libraries mean."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode as abi_encode

from relayer.adapter import Action, Outcome
from relayer.message import Reason
from relayer.protocols.op_stack.reverts import classify_outcome, is_failed_target


def error(text: str) -> bytes:
    return bytes.fromhex("08c379a0") + abi_encode(["string"], [text])


@pytest.mark.parametrize(
    ("selector", "action", "reason"),
    [
        ("cca6afda", "wait", "awaiting_root"),  # Unproven
        ("d9bc01be", "wait", "awaiting_time"),  # ProofNotOldEnough
        ("332a57f8", "wait", "awaiting_time"),  # InvalidRootClaim
        ("b4caa4e5", "wait", "awaiting_time"),  # InvalidProofTimestamp
        ("f395240e", "wait", "awaiting_root"),  # ImproperDisputeGame
        ("e29927ed", "wait", "awaiting_root"),  # InvalidDisputeGame
        ("730a1074", "done", "delivered_by_other"),  # AlreadyFinalized
        ("b9c3c2ef", "wait", "paused"),  # CallPaused
        ("426149af", "retry", "rebuild_proof"),  # InvalidOutputRootProof
        ("ab581036", "retry", "target_failed"),  # GasEstimation
        ("f480973e", "wait", "paused"),  # CallPaused() of versions 2 and 3
        ("eeae4ed3", "retry", "target_failed"),  # GasEstimation()
        ("13496fda", "dead", "undeliverable"),  # BadTarget()
        ("01020304", "retry", "call_reverted"),
    ],
)
def test_errors_by_selector(selector: str, action: str, reason: str) -> None:
    """Each known error has its action and reason; an unknown one is tried again."""
    verdict = classify_outcome(Outcome(bytes.fromhex(selector), "", mined=False))
    assert (verdict.action, verdict.reason) == (Action(action), Reason(reason))
    assert verdict.detail


@pytest.mark.parametrize(
    ("text", "action", "reason"),
    [
        ("OptimismPortal: withdrawal has already been finalized", "done", "delivered_by_other"),
        ("OptimismPortal: withdrawal has not been proven yet", "wait", "awaiting_root"),
        (
            "OptimismPortal: proven withdrawal finalization period has not elapsed",
            "wait",
            "awaiting_time",
        ),
        (
            "OptimismPortal: output root proven is not the same as current output root",
            "wait",
            "awaiting_root",
        ),
        ("OptimismPortal: invalid output root proof", "retry", "rebuild_proof"),
        ("OptimismPortal: invalid withdrawal inclusion proof", "retry", "rebuild_proof"),
        ("MerkleTrie: ran out of proof elements", "retry", "rebuild_proof"),
        ("OptimismPortal: withdrawal hash has already been proven", "wait", "awaiting_time"),
        (
            "OptimismPortal: output proposal in air-gap",
            "wait",
            "awaiting_time",
        ),
        ("OptimismPortal: dispute game has been blacklisted", "wait", "awaiting_root"),
        ("CrossDomainMessenger: message has already been relayed", "done", "delivered_by_other"),
        ("CrossDomainMessenger: failed to relay message", "retry", "target_failed"),
        ("CrossDomainMessenger: paused", "wait", "paused"),
        ("SafeCall: Not enough gas", "retry", "out_of_gas"),
        ("something new", "retry", "call_reverted"),
    ],
)
def test_errors_by_words(text: str, action: str, reason: str) -> None:
    """As revert data, and as a node's words without any."""
    for outcome in (Outcome(error(text), "", mined=False), Outcome(b"", text, mined=False)):
        verdict = classify_outcome(outcome)
        assert (verdict.action, verdict.reason) == (Action(action), Reason(reason))
        assert text in verdict.detail


def test_mined_in_vain_is_the_targets_failure() -> None:
    """A transaction that was mined without a delivery: portal and messenger swallow reverts."""
    verdict = classify_outcome(Outcome(b"", "mined in 0x01 without delivery", mined=True))
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)


def test_only_an_estimates_refusal_condemns_a_target() -> None:
    """A paused portal, say, tells nothing of the target."""
    assert is_failed_target(bytes.fromhex("ab581036"), "")
    assert is_failed_target(error("CrossDomainMessenger: failed to relay message"), "")
    assert not is_failed_target(bytes.fromhex("b9c3c2ef"), "")
    assert not is_failed_target(b"", "execution reverted")
