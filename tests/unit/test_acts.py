"""What people name when they pause something, and when they let it go on."""

from __future__ import annotations

import pytest

from relayer.acts import Nameable, PauseKind, Target, chain_name_of, target_of, target_to_resume
from relayer.errors import UnknownRecord
from relayer.message import Address, BridgeName, ChainId, Route

OURS = Address("0x" + "aa" * 20)
GONE = Address("0x" + "cd" * 20)
ROUTE = Route(BridgeName("hyper"), ChainId(1), ChainId(10))
KNOWN = Nameable({"one": ChainId(1), "base": ChainId(10)}, {ROUTE}, {OURS})


def test_a_signer_that_is_not_ours_is_not_paused_in_silence() -> None:
    """Who stops a stolen key must hear that the address was mistyped, and what was meant."""
    named = OURS.upper().replace("0X", "0x")
    assert target_of(PauseKind.SIGNER, named, KNOWN) == Target(PauseKind.SIGNER, OURS)
    typo = OURS[:-1] + "b"
    with pytest.raises(UnknownRecord, match=f"{typo} is none of ours; did you mean {OURS}"):
        target_of(PauseKind.SIGNER, typo, KNOWN)
    with pytest.raises(UnknownRecord, match="40 hex digits"):
        target_of(PauseKind.SIGNER, "everybody", KNOWN)


def test_where_not_all_of_our_signers_can_be_read_the_form_has_to_do() -> None:
    """A key service that is away must not keep anybody from stopping its key."""
    known = Nameable({}, (), {OURS}, ("chains.one.signers[1]",))
    other = target_of(PauseKind.SIGNER, GONE, known)
    assert other.name == GONE
    assert known.is_unsure_of(other)
    assert not known.is_unsure_of(target_of(PauseKind.SIGNER, OURS, known))


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        (PauseKind.CHAIN, "bose", "chain: 'bose' is no configured chain; did you mean base"),
        (PauseKind.LANE, "2", "lane: '2' is no configured chain; known: base, one"),
        (PauseKind.ROUTE, "hyper:1>11", "is not carried; did you mean hyper:1>10"),
    ],
)
def test_a_typo_is_answered_with_what_may_be_meant(kind: PauseKind, text: str, told: str) -> None:
    """And with what there is."""
    with pytest.raises(UnknownRecord, match=told):
        target_of(kind, text, KNOWN)


def test_a_chain_is_named_by_its_name_or_id() -> None:
    """A name wins over an id that looks the same."""
    assert chain_name_of("chain", "base", KNOWN.chains) == "base"
    assert chain_name_of("chain", "10", KNOWN.chains) == "base"
    assert chain_name_of("chain", "10", {"10": ChainId(5), "b": ChainId(10)}) == "10"


@pytest.mark.parametrize(
    "paused",
    [
        Target.chain(ChainId(99)),
        Target.lane(ChainId(99)),
        Target.route(Route(BridgeName("gone"), ChainId(1), ChainId(99))),
        Target.signer(GONE),
    ],
)
def test_what_is_paused_can_be_resumed_when_it_is_configured_no_more(paused: Target) -> None:
    """Nothing must stay paused for ever because its section went first."""
    text = paused.name.upper().replace("0X", "0x") if paused.kind == "signer" else paused.name
    assert target_to_resume(paused.kind, text, KNOWN, {paused}) == paused
    with pytest.raises(UnknownRecord, match="paused: none"):
        target_to_resume(paused.kind, text, KNOWN, ())
    with pytest.raises(UnknownRecord, match=f"paused: {paused.name}"):
        target_to_resume(paused.kind, "0x" + "ee" * 20, KNOWN, {paused})


def test_what_is_configured_and_not_paused_is_known_too() -> None:
    """Resuming twice changes nothing and is no mistake."""
    assert target_to_resume(PauseKind.LANE, "base", KNOWN, ()) == Target.lane(ChainId(10))
