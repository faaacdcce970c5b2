"""What an estimate rests on: clocks, deliveries, and the rules of its bridge."""

from __future__ import annotations

from relayer.adapter import Delay
from relayer.message import Reason, Status, Timestamp
from relayer.ops.api import Outlook
from relayer.ops.api.estimates import NOTICED_WITHIN_S, estimate_view
from relayer.ops.views import iso
from relayer.serving import CARRIED_WITHIN_S, outlook_of
from tests.unit.sample_records import NOON, record_of

DAY_S = 86_400.0
WEEK = Outlook(7 * DAY_S, 8 * DAY_S, "challenge period")


def test_a_fresh_message_has_the_range_of_its_bridges_rules() -> None:
    """Without deliveries: a range, no most likely moment, and what it is made of."""
    view = estimate_view(record_of(), [], Timestamp(NOON + 60), outlook=WEEK)
    assert view == {
        "at": None,
        "earliest": "2023-11-21T22:13:20.250Z",
        "latest": "2023-11-22T22:13:20.250Z",
        "basis": "configured_delay",
        "detail": "challenge period",
        "samples": 0,
    }


def test_a_range_begins_no_more_and_ends() -> None:
    """What is over is never promised; beyond the range nothing honest can be said."""
    late = [
        estimate_view(record_of(), [], Timestamp(NOON + 7.5 * DAY_S + passed), outlook=WEEK)
        for passed in (0.0, 0.001)
    ]
    assert late[0] == late[1]  # who asks again has what there is, and downloads nothing
    assert late[0] is not None
    assert (late[0]["earliest"], late[0]["basis"]) == (None, "configured_delay")
    assert late[0]["latest"] == "2023-11-22T22:13:20.250Z"
    over = estimate_view(record_of(), [], Timestamp(NOON + 8 * DAY_S), outlook=WEEK)
    assert over is not None
    assert (over["basis"], over["earliest"], over["latest"]) == ("unknown", None, None)
    open_end = Outlook(5.0, None, "a root")
    endless = estimate_view(record_of(), [], Timestamp(NOON + 99), outlook=open_end)
    assert endless is not None
    assert (endless["basis"], endless["latest"]) == ("configured_delay", None)


def test_deliveries_and_clocks_say_more_than_rules() -> None:
    """Rules are the last resort, and no answer to a wait that a person ends."""
    waiting = record_of(evidence={"clock:proof": str(NOON + 50)})
    for record, times, basis in (
        (record_of(), [90.0] * 5, "route_statistics"),
        (record_of(), [90.0] * 4, "configured_delay"),
        (record_of(), [10.0] * 5, "configured_delay"),  # longer than ever, within the rules
        (waiting, [90.0] * 5, "clock"),
        (record_of(reason=Reason.PAUSED), [], "unknown"),
    ):
        view = estimate_view(record, times, Timestamp(NOON + 20), outlook=WEEK)
        assert view is not None
        assert view["basis"] == basis


def test_final_blocks_at_both_ends_are_waited_for() -> None:
    """The bridge's delay lies between two waits, and carrying it takes a little."""
    outlook = outlook_of(Delay(100.0, 200.0, "signatures"), 60.0, 12.0)
    assert (outlook.earliest_s, outlook.latest_s) == (172.0, 200.0 + 144.0 + CARRIED_WITHIN_S)
    assert outlook.rests_on == "signatures; final blocks at both ends, 72 s now"
    assert outlook_of(Delay(100.0, None, ""), 0.0, 0.0).latest_s is None


def test_what_is_included_waits_for_its_final_block_alone() -> None:
    """Neither the route's deliveries nor the bridge's delay have anything left to say."""
    outlook = outlook_of(Delay(7 * DAY_S, 8 * DAY_S, "challenge period"), 900.0, 12.0)
    since = Timestamp(NOON + 100)
    included = record_of(status=Status.INCLUDED, reason=Reason.MINED, since=since)
    view = estimate_view(included, [9999.0] * 9, since, outlook=outlook)
    assert view == {
        "at": None,
        "earliest": iso(Timestamp(since + 12)),
        "latest": iso(Timestamp(since + 24 + NOTICED_WITHIN_S)),
        "basis": "configured_delay",
        "detail": "final blocks of the destination, 12 s now",
        "samples": 0,
    }
    late = estimate_view(included, [], Timestamp(since + 20), outlook=outlook)
    assert late is not None
    assert late["earliest"] is None
    for unknown in (None, outlook_of(Delay(1.0, 2.0, ""), 900.0, None)):
        told = estimate_view(included, [9999.0] * 9, since, outlook=unknown)
        assert told is not None
        assert told["basis"] == "unknown"
    over = estimate_view(included, [], Timestamp(since + DAY_S), outlook=outlook)
    assert over is not None
    assert over["basis"] == "unknown"


def test_the_usual_time_of_a_route_begins_when_the_origin_block_is_final() -> None:
    """Until then it is added to what is left; the bridge's rules count from the block itself."""
    seen = record_of(
        status=Status.SEEN, reason=Reason.AWAITING_FINALITY, wake_at=Timestamp(NOON + 900)
    )
    for passed in (0.0, 890.0, 910.0):  # the follower may be a little late
        view = estimate_view(seen, [60.0] * 5, Timestamp(NOON + passed), outlook=WEEK)
        assert view is not None
        assert (view["basis"], view["at"]) == ("route_statistics", iso(Timestamp(NOON + 960)))
    by_rules = estimate_view(seen, [60.0] * 4, Timestamp(NOON), outlook=WEEK)
    assert by_rules is not None
    assert by_rules["earliest"] == iso(Timestamp(NOON + 7 * DAY_S))
