"""The public HTTP server: health, readiness, metrics, where a message is. Read-only, no CORS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import hdrs, web

from relayer.message import MessageId, Record, TxHash
from relayer.ops.metrics import Metrics
from relayer.ops.views import printable, record_view
from relayer.ops.web import Refused, WebServer, bounded, checked_hash, only, secured

READINESS_FOR_S = 1.0
"""Seconds a readiness answer is kept: probes of many balancers must not become load."""
MAX_AT_ONCE = 64
"""Requests answered at the same time; the next ones are told to come back."""
MAX_RECORDS = 100
"""Messages of one transaction that one answer holds."""

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
    app = build_app(store=store, metrics=metrics, readiness=readiness, version=version)
    server = WebServer(app, section="http", host=at.host, port=at.port)
    port = await server.start()
    try:
        structlog.get_logger("relayer").info("http_listening", host=at.host, port=port)
        if on_listening is not None:
            on_listening(port)
        await asyncio.Event().wait()
    finally:
        await server.aclose()


def build_app(
    *,
    store: MessageReader,
    metrics: Metrics,
    readiness: ReadinessProbe,
    version: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The public application; `clock` counts seconds for the readiness cache."""
    pages = _Pages(store, metrics, readiness, version=version, clock=clock)
    app = web.Application(middlewares=[secured, bounded(MAX_AT_ONCE)], client_max_size=1024)
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
        only(request, ())
        return web.json_response({"status": "ok", "version": self._version})

    async def readyz(self, request: web.Request) -> web.Response:
        """200 while the store and at least one chain work; with `?chain=` while that chain does."""
        only(request, ("chain",))
        health = await self._readiness.read()
        chains = health.chains
        wanted = request.query.get("chain")
        if wanted is not None:
            if wanted not in chains:
                raise Refused(404, "no such chain", field="chain", value=wanted)
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
        only(request, ())
        message_id = MessageId(checked_hash("id", request.match_info["id"]))
        record = await self._store.get(message_id)
        if record is None:
            raise Refused(
                404,
                "no such message; its origin block may not be final yet",
                field="id",
                value=message_id,
            )
        return web.json_response(record_view(record))

    async def messages(self, request: web.Request) -> web.Response:
        """The messages of one transaction, at most `MAX_RECORDS`."""
        only(request, ("tx",))
        if "tx" not in request.query:
            raise Refused(400, "is required: /v1/messages?tx=0x...", field="tx")
        records = await self._store.by_tx(TxHash(checked_hash("tx", request.query["tx"])))
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
