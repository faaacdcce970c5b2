"""What the inbox's and the ISMs' refusals mean. Pure.

Source: `solidity/contracts/{Mailbox.sol,isms/**}` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

from relayer.adapter import Action, Outcome, Verdict
from relayer.message import Reason

ERROR_STRING = bytes.fromhex("08c379a0")
"""Error(string)"""
PANIC = bytes.fromhex("4e487b71")
"""Panic(uint256)"""
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


def revert_text(revert: bytes) -> str:
    """A short printable form of revert data, empty for a bare revert."""
    if not revert:
        return ""
    if revert[:4] == ERROR_STRING and len(revert) >= 68:
        size = int.from_bytes(revert[36:68], "big")
        return _printable(revert[68 : 68 + min(size, 200)])
    if revert[:4] == PANIC and len(revert) >= 36:
        return f"Panic(0x{int.from_bytes(revert[4:36], 'big'):02x})"
    return f"custom error 0x{revert[:4].hex()}"


def _printable(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
