"""Pages about messages: one, many, and the proof that lets anybody deliver one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from relayer.message import (
    BridgeName,
    ChainId,
    MessageId,
    Record,
    Route,
    Status,
    Timestamp,
    TxHash,
    Where,
    party_digits,
)
from relayer.ops.api.asking import asked
from relayer.ops.api.caching import ASK_AGAIN, kept_for, tagged
from relayer.ops.api.discreet import public_view
from relayer.ops.api.estimates import estimate_view
from relayer.ops.api.limits import Limiter
from relayer.ops.api.models import MessagesAsked, Nothing
from relayer.ops.api.network import native_view
from relayer.ops.api.paging import cursor_of, mark_in
from relayer.ops.api.ports import AskChains, EarlyAnswer, MessageReader, Native, Outlook, Prove
from relayer.ops.api.turns import Line, Turns
from relayer.ops.fresh import Fresh
from relayer.ops.web import Refused, checked_hash, is_here

ROWS_PER_TOKEN = 20
"""Messages of a list that cost a client as much as a request for one."""
TOKENS_OF_LOOK = 9.0
"""What asking the chains for a transaction costs besides: nobody takes it all from the others."""
MAX_OF_TX = 100
"""Messages of one transaction that one answer holds."""
DELIVERED_FOR_S = 60
"""Seconds a delivered message may be kept: it comes back only if final blocks are replaced."""

Times = Mapping[Route, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What estimates rest on, by route."""

    times: Times
    """Ascending."""
    outlooks: Mapping[Route, Outlook]


class MessagePages:
    """The handlers, one per path."""

    def __init__(
        self,
        store: MessageReader,
        prove: Prove,
        limiter: Limiter,
        turns: Turns,
        times: Fresh[Times],
        *,
        outlooks: Fresh[Mapping[Route, Outlook]],
        natives: Callable[[], Mapping[ChainId, Native]],
        early: AskChains | None,
        now: Callable[[], Timestamp],
    ) -> None:
        self._store = store
        self._prove = prove
        self._limiter = limiter
        self._lists = Line(turns, most=10, most_of_client=3)
        # Most are light; who looks for his own message is not refused for a crowd at the lists.
        self._lookups = Line(turns, most=40, most_of_client=20)
        self._times = times
        self._outlooks = outlooks
        self._natives = natives
        self._early = early
        self._now = now

    async def one(self, request: web.Request) -> web.Response:
        """One message by its id, with its whole walk."""
        asked(request, Nothing)
        record = await self._record(request)
        is_final = record.status is Status.DELIVERED
        cache = kept_for(DELIVERED_FOR_S) if is_final else ASK_AGAIN
        return tagged(request, self._walk(record, await self._forecast()), cache)

    async def proof(self, request: web.Request) -> web.Response:
        """What the message needs now: the call that delivers it, which anyone may send."""
        asked(request, Nothing)
        record = await self._record(request)
        step = await self._prove(record)
        return tagged(request, {"id": record.id, **step}, ASK_AGAIN)

    async def many(self, request: web.Request) -> web.Response:
        """The messages of a transaction, or one page of all that match."""
        wanted = asked(request, MessagesAsked)
        client = self._limiter.client_of(request)
        if wanted.tx is not None:
            return await self._of_transaction(request, wanted, client)
        self._limiter.charge(client, max(0.0, wanted.limit / ROWS_PER_TOKEN - 1))
        async with self._lists.turn(client):
            if not is_here(request):
                return _unread()
            return await self._listed(request, wanted)

    async def _listed(self, request: web.Request, wanted: MessagesAsked) -> web.Response:
        page = await self._store.list(
            status=wanted.status,
            route=None if wanted.route is None else Route.parse(wanted.route),
            reason=wanted.reason,
            where=_where(wanted),
            limit=wanted.limit,
            after=None if wanted.cursor is None else mark_in(wanted.cursor, wanted),
            oldest_first=wanted.order == "oldest",
        )
        known = await self._forecast()
        shown = [self._summary(record, known) for record in page.records if _fits(record, wanted)]
        following = None if page.after is None else cursor_of(page.after, wanted)
        body = {"messages": shown, "truncated": following is not None, "next": following}
        return tagged(request, body, ASK_AGAIN)

    async def _of_transaction(
        self, request: web.Request, wanted: MessagesAsked, client: str
    ) -> web.Response:
        if wanted.cursor is not None:
            raise Refused(400, "there are no pages of one transaction", field="cursor")
        tx = TxHash(str(wanted.tx).lower())
        async with self._lookups.turn(client):
            if not is_here(request):
                return _unread()
            found = await self._store.by_tx(tx)
            self._limiter.owe(client, len(found) / ROWS_PER_TOKEN)
            if found:
                return await self._told(request, wanted, found)
        # outside of the turn: chains may take seconds, and whoever is next need not wait for them
        told = await self._look_early(tx, client)
        if told is None:
            return await self._told(request, wanted, ())
        return await self._told(request, wanted, told.records, answered=told.is_complete)

    async def _look_early(self, tx: TxHash, client: str) -> EarlyAnswer | None:
        """What the chains have of it; None when it is no transaction that they need be asked of."""
        if self._early is None or await self._store.get(MessageId(tx)) is not None:
            return None  # who searches for either asks for a transaction first
        answer = await self._early(tx)
        if answer.is_new:
            self._limiter.owe(client, TOKENS_OF_LOOK)
        return answer

    async def _told(
        self,
        request: web.Request,
        wanted: MessagesAsked,
        found: Sequence[Record],
        *,
        answered: bool | None = None,
    ) -> web.Response:
        records = [record for record in found if _fits(record, wanted)]
        records.sort(key=lambda record: record.seen_at, reverse=wanted.order == "newest")
        most = wanted.limit if "limit" in wanted.model_fields_set else MAX_OF_TX
        known = await self._forecast()
        shown = [self._walk(record, known) for record in records[: min(most, MAX_OF_TX)]]
        body = {
            "messages": shown,
            "truncated": len(records) > len(shown),
            "next": None,
            "chains_answered": answered,
        }
        return tagged(request, body, ASK_AGAIN)

    async def _record(self, request: web.Request) -> Record:
        message_id = MessageId(checked_hash("id", request.match_info["id"]))
        record = await self._store.get(message_id)
        if record is None:
            raise Refused(
                404,
                "no such message; its origin block may not be final yet",
                field="id",
                value=message_id,
            )
        return record

    async def _forecast(self) -> Forecast:
        return Forecast(await self._times.read(), await self._outlooks.read())

    def _walk(
        self, record: Record, known: Forecast, *, shown: Record | None = None
    ) -> dict[str, Any]:
        route = record.route
        estimate = estimate_view(
            record, known.times.get(route, ()), self._now(), outlook=known.outlooks.get(route)
        )
        view = public_view(shown or record)
        native = native_view(self._natives().get(record.route.origin))
        return {**view, "payment": {**view["payment"], "native": native}, "estimate": estimate}

    def _summary(self, record: Record, known: Forecast) -> dict[str, Any]:
        view = self._walk(record, known, shown=replace(record, timeline=(), evidence={}))
        del view["timeline"], view["evidence"]
        return view


def _unread() -> web.Response:
    """To somebody who has left."""
    return web.Response(status=408)


def _where(wanted: MessagesAsked) -> Where:
    return Where(
        bridge=None if wanted.bridge is None else BridgeName(wanted.bridge),
        origin=None if wanted.origin is None else ChainId(wanted.origin),
        destination=None if wanted.destination is None else ChainId(wanted.destination),
        sender=wanted.sender,
        recipient=wanted.recipient,
    )


def _fits(record: Record, wanted: MessagesAsked) -> bool:
    """Whether all filters match: a transaction's messages are not filtered by the store, and of a
    route's messages it does not ask whether they go where they are also said to go.
    """
    route, message = record.route, record.message
    return (
        wanted.status in (None, record.status)
        and wanted.reason in (None, record.reason)
        and wanted.route in (None, str(route))
        and wanted.bridge in (None, route.bridge)
        and wanted.origin in (None, route.origin)
        and wanted.destination in (None, route.destination)
        and (wanted.sender is None or party_digits(wanted.sender) == party_digits(message.sender))
        and (
            wanted.recipient is None
            or party_digits(wanted.recipient) == party_digits(message.recipient)
        )
    )
