"""A receipt's word on a message, under either of its names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.pipeline.receipts import Carried
from tests.unit.sample_records import id_of, record_of


@pytest.mark.parametrize("told", [id_of(1), id_of(77)])
def test_both_names_are_the_messages(told: str) -> None:
    """The id, and what the inbox calls it; nobody else's."""
    record = record_of(1)
    record = replace(record, message=replace(record.message, inbox_id=id_of(77)))
    carried = Carried(delivered=frozenset({type(record.id)(told)}))
    assert carried.has_delivered(record)
    assert not carried.has_moved(record)
    assert not carried.has_delivered(record_of(2))
    assert Carried(moved=carried.delivered).has_moved(record)
