"""Every error of the contracts in the engine's words; selectors as in Linea's repository."""

from __future__ import annotations

import pytest

from relayer.adapter import Action, Outcome
from relayer.message import Moment, Reason, Record, Status
from relayer.protocols.linea.reverts import BELIEVED, classify_outcome
from tests.unit.sample_records import NOON, record_of

WORD = bytes(31) + b"\5"

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


def reverted(revert: bytes, text: str = "execution reverted") -> Outcome:
    return Outcome(revert, text, mined=False)


@pytest.mark.parametrize(("selector", "action", "reason"), CASES)
def test_every_error_has_its_meaning(selector: str, action: Action, reason: Reason) -> None:
    """With its arguments or cut short."""
    for tail in (b"", WORD, WORD + WORD):
        verdict = classify_outcome(record_of(), reverted(bytes.fromhex(selector) + tail))
        assert (verdict.action, verdict.reason) == (action, reason)
        assert verdict.detail


def test_a_recipients_words_are_shown() -> None:
    """Error(string), Panic, and what cannot be printed."""
    words = b"not today\n"
    text = bytes.fromhex("08c379a0") + bytes(31) + b"\x20" + bytes(31) + b"\x0a" + words
    assert classify_outcome(record_of(), reverted(text + bytes(22))).detail == "not today?"
    panic = bytes.fromhex("4e487b71") + bytes(31) + b"\x11"
    assert classify_outcome(record_of(), reverted(panic)).detail == "Panic(0x11)"


def test_out_of_gas_is_not_the_recipients_words() -> None:
    """Only when nothing was returned: a recipient may say anything."""
    verdict = classify_outcome(record_of(), reverted(b"", "out of gas"))
    assert verdict.reason is Reason.OUT_OF_GAS
    assert classify_outcome(record_of(), reverted(b"", "")).reason is Reason.TARGET_FAILED


def waited(times: int, detail: str) -> Record:
    lines = [Moment(NOON, Status.WAITING, Reason.RATE_LIMITED, detail)] * times
    return record_of(timeline=tuple(lines))


def test_a_recipient_that_imitates_the_contract_uses_up_its_attempts() -> None:
    """Limits and pauses are read before every call, so reverts cannot make wait for ever."""
    limited = reverted(bytes.fromhex("a74c1c5f"))
    detail = classify_outcome(record_of(), limited).detail
    assert classify_outcome(waited(BELIEVED - 1, detail), limited).action is Action.WAIT
    verdict = classify_outcome(waited(BELIEVED, detail), limited)
    assert (verdict.action, verdict.reason) == (Action.RETRY, Reason.TARGET_FAILED)
    by_views = "takes 2 wei, and 1 of 3 are left in this period"
    assert classify_outcome(waited(9, by_views), limited).action is Action.WAIT
