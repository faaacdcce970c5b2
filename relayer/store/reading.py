"""Questions that people, metrics and the API ask; none of them writes."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Sequence
from typing import Any

import structlog

from relayer.errors import UnknownRecord, UnreadableRecord
from relayer.message import (
    ChainId,
    Gas,
    MessageId,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    TxHash,
    Wei,
    Where,
    party_digits,
)
from relayer.store import codec
from relayer.store.connect import sections
from relayer.store.keys import base
from relayer.store.shapes import CostTotal, Memory, Page, RouteState, StatusCount
from relayer.store.wire import Wire, each, pairs_of

log = structlog.get_logger()

MAX_PAGE = 1000
SCAN_LIMIT = 20_000
"""Entries one page looks at per index before it answers with what it has."""
LOAD_LIMIT = 2000
"""Records one page reads per chain to see whether they match: about 20 ms of Redis."""
TX_LIMIT = 1000


ANYWHERE = Where()


class Reading(Wire):
    """Reads go to the primary: people act on what they are shown."""

    async def get(self, message_id: MessageId) -> Record | None:
        """One message wherever it is stored; `UnreadableRecord` naming a key that holds garbage."""
        found = await self._found([message_id])
        answer = found.get(message_id)
        if isinstance(answer, UnknownRecord):
            raise answer
        return answer

    async def get_many(
        self, ids: Sequence[MessageId], *, chain: ChainId | None = None
    ) -> builtins.list[Record]:
        """Those of `ids` that are stored, in that order; what cannot be read is logged.

        With a `chain` only messages to it: a protocol's ids need not differ between directions.
        """
        found = await self._found(ids, chain)
        for answer in found.values():
            if isinstance(answer, UnknownRecord):
                log.error("record_unreadable", error=str(answer))
        answers = (found.get(message_id) for message_id in dict.fromkeys(ids))
        return [answer for answer in answers if isinstance(answer, Record)]

    async def _found(
        self, ids: Sequence[MessageId], only: ChainId | None = None
    ) -> dict[MessageId, Record | UnknownRecord]:
        """What each id's key holds, in whichever chain; a readable record wins."""
        chains = await self.chains() if only is None else [only]
        asked = list(dict.fromkeys(ids))
        found: dict[MessageId, Record | UnknownRecord] = {}
        for start in range(0, len(asked), MAX_PAGE):
            part = asked[start : start + MAX_PAGE]
            calls = [self.run("records", chain, {"ids": part}) for chain in chains]
            for chain, rows in zip(chains, await each(calls), strict=True):
                for message_id, row in zip(part, rows, strict=True):
                    if row and not isinstance(found.get(message_id), Record):
                        found[message_id] = self._read(chain, message_id, row)
        return found

    def _read(
        self, chain: ChainId, message_id: MessageId, row: bytes | Sequence[bytes]
    ) -> Record | UnknownRecord:
        if isinstance(row, bytes):
            return UnreadableRecord(row.decode("utf-8", "replace"))
        try:
            return self._record(chain, (message_id.encode(), row))
        except UnknownRecord as garbage:
            return garbage

    async def by_tx(self, tx: TxHash) -> builtins.list[Record]:
        """Messages that a transaction sent, or was to deliver."""
        chains = await self.chains()
        args = {"tx": tx.lower(), "limit": TX_LIMIT}
        answers = await each([self.run("by_tx", chain, args) for chain in chains])
        rows = [(chain, row) for chain, found in zip(chains, answers, strict=True) for row in found]
        return self._readable(rows)

    async def list(
        self,
        *,
        status: Status | Collection[Status] | None = None,
        route: Route | None = None,
        reason: Reason | None = None,
        where: Where = ANYWHERE,
        limit: int = 100,
        after: str | None = None,
        oldest_first: bool = False,
    ) -> Page:
        """Messages by time, filtered; a page may hold fewer than `limit` and not be the last.

        The time is when it was seen, of a delivered message when that was: one that is delivered
        while somebody reads pages moves to the newest end. `after` is the previous page's mark;
        `UnknownRecord` when it is malformed.
        """
        size = max(1, min(limit, MAX_PAGE))
        args = {
            "statuses": [one.value for one in _statuses(status)],
            "route": "" if route is None else str(route),
            "reason": "" if reason is None else reason.value,
            "bridge": where.bridge or "",
            "origin": "" if where.origin is None else str(where.origin),
            "sender": _party(where.sender),
            "recipient": _party(where.recipient),
            "after": "" if after is None else _mark(after),
            "oldest_first": oldest_first,
            "limit": size,
            "scan": SCAN_LIMIT,
            "loads": LOAD_LIMIT,
        }
        destination = where.destination if route is None else route.destination
        chains = await self.chains() if destination is None else [destination]
        answers = await each([self.run("page", chain, args) for chain in chains])
        return self._page(chains, answers, size=size, oldest_first=oldest_first)

    def _page(
        self,
        chains: Sequence[ChainId],
        answers: Sequence[tuple[bytes, Sequence[tuple[bytes, bytes, Sequence[bytes]]]]],
        *,
        size: int,
        oldest_first: bool,
    ) -> Page:
        """Merge the chains' pages down to the first mark up to which all of them are complete."""
        marks = [_position(bound.decode()) for bound, _ in answers if bound]
        nearest = min if oldest_first else max
        floor = nearest(marks) if marks else None
        rows = [
            ((float(score), raw_id.decode()), chain, flat)
            for chain, (_, found) in zip(chains, answers, strict=True)
            for score, raw_id, flat in found
        ]
        rows.sort(key=lambda row: row[0], reverse=not oldest_first)
        whole = [row for row in rows if floor is None or nearest(row[0], floor) == row[0]]
        shown = whole[:size]
        if len(whole) > size:
            floor = shown[-1][0]
        records = self._readable(
            [(chain, (place[1].encode(), flat)) for place, chain, flat in shown]
        )
        return Page(tuple(records), None if floor is None else f"{floor[0]:.3f} {floor[1]}")

    def _readable(
        self, rows: Sequence[tuple[ChainId, tuple[bytes, Sequence[bytes]]]]
    ) -> builtins.list[Record]:
        """The records that can be read; one that cannot is told of and hides no other."""
        found: builtins.list[Record] = []
        for chain, row in rows:
            try:
                found.append(self._record(chain, row))
            except UnknownRecord as error:
                log.error("record_unreadable", error=str(error))
        return found

    def _record(self, chain: ChainId, row: tuple[bytes, Sequence[bytes]]) -> Record:
        message_id = row[0].decode()
        key = f"{base(self._prefix, chain)}message:{message_id}"
        return codec.record_from(message_id, row[1], key=key)

    async def counts(self) -> dict[StatusCount, int]:
        """Stored messages by route, status and reason; costs one small hash per chain."""
        chains = await self.chains()
        found: dict[StatusCount, int] = {}
        calls = [self.command("HGETALL", base(self._prefix, chain) + "counts") for chain in chains]
        for chain, answer in zip(chains, await each(calls), strict=True):
            name = base(self._prefix, chain) + "counts"
            for field, number in _texts(answer):
                if (key := _count_key(field)) is not None and number.isdigit():
                    found[key] = int(number)
                else:
                    self.tell_garbage(name, f"{field}: {number}", "remove the field with HDEL")
        return found

    async def oldest_pending(self, chain: ChainId) -> Timestamp | None:
        """When the oldest message the lane still works on was first seen; None without one."""
        oldest = await self.run("oldest_pending", chain)
        return None if oldest is None else Timestamp(float(oldest))

    async def route_states(self, chain: ChainId) -> dict[Route, RouteState]:
        """How each route to `chain` is doing."""
        return {
            Route.parse(route.decode()): RouteState(
                Timestamp(float(oldest)) if oldest else None,
                tuple(float(text) for text in times),
            )
            for route, oldest, times in await self.run("route_states", chain)
        }

    async def cost_totals(self, chain: ChainId) -> dict[Route, CostTotal]:
        """What deliveries to `chain` have cost, by route."""
        key = base(self._prefix, chain) + "cost"
        totals: dict[Route, CostTotal] = {}
        for route, text in _texts(await self.command("HGETALL", key)):
            try:
                wei, gas, txs = (int(part) for part in text.split(" "))
                totals[Route.parse(route)] = CostTotal(Wei(wei), Gas(gas), txs)
            except ValueError:
                self.tell_garbage(key, f"{route}: {text}", "remove the field with HDEL")
        return totals

    async def income_totals(self, chain: ChainId) -> dict[Route, Wei]:
        """What inboxes on `chain` have paid us, by route."""
        return await self._sums(base(self._prefix, chain) + "income")

    async def paid_totals(self, chain: ChainId) -> dict[Route, Wei]:
        """What was paid on the origins for messages that we delivered to `chain`, by route."""
        return await self._sums(base(self._prefix, chain) + "paid")

    async def _sums(self, key: str) -> dict[Route, Wei]:
        totals: dict[Route, Wei] = {}
        for route, text in _texts(await self.command("HGETALL", key)):
            try:
                totals[Route.parse(route)] = Wei(int(text))
            except ValueError:
                self.tell_garbage(key, f"{route}: {text}", "remove the field with HDEL")
        return totals

    async def memory(self) -> Memory:
        """Bytes used and the limit, summed over primaries."""
        nodes = await sections(self._client, "memory")
        return Memory(
            sum(int(node.get("used_memory", 0)) for node in nodes),
            sum(int(node.get("maxmemory", 0)) for node in nodes),
        )


def _statuses(wanted: Status | Collection[Status] | None) -> list[Status]:
    if wanted is None:
        return list(Status)
    return [wanted] if isinstance(wanted, Status) else sorted(wanted)


def _count_key(field: str) -> StatusCount | None:
    try:
        status, reason, route = field.split(" ", 2)
        return StatusCount(Route.parse(route), Status(status), Reason(reason))
    except ValueError:
        return None


def _texts(answer: Any) -> builtins.list[tuple[str, str]]:
    return [
        (name.decode("utf-8", "replace"), value.decode("utf-8", "replace"))
        for name, value in pairs_of(answer)
    ]


def _party(party: str | None) -> str:
    return "" if party is None else party_digits(party)


def _position(text: str) -> tuple[float, str]:
    score, _, message_id = text.partition(" ")
    return float(score), message_id


def _mark(after: str) -> str:
    try:
        score, message_id = _position(after)
    except ValueError:
        raise UnknownRecord(f"{after!r} is not the mark of a page") from None
    return f"{score:.3f} {message_id}"
