"""The HTTP server: health, readiness, metrics, and where a message is. Read-only, no CORS.

Everything a caller sends is checked before it is used, and every answer, errors too, is bounded.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from relayer.errors import ConfigInvalid, Transient
from relayer.message import MessageId, Record, TxHash
from relayer.ops.metrics import Metrics
from relayer.ops.views import printable, record_view

ANSWER_WITHIN_S = 5.0
READINESS_FOR_S = 1.0
"""Seconds a readiness answer is kept: probes of many balancers must not become load."""
MAX_AT_ONCE = 64
"""Requests answered at the same time; the next ones are told to come back."""
MAX_RECORDS = 100
"""Messages of one transaction that one answer holds."""
IDLE_S = 30.0
STOP_WITHIN_S = 2.0

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "relayer",
}

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class MessageReader(Protocol):
    """The reading part of the store."""

    async def get(self, message_id: MessageId, /) -> Record | None:
        """The record of a message, None when it is unknown."""
        ...

    async def by_tx(self, tx: TxHash, /) -> Sequence[Record]:
        """Records whose origin or delivering transaction is `tx`."""
        ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether one part of the service does its work, in words when it does not."""

    ready: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """Which parts of the service do their work; chains by their names."""

    store: Readiness
    chains: Mapping[str, Readiness]


ReadinessProbe = Callable[[], Awaitable[Health]]


class ListenAt(Protocol):
    """Where to listen (the `http` section of the settings)."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


async def serve(
    at: ListenAt,
    store: MessageReader,
    metrics: Metrics,
    readiness: ReadinessProbe,
    *,
    version: str = "",
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serve until cancelled; `on_listening` is told the port. ConfigInvalid when it is taken."""
    server = HttpServer(
        host=at.host,
        port=at.port,
        store=store,
        metrics=metrics,
        readiness=readiness,
        version=version,
    )
    port = await server.start()
    try:
        structlog.get_logger("relayer").info("http_listening", host=at.host, port=port)
        if on_listening is not None:
            on_listening(port)
        await asyncio.Event().wait()
    finally:
        await server.aclose()


class HttpServer:
    """Serves one store on one address from `start()` to `aclose()`."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        store: MessageReader,
        metrics: Metrics,
        readiness: ReadinessProbe,
        version: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host
        self._port = port
        self._runner = web.AppRunner(
            build_app(
                store=store, metrics=metrics, readiness=readiness, version=version, clock=clock
            ),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=IDLE_S,
            shutdown_timeout=STOP_WITHIN_S,
        )

    async def start(self) -> int:
        """Listen and return the port; ConfigInvalid when the address cannot be had."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigInvalid(
                f"http: cannot listen on {self._host}:{self._port}: {error.strerror};"
                " choose another http.port (0 takes any free one)"
            ) from None
        port: int = self._runner.addresses[0][1]
        return port

    async def aclose(self) -> None:
        """Stop listening, let running requests end, close every connection."""
        await self._runner.cleanup()


def build_app(
    *,
    store: MessageReader,
    metrics: Metrics,
    readiness: ReadinessProbe,
    version: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The application behind `HttpServer`; `clock` counts seconds for the readiness cache."""
    pages = _Pages(store, metrics, readiness, version=version, clock=clock)
    app = web.Application(middlewares=[_secured, _bounded(MAX_AT_ONCE)], client_max_size=1024)
    app.router.add_get("/healthz", pages.healthz)
    app.router.add_get("/readyz", pages.readyz)
    app.router.add_get("/metrics", pages.metrics)
    app.router.add_get("/v1/messages", pages.messages)
    app.router.add_get("/v1/messages/{id}", pages.message)
    return app


class _Pages:
    """The handlers, one per path."""

    def __init__(
        self,
        store: MessageReader,
        metrics: Metrics,
        readiness: ReadinessProbe,
        *,
        version: str,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._readiness = _CachedReadiness(readiness, clock)
        self._version = version

    async def healthz(self, request: web.Request) -> web.Response:
        """The process answers: that is all liveness means."""
        _only(request, ())
        return web.json_response({"status": "ok", "version": self._version})

    async def readyz(self, request: web.Request) -> web.Response:
        """200 while the store and at least one chain work; with `?chain=` while that chain does."""
        _only(request, ("chain",))
        health = await self._readiness.read()
        chains = health.chains
        wanted = request.query.get("chain")
        if wanted is not None:
            if wanted not in chains:
                raise _Refused(404, "no such chain", field="chain", value=wanted)
            chains = {wanted: chains[wanted]}
        working = sum(part.ready for part in chains.values()) if health.store.ready else 0
        status = "ready" if working == len(chains) else "degraded" if working else "not ready"
        body = {
            "status": status,
            "store": _part_view(health.store),
            "chains": {name: _part_view(part) for name, part in chains.items()},
        }
        return web.json_response(body, status=200 if working else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Everything counted, in the Prometheus text format."""
        body = await asyncio.to_thread(self._metrics.render)
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: _METRICS_TYPE})

    async def message(self, request: web.Request) -> web.Response:
        """One message by its id."""
        _only(request, ())
        message_id = MessageId(_hash("id", request.match_info["id"]))
        record = await self._store.get(message_id)
        if record is None:
            raise _Refused(
                404,
                "no such message; its origin block may not be final yet",
                field="id",
                value=message_id,
            )
        return web.json_response(record_view(record))

    async def messages(self, request: web.Request) -> web.Response:
        """The messages of one transaction, at most `MAX_RECORDS`."""
        _only(request, ("tx",))
        if "tx" not in request.query:
            raise _Refused(400, "is required: /v1/messages?tx=0x...", field="tx")
        records = await self._store.by_tx(TxHash(_hash("tx", request.query["tx"])))
        shown = [record_view(record) for record in records[:MAX_RECORDS]]
        return web.json_response({"messages": shown, "truncated": len(records) > len(shown)})


class _CachedReadiness:
    """Asks the probe at most once per `READINESS_FOR_S`, however many callers there are."""

    def __init__(self, probe: ReadinessProbe, clock: Callable[[], float]) -> None:
        self._probe = probe
        self._clock = clock
        self._lock = asyncio.Lock()
        self._answer: Health | None = None
        self._until = 0.0

    async def read(self) -> Health:
        async with self._lock:
            if self._answer is None or self._clock() >= self._until:
                self._answer = await self._probe()
                self._until = self._clock() + READINESS_FOR_S
            return self._answer


def _part_view(part: Readiness) -> dict[str, object]:
    return {"ready": part.ready, "detail": printable(part.detail, 300)}


def _bounded(at_once: int) -> Middleware:
    """Answers at most so many requests at once, each within `ANSWER_WITHIN_S`."""
    free = at_once

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal free
        if free <= 0:
            raise _Refused(503, "too many requests at once; try again", retry_after_s=1)
        free -= 1
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                return await handler(request)
        except TimeoutError:
            raise _Refused(504, "the answer took too long; try again", retry_after_s=1) from None
        except Transient as error:
            raise _Refused(503, f"not available now: {error.label}", retry_after_s=1) from None
        finally:
            free += 1

    return guard


@web.middleware
async def _secured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Outermost: every error is JSON, and every answer carries the security headers."""
    try:
        answer = await handler(request)
    except _Refused as refused:
        answer = refused.answer()
    except web.HTTPException as problem:
        answer = _Refused(problem.status, problem.reason.lower()).answer()
        if hdrs.ALLOW in problem.headers:
            answer.headers[hdrs.ALLOW] = problem.headers[hdrs.ALLOW]
    except Exception:  # noqa: BLE001 - a bug must answer as JSON, without its traceback
        structlog.get_logger("relayer").exception("http_crashed", path=request.path)
        answer = _Refused(500, "internal error; see the log").answer()
    answer.headers.update(SECURITY_HEADERS)
    return answer


class _Refused(Exception):
    """An error answer: what is wrong, with which field and value."""

    def __init__(
        self,
        status: int,
        text: str,
        *,
        field: str | None = None,
        value: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(text)
        self._status = status
        self._error = {"code": _CODES.get(status, "refused"), "text": text}
        if field is not None:
            self._error["field"] = field
        if value is not None:
            self._error["value"] = printable(value, 100)
        self._headers = {} if retry_after_s is None else {hdrs.RETRY_AFTER: str(retry_after_s)}

    def answer(self) -> web.Response:
        """The error as `{"error": {code, text, field?, value?}}`."""
        return web.json_response({"error": self._error}, status=self._status, headers=self._headers)


_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    500: "internal_error",
    503: "unavailable",
    504: "timeout",
}


def _hash(field: str, text: str) -> str:
    if not _HASH.fullmatch(text):
        raise _Refused(400, "must be 0x and 64 hex digits", field=field, value=text)
    return text.lower()


def _only(request: web.Request, known: Sequence[str]) -> None:
    """Refuse query parameters we would otherwise ignore in silence, and repeated ones."""
    for name in request.query:
        if name not in known:
            way_out = f"known: {', '.join(known)}" if known else "there are none here"
            raise _Refused(400, f"unknown parameter; {way_out}", field=name)
        if len(request.query.getall(name)) > 1:
            raise _Refused(400, "given more than once", field=name)
