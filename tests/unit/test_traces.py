"""Traces of delivered messages, received by a collector that speaks OTLP over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from relayer.devnet.anvil import free_port
from relayer.message import Moment, Reason, Record, Status, Timestamp
from relayer.ops.traces import Traces, trace_id_of
from tests.collector import Collector, collecting
from tests.unit.sample_records import record_of

WALK = (
    Moment(Timestamp(1000.0), Status.WAITING, Reason.NEW, ""),
    Moment(Timestamp(1002.5), Status.READY, Reason.PROVED, ""),
    Moment(Timestamp(1003.0), Status.SUBMITTED, Reason.BROADCAST, ""),
    Moment(Timestamp(1004.0), Status.INCLUDED, Reason.MINED, ""),
    Moment(Timestamp(1006.0), Status.DELIVERED, Reason.DELIVERED_BY_US, ""),
)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as found:
        yield found


def delivered(number: int) -> Record:
    """A record whose walk took six seconds."""
    return replace(
        record_of(number),
        status=Status.DELIVERED,
        reason=Reason.DELIVERED_BY_US,
        seen_at=Timestamp(1000.0),
        since=Timestamp(1006.0),
        timeline=WALK,
    )


async def test_one_trace_for_each_message_with_a_span_for_each_stage(collector: Collector) -> None:
    """The trace is found by the message's id, and its spans lie end to end."""
    traces = Traces(collector.url, version="1")
    records = [delivered(1), delivered(2)]
    traces.note_delivered(records)
    await traces.aclose()
    assert {span.trace_id for span in collector.spans} == {
        trace_id_of(record.id).to_bytes(16, "big") for record in records
    }
    mine = [s for s in collector.spans if s.trace_id.hex() == records[0].id[-32:]]
    root = next(span for span in mine if not span.parent_span_id)
    stages = sorted((s for s in mine if s is not root), key=lambda s: s.start_time_unix_nano)
    assert [s.name for s in stages] == ["waiting", "ready", "submitted", "included"]
    assert {s.parent_span_id for s in stages} == {root.span_id}
    assert [(s.end_time_unix_nano - s.start_time_unix_nano) / 1e9 for s in stages] == [
        2.5,
        0.5,
        1.0,
        2.0,
    ]
    assert root.end_time_unix_nano - root.start_time_unix_nano == 6_000_000_000
    told = {one.key: one.value for one in root.attributes}
    assert told["relayer.message_id"].string_value == records[0].id


async def test_the_same_messages_are_sampled_by_every_replica(collector: Collector) -> None:
    """Sampling is by the trace id, which is the message's."""
    records = [delivered(number) for number in range(200)]
    seen: list[set[bytes]] = []
    for _ in range(2):
        collector.spans.clear()
        traces = Traces(collector.url, sample=0.5)
        traces.note_delivered(records)
        await traces.aclose()
        seen.append({span.trace_id for span in collector.spans})
    assert seen[0] == seen[1]
    assert 0 < len(seen[0]) < len(records)


@pytest.mark.parametrize("status", [None, 500])
async def test_a_collector_that_fails_holds_up_nothing(
    collector: Collector, status: int | None
) -> None:
    """Neither a dead port nor an error: the walk goes on, and a stop takes seconds."""
    url = collector.url if status else f"http://127.0.0.1:{free_port()}/v1/traces"
    collector.status = status or 200
    traces = Traces(url)
    traces.note_delivered([delivered(number) for number in range(2000)])
    async with asyncio.timeout(20):
        await traces.aclose()
