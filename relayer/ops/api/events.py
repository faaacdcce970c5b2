"""The page of server-sent events: one long answer, resumed with `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from aiohttp import hdrs, web

from relayer.errors import RelayerError, Transient
from relayer.message import ChainId, Event
from relayer.ops.api.asking import asked
from relayer.ops.api.limits import Limiter
from relayer.ops.api.models import EventsAsked
from relayer.ops.api.places import place_text, places_in
from relayer.ops.api.tail import Listener, Tail, Wanted, heartbeat_frame, reset_frame
from relayer.ops.web import SECURITY_HEADERS, Refused, is_here

HEARTBEAT_S = 15.0
SEND_WITHIN_S = 10.0
"""A client that takes no byte for so long is gone."""
RECONNECT_MS = 2000
MAX_ID = 4000


@dataclass(frozen=True, slots=True)
class Return:
    """A client that was here before; `places` is None when its id is none that we made."""

    places: dict[ChainId, int] | None


_HEADERS = {
    **SECURITY_HEADERS,
    hdrs.CONTENT_TYPE: "text/event-stream",
    "X-Accel-Buffering": "no",  # asks nginx not to hold frames back
}


class EventPages:
    """The handler of `/v1/events`."""

    def __init__(self, tail: Tail, limiter: Limiter, *, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._tail = tail
        self._limiter = limiter
        self._heartbeat_s = heartbeat_s

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Tell events until the client leaves, is too slow, or we stop."""
        wanted = asked(request, EventsAsked)
        back = _return_of(request, wanted)
        if request.method == hdrs.METH_HEAD:
            return web.Response(headers=_HEADERS)
        async with contextlib.AsyncExitStack() as stack:
            try:
                joining = self._tail.join(
                    self._limiter.client_of(request), _matches(wanted), lambda: is_here(request)
                )
                listener = await stack.enter_async_context(joining)
            except Transient as error:
                raise Refused(503, f"not available now: {error.label}", retry_after_s=1) from None
            answer = web.StreamResponse(headers=_HEADERS)
            await answer.prepare(request)
            try:
                await self._tell(answer, listener, back)
                async with asyncio.timeout(SEND_WITHIN_S):
                    await answer.write_eof()
            except (ConnectionError, TimeoutError):
                if request.transport is not None:
                    request.transport.abort()  # it takes nothing more, so it would not see an end
            except RelayerError:
                pass  # the store is away: the client comes back with its last id
        return answer

    async def _tell(
        self, answer: web.StreamResponse, listener: Listener, back: Return | None
    ) -> None:
        await _send(answer, f"retry: {RECONNECT_MS}\n".encode())
        if back is not None and not self._tail.knows(back.places):
            await _send(answer, reset_frame(listener.joined or {}, -1))
        elif back is not None and back.places is not None:
            async for frame in self._tail.missed(listener, back.places):
                await _send(answer, frame)
        if listener.is_over:
            return  # it was not told all, so its last id must not say that it was
        await _send(answer, heartbeat_frame(place_text(listener.joined or {})))
        while (told := await listener.next(self._heartbeat_s)) is not None:
            if told or listener.is_told_all:
                await _send(answer, told or heartbeat_frame(self._tail.place))


def _return_of(request: web.Request, wanted: EventsAsked) -> Return | None:
    """Where the client was; None when it begins."""
    if wanted.after is not None:
        try:
            return Return(places_in(wanted.after))
        except ValueError as bad:
            raise Refused(400, str(bad), field="after", value=wanted.after) from None
    text = request.headers.get("Last-Event-ID", "")
    if not text:
        return None
    try:
        return Return(places_in(text[:MAX_ID]))
    except ValueError:
        return Return(None)  # a browser would give up for good on an error


def _matches(wanted: EventsAsked) -> Wanted:
    message_id = wanted.id and wanted.id.lower()
    tx = wanted.tx and wanted.tx.lower()

    def matches(event: Event) -> bool:
        return (
            message_id in (None, event.id)
            and (tx is None or tx in (event.origin_tx, event.tx))
            and wanted.route in (None, str(event.route))
            and wanted.status in (None, event.status)
        )

    return matches


async def _send(answer: web.StreamResponse, frame: bytes) -> None:
    async with asyncio.timeout(SEND_WITHIN_S):
        await answer.write(frame)
