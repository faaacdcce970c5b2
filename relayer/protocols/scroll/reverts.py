"""What the layer-1 messenger's refusals mean. Pure.

A target's own revert never shows here: the messenger swallows it and the transaction succeeds.
Source: `src/L1/L1ScrollMessenger.sol` and what it inherits, scroll-tech/scroll-contracts.
"""

from __future__ import annotations

from relayer.abi import revert_text
from relayer.adapter import Action, Outcome, Verdict
from relayer.message import Reason
from relayer.protocols.scroll.contracts import FORBIDDEN_TARGET

_NAMES = {FORBIDDEN_TARGET: "ErrorForbidToCallMessageQueue()"}

_MEANINGS: tuple[tuple[str, Action, Reason], ...] = (
    ("message was already successfully executed", Action.DONE, Reason.DELIVERED_BY_OTHER),
    ("batch is not finalized", Action.WAIT, Reason.AWAITING_ROOT),
    ("invalid proof", Action.RETRY, Reason.REBUILD_PROOF),
    ("pausable: paused", Action.WAIT, Reason.PAUSED),
    ("message is already in execution", Action.RETRY, Reason.CALL_REVERTED),
    ("forbid to call self", Action.DEAD, Reason.UNDELIVERABLE),
    ("errorforbidtocallmessagequeue", Action.DEAD, Reason.UNDELIVERABLE),
    ("invalid message sender", Action.DEAD, Reason.INVALID_MESSAGE),
    ("out of gas", Action.RETRY, Reason.OUT_OF_GAS),
)


def classify_outcome(outcome: Outcome) -> Verdict:
    """Say what a `relayMessageWithProof` that delivered nothing means."""
    said = revert_text(outcome.revert, _NAMES)
    detail = said or outcome.text[:300]
    words = f"{said} {outcome.text}".lower()
    for sign, action, reason in _MEANINGS:
        if sign in words:
            return Verdict(action, reason, detail)
    if outcome.mined and not outcome.revert:
        return Verdict(
            Action.RETRY, Reason.TARGET_FAILED, detail or "the target failed (FailedRelayedMessage)"
        )
    return Verdict(Action.RETRY, Reason.CALL_REVERTED, detail or "reverted without a reason")
