"""Every error of the contracts in the engine's words; selectors as in Linea's repository."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relayer.adapter import Action, Outcome, Verdict
from relayer.message import Moment, Reason, Status
from relayer.protocols.linea.reverts import BELIEVED, classify_outcome
from tests.unit.sample_records import NOON, record_of

WORD = bytes(31) + b"\5"
NUMBER = 5
FEE_RECIPIENT = "0x" + WORD[12:].hex()
PAID = replace(record_of().message, nonce=NUMBER, extra={"fee": "7"})

CASES = [
    ("4e686675", Action.WAIT, Reason.AWAITING_ROOT),  # L2MerkleRootDoesNotExist()
    ("b05e92fa", Action.RETRY, Reason.REBUILD_PROOF),  # InvalidMerkleProof()
    ("5e3fd6ad", Action.RETRY, Reason.REBUILD_PROOF),  # ProofLengthDifferentThanMerkleDepth
    ("f7ec9097", Action.RETRY, Reason.REBUILD_PROOF),  # LeafIndexOutOfBounds
    ("335a4a90", Action.DONE, Reason.DELIVERED_BY_OTHER),  # MessageAlreadyClaimed
    ("992d87c3", Action.WAIT, Reason.AWAITING_ROOT),  # MessageDoesNotExistOr...(bytes32)
    ("a273b9e6", Action.WAIT, Reason.AWAITING_ROOT),  # the same without argument
    ("a74c1c5f", Action.WAIT, Reason.RATE_LIMITED),  # RateLimitExceeded()
    ("db246dde", Action.WAIT, Reason.PAUSED),  # IsPaused(uint256)
    ("c0a71b58", Action.WAIT, Reason.PAUSED),  # IsPaused(uint8)
    ("8698dd2b", Action.WAIT, Reason.PAUSED),  # IsPaused(bytes32)
    ("54613443", Action.RETRY, Reason.TARGET_FAILED),  # MessageSendingFailed(address)
    ("a57c4df4", Action.HOLD, Reason.UNSUPPORTED),  # FeePaymentFailed(address)
    ("37ed32e8", Action.RETRY, Reason.TARGET_FAILED),  # ReentrantCall()
    ("deadbeef", Action.RETRY, Reason.TARGET_FAILED),  # the recipient's own
]


def said(revert: bytes, text: str = "execution reverted", **changes: Any) -> Verdict:
    """What a revert of message 5 means."""
    record = record_of(message=PAID, **changes)
    return classify_outcome(record, reverted(revert, text), fee_recipient=FEE_RECIPIENT)


def reverted(revert: bytes, text: str = "execution reverted") -> Outcome:
    return Outcome(revert, text, mined=False)


@pytest.mark.parametrize(("selector", "action", "reason"), CASES)
def test_every_error_has_its_meaning(selector: str, action: Action, reason: Reason) -> None:
    """With its arguments or cut short."""
    verdict = said(bytes.fromhex(selector) + WORD)
    assert (verdict.action, verdict.reason) == (action, reason)
    assert verdict.detail


@pytest.mark.parametrize("selector", ["335a4a90", "a57c4df4"])
@pytest.mark.parametrize("tail", [b"", bytes(32), WORD[1:], WORD + b"\0", bytes(31) + b"\6"])
def test_an_error_with_another_argument_is_the_recipients(selector: str, tail: bytes) -> None:
    """The contract names this message's number and our fee recipient; a recipient may not."""
    verdict = said(bytes.fromhex(selector) + tail)
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)


@pytest.mark.parametrize(("fee", "fee_recipient"), [("0", FEE_RECIPIENT), ("7", None)])
def test_without_a_fee_for_others_nobody_fails_to_take_it(
    fee: str, fee_recipient: str | None
) -> None:
    """Who calls takes ether; so it is the recipient that says this."""
    unpaid = record_of(message=replace(PAID, extra={"fee": fee}))
    revert = bytes.fromhex("a57c4df4") + WORD
    verdict = classify_outcome(unpaid, reverted(revert), fee_recipient=fee_recipient)
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)


def test_a_recipients_words_are_shown() -> None:
    """Error(string), Panic, and what cannot be printed."""
    words = b"not today\n"
    text = bytes.fromhex("08c379a0") + bytes(31) + b"\x20" + bytes(31) + b"\x0a" + words
    assert said(text + bytes(22)).detail == "not today?"
    panic = bytes.fromhex("4e487b71") + bytes(31) + b"\x11"
    assert said(panic).detail == "Panic(0x11): arithmetic overflow or underflow"


def test_out_of_gas_is_not_the_recipients_words() -> None:
    """Only when nothing was returned: a recipient may say anything."""
    verdict = said(b"", "out of gas")
    assert verdict.reason is Reason.OUT_OF_GAS
    assert said(b"", "").reason is Reason.TARGET_FAILED


def waited(times: int, detail: str) -> tuple[Moment, ...]:
    return (Moment(NOON, Status.WAITING, Reason.RATE_LIMITED, detail),) * times


def test_a_recipient_that_imitates_the_contract_uses_up_its_attempts() -> None:
    """Limits and pauses are read before every call, so reverts cannot make wait for ever."""
    limited = bytes.fromhex("a74c1c5f")
    detail = said(limited).detail
    assert said(limited, timeline=waited(BELIEVED - 1, detail)).action is Action.WAIT
    verdict = said(limited, timeline=waited(BELIEVED, detail))
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)
    by_views = "takes 2 wei, and 1 of 3 are left in this period"
    assert said(limited, timeline=waited(9, by_views)).action is Action.WAIT
