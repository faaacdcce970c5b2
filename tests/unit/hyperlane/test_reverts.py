"""What a failed delivery means."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode as abi_encode

from relayer.adapter import Action, Outcome
from relayer.message import Reason
from relayer.protocols.hyperlane.reverts import classify_outcome


def error(text: str) -> bytes:
    return bytes.fromhex("08c379a0") + abi_encode(["string"], [text])


@pytest.mark.parametrize(
    ("revert", "text", "action", "reason"),
    [
        (error("Mailbox: already delivered"), "", Action.DONE, Reason.DELIVERED_BY_OTHER),
        (b"", "execution reverted: Mailbox: already delivered", Action.DONE, None),
        (error("!threshold"), "", Action.RETRY, Reason.REBUILD_PROOF),
        (error("Invalid merkle index metadata"), "", Action.RETRY, Reason.REBUILD_PROOF),
        (error("ECDSA: invalid signature"), "", Action.RETRY, Reason.REBUILD_PROOF),
        (error("Mailbox: ISM verification failed"), "", Action.RETRY, Reason.REBUILD_PROOF),
        (error("Mailbox: unexpected destination"), "", Action.DEAD, Reason.INVALID_MESSAGE),
        (error("Mailbox: bad version"), "", Action.DEAD, Reason.INVALID_MESSAGE),
        (error("Pausable: paused"), "", Action.WAIT, Reason.PAUSED),
        (bytes.fromhex("d93c0665"), "", Action.WAIT, Reason.PAUSED),
        (error("RateLimitExceeded"), "", Action.WAIT, Reason.RATE_LIMITED),
        (b"", "out of gas", Action.RETRY, Reason.OUT_OF_GAS),
        (
            bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big"),
            "",
            Action.RETRY,
            Reason.CALL_REVERTED,
        ),
        (error("no, thank you"), "", Action.RETRY, Reason.TARGET_FAILED),
        (b"", "execution reverted", Action.RETRY, Reason.TARGET_FAILED),
        (b"", "", Action.RETRY, Reason.TARGET_FAILED),
    ],
)
def test_known_reverts(revert: bytes, text: str, action: Action, reason: Reason | None) -> None:
    """Each known refusal has its action and reason; an unknown one is the recipient's."""
    verdict = classify_outcome(Outcome(revert, text, mined=False))
    assert verdict.action is action
    assert reason is None or verdict.reason is reason
    assert verdict.detail
