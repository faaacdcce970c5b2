"""What the messenger's refusals mean."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode as abi_encode

from relayer.adapter import Action, Outcome
from relayer.message import Reason
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.reverts import classify_outcome


def error(text: str) -> bytes:
    return bytes.fromhex("08c379a0") + abi_encode(["string"], [text])


@pytest.mark.parametrize(
    ("revert", "text", "action", "reason"),
    [
        (error("Message was already successfully executed"), "", "done", "delivered_by_other"),
        (b"", "reverted: Message was already successfully executed", "done", "delivered_by_other"),
        (error("Batch is not finalized"), "", "wait", "awaiting_root"),
        (error("Invalid proof"), "", "retry", "rebuild_proof"),
        (error("Pausable: paused"), "", "wait", "paused"),
        (error("Message is already in execution"), "", "retry", "call_reverted"),
        (error("Forbid to call self"), "", "dead", "undeliverable"),
        (contracts.FORBIDDEN_TARGET, "", "dead", "undeliverable"),
        (error("Invalid message sender"), "", "dead", "invalid_message"),
        (b"", "out of gas", "retry", "out_of_gas"),
        (error("something new"), "", "retry", "call_reverted"),
        (b"\x01\x02\x03\x04", "", "retry", "call_reverted"),
        (b"", "", "retry", "call_reverted"),
    ],
)
def test_refusals(revert: bytes, text: str, action: str, reason: str) -> None:
    """Each known refusal has its action and reason; an unknown one is tried again."""
    verdict = classify_outcome(Outcome(revert, text, mined=False))
    assert (verdict.action, verdict.reason) == (Action(action), Reason(reason))
    assert verdict.detail


def test_mined_without_delivery_is_the_target_s_failure() -> None:
    """The messenger swallowed the target's revert: the only way to be mined in vain."""
    for text in ("mined in 0x12 without delivery", ""):
        verdict = classify_outcome(Outcome(b"", text, mined=True))
        assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)
        assert verdict.detail


def test_a_rival_that_was_first_is_a_success() -> None:
    """Mined after a rival's delivery, the refusal says so."""
    revert = error("Message was already successfully executed")
    assert classify_outcome(Outcome(revert, "", mined=True)).action is Action.DONE
