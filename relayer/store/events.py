"""What happened to messages, as numbered events: each is written with the transition it tells."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from relayer.message import (
    ChainId,
    Event,
    EventPage,
    MessageId,
    Reason,
    Route,
    Status,
    Timestamp,
    TxHash,
)
from relayer.store.wire import Wire

log = structlog.get_logger()

EVENTS_KEPT = 10_000
"""Newest events of one chain that are kept, about; `EVENTS` in words.lua."""
MAX_EVENTS = 1000


class Events(Wire):
    """Events are kept by destination chain and numbered there without holes."""

    async def events(
        self, chain: ChainId, after: int | None, *, limit: int = MAX_EVENTS
    ) -> EventPage:
        """Events behind number `after`, oldest first; None gives none, only the newest number.

        0 is the number before the first event of a chain that had none.
        """
        size = 1 if after is None else max(1, min(limit, MAX_EVENTS))
        args = {"first": str((after or 0) + 1), "limit": size}
        newest, first, kept, rows = await self.run("events", chain, args)
        last = int(newest)
        if after is None or after == last:
            return EventPage((), start=last, upto=last, newest=last, missed=0)
        numbers = [int(raw_id.partition(b"-")[0]) for raw_id, _ in rows]
        found = (
            _event(chain, number, flat) for number, (_, flat) in zip(numbers, rows, strict=True)
        )
        return EventPage(
            tuple(event for event in found if event is not None),
            start=numbers[0] - 1 if numbers else last,
            upto=numbers[-1] if numbers else last,
            newest=last,
            missed=_missed(
                after, last, kept=kept, numbers=numbers, start=int(first) if first else None
            ),
        )


def _missed(after: int, last: int, *, kept: int, numbers: Sequence[int], start: int | None) -> int:
    """How many events behind `after` are gone, -1 when it is unknown (the store lost them).

    Numbers start at the time, so one from before `start`, of a store that was wiped or of nobody,
    says nothing; neither does a distance in a store that did not note where it starts.
    """
    if after > last:
        return -1
    if after == 0:
        return -1 if kept >= EVENTS_KEPT or not numbers else 0
    missed = (numbers[0] if numbers else last + 1) - after - 1
    is_ours = start is not None and after >= start - 1
    return missed if is_ours or not missed else -1


def _event(chain: ChainId, number: int, flat: Sequence[bytes]) -> Event | None:
    """The event, or None for garbage: it must not keep listeners from those behind it."""
    texts = [part.decode("utf-8", "replace") for part in flat]
    fields = dict(zip(texts[::2], texts[1::2], strict=True))
    try:
        return Event(
            chain=chain,
            number=number,
            at=Timestamp(float(fields["at"])),
            id=MessageId(fields["id"]),
            route=Route.parse(fields["route"]),
            status=Status(fields["status"]),
            reason=Reason(fields["reason"]),
            origin_tx=TxHash(fields["origin_tx"]),
            tx=TxHash(fields["tx"]) if fields["tx"] else None,
        )
    except (KeyError, ValueError) as error:
        log.error("event_unreadable", chain=chain, number=number, error=str(error))
        return None
