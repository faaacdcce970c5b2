"""What the refusals of Linea's contracts and of recipients mean. Pure.

Source: the errors of Consensys/linea-monorepo `contracts/src/{messaging,security}/**`, with the
forms that earlier versions of them had.
"""

from __future__ import annotations

from relayer.abi import address_word, revert_text, word
from relayer.adapter import Action, Outcome, Verdict
from relayer.keccak import keccak256
from relayer.message import Reason, Record

ALREADY_CLAIMED = keccak256(b"MessageAlreadyClaimed(uint256)")[:4]
FEE_PAYMENT_FAILED = keccak256(b"FeePaymentFailed(address)")[:4]
BELIEVED = 3
"""How often the same message may be told to wait by a revert."""

_PAUSED = (Action.WAIT, Reason.PAUSED, "the contract is paused")
_BAD_PROOF = (Action.RETRY, Reason.REBUILD_PROOF)
_ELSEWHERE = (
    Action.WAIT,
    Reason.AWAITING_ROOT,
    "claimed already, or not anchored (any more); its status is read again",
)

_ERRORS: dict[str, tuple[Action, Reason, str]] = {
    "L2MerkleRootDoesNotExist()": (
        Action.WAIT,
        Reason.AWAITING_ROOT,
        "the rollup does not know the root (any more)",
    ),
    "InvalidMerkleProof()": (*_BAD_PROOF, "the proof does not lead to the root"),
    "ProofLengthDifferentThanMerkleDepth(uint256,uint256)": (
        *_BAD_PROOF,
        "the proof has not the depth of the root's tree",
    ),
    "LeafIndexOutOfBounds(uint32,uint32)": (*_BAD_PROOF, "the leaf is not in the tree"),
    "ProofIsEmpty()": (*_BAD_PROOF, "the proof is empty"),
    "MessageAlreadyClaimed(uint256)": (
        Action.DONE,
        Reason.DELIVERED_BY_OTHER,
        "claimed already",
    ),
    # L2 says the same of what is claimed and of what is not there yet
    "MessageDoesNotExistOrHasAlreadyBeenClaimed(bytes32)": _ELSEWHERE,
    "MessageDoesNotExistOrHasAlreadyBeenClaimed()": _ELSEWHERE,
    "RateLimitExceeded()": (
        Action.WAIT,
        Reason.RATE_LIMITED,
        "the limit of the period is used up",
    ),
    "IsPaused(uint256)": _PAUSED,
    "IsPaused(uint8)": _PAUSED,
    "IsPaused(bytes32)": _PAUSED,
    "ReentrantCall()": (
        Action.RETRY,
        Reason.TARGET_FAILED,
        "the recipient called back into the contract",
    ),
    "MessageSendingFailed(address)": (
        Action.RETRY,
        Reason.TARGET_FAILED,
        "the recipient failed without a reason, or the contract has too little ether",
    ),
    "FeePaymentFailed(address)": (
        Action.HOLD,
        Reason.UNSUPPORTED,
        "fee_recipient does not take the fee with 2300 gas (or the contract has too little ether);"
        " configure another one, then release the message",
    ),
}

_MEANINGS = {
    keccak256(signature.encode())[:4]: Verdict(
        action, reason, f"{signature.partition('(')[0]}: {why}"
    )
    for signature, (action, reason, why) in _ERRORS.items()
}


def classify_outcome(record: Record, outcome: Outcome, *, fee_recipient: str | None) -> Verdict:
    """Say what a failed claim means.

    A recipient's revert arrives unchanged, so one may imitate the contract's own. An error with
    an argument counts only with the contract's. What pauses, limits and statuses really are is read
    before every call, so a message that reverts come back to make wait again and again has such a
    recipient, and uses up its attempts.
    """
    verdict = _MEANINGS.get(outcome.revert[:4])
    if verdict is None or not _is_contracts_own(record, outcome.revert, fee_recipient):
        return _by_recipient(outcome)
    told = sum(moment.detail == verdict.detail for moment in record.timeline)
    if verdict.action is Action.WAIT and told >= BELIEVED:
        detail = f"{verdict.detail}, said {told} times against the contract's views"
        return Verdict(Action.RETRY, Reason.TARGET_FAILED, detail)
    return verdict


def _is_contracts_own(record: Record, revert: bytes, fee_recipient: str | None) -> bool:
    """False for an error that the contract would give another argument, or not give at all.

    Without a `fee_recipient` the caller is paid, an account of ours that takes ether.
    """
    if revert[:4] == ALREADY_CLAIMED:
        return revert[4:] == word(record.message.nonce)
    if revert[:4] == FEE_PAYMENT_FAILED:
        is_paid = record.message.extra.get("fee", "0") != "0"
        return is_paid and fee_recipient is not None and revert[4:] == address_word(fee_recipient)
    return True


def _by_recipient(outcome: Outcome) -> Verdict:
    said = revert_text(outcome.revert)
    if not outcome.revert and "out of gas" in outcome.text.lower():
        return Verdict(Action.RETRY, Reason.OUT_OF_GAS, outcome.text[:200])
    detail = said or outcome.text[:200] or "reverted without a reason"
    return Verdict(Action.RETRY, Reason.TARGET_FAILED, detail)
