"""What people name when they pause something."""

from __future__ import annotations

import pytest

from relayer.acts import PauseKind, Target, target_of
from relayer.errors import UnknownRecord
from relayer.message import Address

OURS = Address("0x" + "aa" * 20)


def test_a_signer_that_is_not_ours_is_not_paused_in_silence() -> None:
    """Who stops a stolen key must hear that the address was mistyped."""
    named = OURS.upper().replace("0X", "0x")
    found = target_of(PauseKind.SIGNER, named, chains={}, routes=(), signers={OURS})
    assert found == Target(PauseKind.SIGNER, OURS)
    typo = "0x" + "ab" * 20
    with pytest.raises(UnknownRecord, match=f"{typo} is none of ours; known: {OURS}"):
        target_of(PauseKind.SIGNER, typo, chains={}, routes=(), signers={OURS})


def test_where_our_signers_are_not_known_the_form_has_to_do() -> None:
    """The command line works on the store alone, without opening any key."""
    assert target_of(PauseKind.SIGNER, OURS, chains={}, routes=()).name == OURS
    with pytest.raises(UnknownRecord, match="40 hex digits"):
        target_of(PauseKind.SIGNER, "everybody", chains={}, routes=())
