"""What a record looks like to people and programs."""

from __future__ import annotations

import json

import pytest

from relayer.message import Moment, Reason, Status, Timestamp
from relayer.ops.views import (
    MAX_EVIDENCE,
    MAX_TIMELINE,
    SENTENCES,
    Finding,
    explanation,
    finding_view,
    iso,
    next_wake_up,
    printable,
    record_view,
)
from tests.unit.sample_records import NOON, NOON_TEXT, id_of, record_of, tx_of


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_own_sentence(reason: Reason) -> None:
    """Every wait has a reason a person can read: a full sentence, not the label again."""
    sentence = SENTENCES[reason]
    assert sentence.endswith(".")
    assert len(sentence.split()) >= 4
    assert list(SENTENCES.values()).count(sentence) == 1


def test_a_waiting_message_says_why_since_when_and_until_when() -> None:
    """The view holds status, reason, explanation and an honest `unknown`."""
    view = record_view(record_of())
    assert view["id"] == id_of(1)
    assert view["route"] == "hyper:1>10"
    assert (view["status"], view["reason"]) == ("waiting", "awaiting_quorum")
    assert view["explanation"] == (
        "Waiting until enough validators have signed. (1 of 2 signatures)"
    )
    assert view["since"] == NOON_TEXT
    assert view["next_wake_up"] == "unknown"
    assert view["origin_tx"] == tx_of(1)
    assert view["timeline"] == [
        {"at": NOON_TEXT, "status": "waiting", "reason": "new", "detail": ""}
    ]


def test_big_numbers_survive_json() -> None:
    """Wei beyond 2^53 are strings, so no reader rounds them."""
    view = json.loads(json.dumps(record_view(record_of())))
    assert view["payment"] == {"gas": "125000", "amount_wei": str(2**80), "count": 1}


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.HELD, Status.DEAD, Status.ORPHANED])
def test_finished_messages_have_no_wake_up(status: Status) -> None:
    """`unknown` would promise a wake-up that nobody plans."""
    record = record_of(status=status, gate="hyper|tree", gate_value=4)
    assert next_wake_up(record) is None
    assert record_view(record)["waits_for"] is None


def test_known_wake_ups_and_gates_are_told() -> None:
    """Both ways a wait can end are in the view."""
    record = record_of(wake_at=Timestamp(NOON + 60), gate="hyper|checkpoint", gate_value=7)
    view = record_view(record)
    assert view["next_wake_up"] == "2023-11-14T22:14:20.250Z"
    assert view["waits_for"] == {"gate": "hyper|checkpoint", "value": "7"}


def test_a_pause_of_ours_is_told_from_one_of_the_bridge() -> None:
    """Who waits wants to know whom to ask; the gate's own name says nothing to anybody."""
    bridge = record_view(record_of(reason=Reason.PAUSED, detail="the portal is paused"))
    assert bridge["explanation"] == "Waiting because the bridge is paused. (the portal is paused)"
    detail = "lane ten is paused by on-call"
    here = record_view(record_of(reason=Reason.PAUSED, detail=detail, gate="~operators|lane 10"))
    assert here["explanation"] == f"Waiting because an operator paused it here. ({detail})"
    assert here["waits_for"] is None


def test_orphans_are_explained_by_their_status() -> None:
    """An orphan's last reason is history; its block is what counts."""
    text = explanation(record_of(status=Status.ORPHANED, reason=Reason.AWAITING_ROOT, detail=""))
    assert text == "Its origin block was replaced; it comes back if it is included again."


@pytest.mark.parametrize("reason", [Reason.TARGET_FAILED, Reason.CALL_REVERTED, Reason.OUT_OF_GAS])
def test_a_dead_letter_is_not_said_to_be_tried_again(reason: Reason) -> None:
    """The last failure is its reason; what it means is that nothing more happens by itself."""
    waiting = explanation(record_of(status=Status.WAITING, reason=reason, detail=""))
    assert "it is tried again" in waiting
    dead = explanation(record_of(status=Status.DEAD, reason=reason, detail="not today"))
    assert "tried again" not in dead
    assert dead.endswith("given up: `relayer retry` starts over. (not today)")


def test_hostile_text_stays_on_one_line_and_is_bounded() -> None:
    """A revert string can neither fake a terminal line nor fill a page."""
    evil = "a\x1b[2J\r\nstatus: delivered\u202egnp\ud800" + "x" * 10_000
    view = record_view(record_of(detail=evil, evidence={"revert\n": evil}))
    for text in (view["explanation"], *view["evidence"], *view["evidence"].values()):
        assert len(text) < 1200
        assert text.isprintable()
        json.dumps(text).encode("utf-8")


def test_long_histories_are_cut_at_the_old_end() -> None:
    """A view is bounded and keeps the newest lines."""
    moments = tuple(
        Moment(Timestamp(NOON + i), Status.WAITING, Reason.NEW, str(i)) for i in range(1000)
    )
    evidence = {str(i): "" for i in range(1000)}
    view = record_view(record_of(timeline=moments, evidence=evidence))
    assert len(view["timeline"]) == MAX_TIMELINE
    assert view["timeline"][-1]["detail"] == "999"
    assert len(view["evidence"]) == MAX_EVIDENCE


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e20])
def test_impossible_times_are_unknown(at: float) -> None:
    """A record with a broken time is still shown."""
    assert iso(Timestamp(at)) == "unknown"


def test_printable_keeps_short_text_as_it_is() -> None:
    """Ordinary words, also other people's, are not touched."""
    assert printable("Grüße, 世界") == "Grüße, 世界"
    assert printable("abcdef", 6) == "abcdef"
    assert printable("abcdefg", 6) == "abc..."


def test_findings_are_json() -> None:
    """The answer of a check keeps its subject, verdict and text."""
    view = finding_view(Finding("chains.base", False, "no answer"))
    assert view == {"subject": "chains.base", "ok": False, "warning": False, "text": "no answer"}
