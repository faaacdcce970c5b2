"""What the inbox's and the ISMs' refusals mean. Pure.

Source: `solidity/contracts/{Mailbox.sol,isms/**}` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

from relayer.abi import PANIC, revert_text
from relayer.adapter import Action, Outcome, Verdict
from relayer.message import Reason

ENFORCED_PAUSE = bytes.fromhex("d93c0665")
"""EnforcedPause() of OpenZeppelin contracts 5."""

_MEANINGS: tuple[tuple[tuple[str, ...], Action, Reason], ...] = (
    (("already delivered",), Action.DONE, Reason.DELIVERED_BY_OTHER),
    (
        ("mailbox: bad version", "bad version", "unexpected destination"),
        Action.DEAD,
        Reason.INVALID_MESSAGE,
    ),
    (
        (
            "!threshold",
            "invalid merkle index metadata",
            "ecdsa: invalid signature",
            "ism verification failed",
            "did not verify",
            "no multisigism threshold",
            "!module",
            "!verify",
        ),
        Action.RETRY,
        Reason.REBUILD_PROOF,
    ),
    (("pausable: paused", "enforcedpause"), Action.WAIT, Reason.PAUSED),
    (("ratelimit", "rate limit"), Action.WAIT, Reason.RATE_LIMITED),
    (("out of gas",), Action.RETRY, Reason.OUT_OF_GAS),
)


def classify_outcome(outcome: Outcome) -> Verdict:
    """Say what a failed `Mailbox.process` means."""
    said = revert_text(outcome.revert)
    words = f"{said} {outcome.text}".lower()
    if outcome.revert[:4] == ENFORCED_PAUSE:
        return Verdict(Action.WAIT, Reason.PAUSED, "EnforcedPause()")
    detail = said or outcome.text[:200] or "reverted without a reason"
    for signs, action, reason in _MEANINGS:
        if any(sign in words for sign in signs):
            return Verdict(action, reason, detail)
    if outcome.revert[:4] == PANIC:
        return Verdict(Action.RETRY, Reason.CALL_REVERTED, detail)
    return Verdict(Action.RETRY, Reason.TARGET_FAILED, detail)
