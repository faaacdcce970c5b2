"""Files and answers of strangers cannot take the process down by nesting."""

from __future__ import annotations

import json

import pytest

from relayer.errors import BadChainData, UnreadableRecord
from relayer.foreign_json import parse_json
from relayer.protocols.hyperlane.checkpoints import parse_checkpoint
from relayer.store.codec import record_from

DEEP = b"[" * 100_000 + b"]" * 100_000


def test_deep_nesting_is_refused_before_it_is_parsed() -> None:
    """100,000 levels overflow the C stack of the standard parser; we say no first."""
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(DEEP)


def test_a_deeply_nested_checkpoint_is_bad_data() -> None:
    """A validator's file of that kind is one bad checkpoint, not the end of the relayer."""
    with pytest.raises(BadChainData):
        parse_checkpoint(DEEP)


@pytest.mark.parametrize("text", [DEEP.decode(), '{"a":' * 200 + "1" + "}" * 200])
def test_text_is_bounded_like_bytes(text: str) -> None:
    """What Redis holds is read as text."""
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(text)


def test_what_is_only_wide_is_read() -> None:
    """Brackets side by side and in strings are no nesting."""
    assert parse_json(json.dumps([[]] * 500)) == [[]] * 500
    assert parse_json(json.dumps("[" * 500).encode()) == "[" * 500


def test_a_stored_record_of_that_kind_is_unreadable() -> None:
    """It is told of by its key, as any other garbage."""
    fields = {"message": DEEP, "route": b"hyper:1>10", "at": b"1 2 0x3 0x4 5"}
    flat = [part for name, value in fields.items() for part in (name.encode(), value)]
    with pytest.raises(UnreadableRecord, match="the key k does not hold a message record"):
        record_from("0x" + "11" * 32, flat, key="k")
