"""OpenTelemetry traces: one trace per delivered message, with a span for each stage of its walk.

A walk takes up to days and many processes, so a trace is made from the stored timeline when the
message is delivered. Its id is the last half of the message id: whoever knows the message finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import set_span_in_context

from relayer.message import MessageId, Record, Timestamp

MAX_QUEUE = 8192
"""Spans that wait for a slow collector; later ones are dropped, never waited for."""
BATCH = 512
EXPORT_EVERY_MS = 1000
EXPORT_TIMEOUT_S = 3.0
FLUSH_S = 2.0
"""A stop waits this long for a collector that does not answer, besides the export under way."""


class Traces:
    """Tells one collector (OTLP over HTTP) how messages were delivered."""

    def __init__(self, endpoint: str, *, sample: float = 1.0, version: str = "") -> None:
        self._ids = _MessageIds()
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(sample),
            resource=Resource({"service.name": "relayer", "service.version": version}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=MAX_QUEUE,
                schedule_delay_millis=EXPORT_EVERY_MS,
                max_export_batch_size=BATCH,
            )
        )
        self._tracer = self._provider.get_tracer("relayer")

    def note_delivered(self, records: Sequence[Record]) -> None:
        """Hand over one trace for each record; neither waits nor fails for the collector."""
        for record in records:
            self._ids.trace_id = trace_id_of(record.id)
            self._note(record)

    async def aclose(self) -> None:
        """Send what is left; a collector that does not answer holds up a stop for seconds only."""
        giving_up = asyncio.get_running_loop().call_later(FLUSH_S, self._exporter.shutdown)
        try:
            await asyncio.to_thread(self._provider.shutdown)
        finally:
            giving_up.cancel()

    def _note(self, record: Record) -> None:
        walk = record.timeline
        root = self._tracer.start_span(
            "message", start_time=_ns(record.seen_at), attributes=_attributes(record)
        )
        inside = set_span_in_context(root)
        for moment, following in pairwise(walk):
            stage = self._tracer.start_span(
                moment.status.value,
                context=inside,
                start_time=_ns(moment.at),
                attributes={"relayer.reason": moment.reason.value},
            )
            stage.end(end_time=_ns(following.at))
        root.end(end_time=_ns(record.since))


def trace_id_of(message_id: MessageId) -> int:
    """The trace of a message: the last 16 bytes of its id (never zero, which means none)."""
    return int(message_id[-32:], 16) or 1


class _MessageIds(RandomIdGenerator):
    """Gives the next trace the id of the message that it tells of."""

    trace_id = 1

    def generate_trace_id(self) -> int:
        return self.trace_id


def _attributes(record: Record) -> dict[str, str | int]:
    route = record.route
    return {
        "relayer.message_id": record.id,
        "relayer.bridge": route.bridge,
        "relayer.origin": route.origin,
        "relayer.destination": route.destination,
        "relayer.reason": record.reason.value,
        "relayer.attempts": record.attempts,
        "relayer.tx": record.tx or "",
    }


def _ns(at: Timestamp) -> int:
    return int(at * 1_000_000_000)
