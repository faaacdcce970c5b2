"""The public HTTP server: health, readiness, metrics, the API for dApps, the page. Reads only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import hdrs, web

from relayer.ops.api import DappApi
from relayer.ops.api.application import EVENTS_PATH
from relayer.ops.api.discreet import discreet
from relayer.ops.api.limits import MONITORING
from relayer.ops.fresh import Fresh
from relayer.ops.metrics import Metrics
from relayer.ops.page import Page
from relayer.ops.web import Refused, WebServer, bounded, only, secured

READINESS_FOR_S = 1.0
"""Seconds a readiness answer is kept: probes of many balancers must not become load."""
METRICS_FOR_S = 1.0
"""Seconds one rendering of /metrics is kept: it takes 10 ms and more, whoever asks."""
MAX_AT_ONCE = 64
"""Requests answered at the same time; the next ones are told to come back."""

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


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
    api: DappApi,
    metrics: Metrics,
    readiness: ReadinessProbe,
    *,
    version: str = "",
    on_listening: Callable[[int], None] | None = None,
) -> None:
    """Serve until cancelled; `on_listening` is told the port. ConfigInvalid when it is taken."""
    app = build_app(api=api, metrics=metrics, readiness=readiness, version=version)
    server = WebServer(app, section="http", host=at.host, port=at.port, room=api.room)
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
    api: DappApi,
    metrics: Metrics,
    readiness: ReadinessProbe,
    version: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The public application; `clock` counts the seconds that probes and scrapes are kept."""
    pages = _Pages(metrics, readiness, version=version, clock=clock)
    places = bounded(MAX_AT_ONCE, streams=frozenset({EVENTS_PATH}), apart=MONITORING)
    guards = [api.counting, secured, *api.guards, places]
    app = web.Application(middlewares=guards, client_max_size=1024)
    app.router.add_get("/healthz", pages.healthz)
    app.router.add_get("/readyz", pages.readyz)
    app.router.add_get("/metrics", pages.metrics)
    Page().add_to(app.router)
    api.hang_into(app)
    return app


class _Pages:
    """The handlers, one per path."""

    def __init__(
        self,
        metrics: Metrics,
        readiness: ReadinessProbe,
        *,
        version: str,
        clock: Callable[[], float],
    ) -> None:
        self._rendered = Fresh(
            lambda: asyncio.to_thread(metrics.render), clock, for_s=METRICS_FOR_S
        )
        self._readiness = Fresh(readiness, clock, for_s=READINESS_FOR_S)
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
        headers = {hdrs.CONTENT_TYPE: _METRICS_TYPE}
        return web.Response(body=await self._rendered.read(), headers=headers)


def _part_view(part: Readiness) -> dict[str, object]:
    return {"ready": part.ready, "detail": discreet(part.detail)[:300]}
