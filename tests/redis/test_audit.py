"""The audit log keeps acts in order, in pages, bounded, and strangers apart from operators."""

from __future__ import annotations

import pytest

from relayer.acts import LONGEST_TEXT, Act
from relayer.errors import UnknownRecord
from relayer.message import Timestamp
from relayer.store import Store
from relayer.store.audit import ACTS_KEPT, MAX_ACTS
from relayer.store.keys import META, base

pytestmark = pytest.mark.redis


def act(number: int, **changes: str) -> Act:
    texts = {"who": "ops", "remote": "127.0.0.1", "what": "retry", "arguments": f"{number}"}
    return Act(Timestamp(1000.0 + number), outcome="ok", **(texts | changes))


async def test_acts_are_read_newest_first_in_pages(store: Store) -> None:
    """Pages join without gaps or repeats, and the last one says so."""
    for number in range(5):
        await store.note_act(act(number))
    first = await store.acts(limit=3)
    assert [one.arguments for one in first.acts] == ["4", "3", "2"]
    second = await store.acts(limit=3, after=first.after)
    assert list(second.acts) == [act(1), act(0)]
    assert second.after is None


async def test_strangers_cannot_push_out_what_operators_did(store: Store) -> None:
    """Refused requests have a stream of their own."""
    await store.note_act(act(1))
    await store.note_stranger(act(2, who="nobody"))
    assert (await store.acts()).acts == (act(1),)
    assert (await store.acts(strangers=True)).acts == (act(2, who="nobody"),)


async def test_a_line_is_bounded_and_hostile_text_comes_back_as_it_was(store: Store) -> None:
    """A megabyte of arguments is cut; lone surrogates and zero bytes do no harm."""
    await store.note_act(act(1, arguments="x" * 10**6))
    await store.note_act(act(2, arguments="\x00\r\n*3 é"))
    newest, older = (await store.acts()).acts
    assert newest.arguments == "\x00\r\n*3 é"
    assert len(older.arguments) == LONGEST_TEXT


async def test_the_log_is_bounded(store: Store) -> None:
    """The oldest lines go; Redis trims whole nodes, so a few more may stay."""
    key = base(store._prefix, META) + "audit"
    pairs = [part for name in ("at", "who") for part in (name, "1")]
    for _ in range(ACTS_KEPT + 300):
        await store.command("XADD", key, "*", *pairs)
    await store.note_act(act(1))
    assert ACTS_KEPT <= await store.command("XLEN", key) <= ACTS_KEPT + 200
    assert len((await store.acts(limit=10**9)).acts) == MAX_ACTS


@pytest.mark.parametrize("mark", ["", "x", "1", "1-", "1-1 COUNT 5", "(1-1", "9" * 30 + "-1"])
async def test_a_wrong_mark_is_named(store: Store, mark: str) -> None:
    """What is no mark is not sent to Redis."""
    with pytest.raises(UnknownRecord, match="mark of a page"):
        await store.acts(after=mark)
