"""A verb on all messages of a selection: counted, bounded, and nothing but what was selected."""

from __future__ import annotations

import pytest

from relayer.acts import Selection, Verb
from relayer.adapter import Refuse
from relayer.errors import IllegalTransition, UnknownRecord
from relayer.message import Reason, Route, Status
from relayer.store import Store
from tests.redis.conftest import Leases
from tests.redis.sample_facts import BRIDGE, ONE, TEN, TWENTY, id_of, message

pytestmark = pytest.mark.redis

DEAD = Selection(status=Status.DEAD)


async def statuses(store: Store, *numbers: int) -> list[str]:
    found = await store.get_many([id_of(number) for number in numbers])
    return [record.status.value for record in found]


async def with_dead(store: Store, leases: Leases, *numbers: int) -> None:
    """Messages 1 to 9 to chain 10, the numbered ones dead of `invalid_message`."""
    await store.save_facts(leases.follower, [message(n) for n in range(1, 10)])
    refuse = Refuse(Reason.INVALID_MESSAGE, "no good", dead=True)
    await store.note_refused(leases.lane, [(id_of(n), refuse, {}) for n in numbers])


async def test_pages_go_through_all_that_is_selected(store: Store, leases: Leases) -> None:
    """Calls with the mark of the one before reach every message once."""
    await with_dead(store, leases, 1, 2, 3, 4, 5)
    changed, after, calls = 0, None, 0
    while calls == 0 or after is not None:
        done = await store.operate_all(Verb.RETRY, DEAD, after=after, limit=2)
        assert done.looked <= 2
        changed, after, calls = changed + done.changed, done.after, calls + 1
    assert changed == 5
    assert await statuses(store, *range(1, 10)) == ["waiting"] * 9


async def test_a_dry_run_counts_and_changes_nothing(store: Store, leases: Leases) -> None:
    """What would be matched is told before it is done."""
    await with_dead(store, leases, 1, 2)
    told = await store.operate_all(Verb.RETRY, DEAD, dry_run=True)
    assert (told.matched, told.changed) == (2, 0)
    assert await statuses(store, 1, 2, 3) == ["dead", "dead", "waiting"]


@pytest.mark.parametrize(
    ("selection", "matched"),
    [
        (Selection(reason=Reason.NEW), 9),
        (Selection(route=Route(BRIDGE, ONE, TEN)), 9),
        (Selection(route=Route(BRIDGE, TEN, ONE)), 0),
        (Selection(bridge=BRIDGE, destination=TWENTY), 1),
        (Selection(bridge="other"), 0),
        (Selection(origin=ONE), 10),
        (Selection(origin=TEN), 0),
        (Selection(sender="0x" + "00" * 12 + "AA" * 20), 10),
        (Selection(sender="0x" + "ab" * 20), 0),
        (Selection(recipient="0x" + "bb" * 32, destination=TEN), 9),
    ],
)
async def test_every_filter_chooses(
    store: Store, leases: Leases, selection: Selection, matched: int
) -> None:
    """All that is given must agree; an address equals its padded word."""
    await with_dead(store, leases, 1)
    await store.operate(Verb.RETRY, id_of(1))
    await store.save_facts(leases.follower, [message(11, to=20)])
    done = await store.operate_all(Verb.HOLD, selection)
    assert (done.matched, done.changed) == (matched, matched)
    held = await store.list(status=Status.HELD)
    assert len(held.records) == matched


@pytest.mark.parametrize(
    ("verb", "selection", "text"),
    [
        (Verb.DROP, Selection(), "at least one filter"),
        (Verb.RETRY, Selection(status=Status.DELIVERED), "possible: dead, ready, waiting"),
        (Verb.RELEASE, Selection(status=Status.DEAD), "possible: held"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    store: Store, leases: Leases, verb: Verb, selection: Selection, text: str
) -> None:
    """Nothing selected is not everything selected, and the way out is named."""
    await with_dead(store, leases, 1)
    with pytest.raises(IllegalTransition, match=text):
        await store.operate_all(verb, selection)
    assert await statuses(store, 1, 2) == ["dead", "waiting"]


async def test_a_malformed_mark_changes_nothing(store: Store, leases: Leases) -> None:
    """A mark that is none is named."""
    await with_dead(store, leases, 1)
    with pytest.raises(UnknownRecord, match="mark"):
        await store.operate_all(Verb.RETRY, DEAD, after="soon")
    assert await statuses(store, 1) == ["dead"]
