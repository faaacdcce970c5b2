"""The real page in front of an API that answers whatever a test wants: hostile, huge, or silent."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from relayer.devnet.anvil import free_port
from relayer.ops.api.discreet import public_view
from relayer.ops.page import Page
from relayer.ops.web import Refused, WebServer, secured
from tests.unit.sample_records import record_of

ETHER = {"symbol": "ETH", "decimals": 18}


def message(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A message as the API tells it."""
    view = public_view(record_of(number))
    return {**view, "payment": {**view["payment"], "native": ETHER}, **changes}


def route(name: str = "hyper:1>10", **changes: Any) -> dict[str, Any]:
    """A route as the API tells it."""
    return {
        "route": name,
        "bridge": name.partition(":")[0],
        "origin": 1,
        "destination": 10,
        "health": "ok",
        "problems": [],
        "messages": {"waiting": 2, "submitted": 1, "delivered": 40},
        "reasons": [{"status": "waiting", "reason": "awaiting_quorum", "count": 2}],
        "oldest_pending_s": 75.0,
        "delivery": {"samples": 40, "p50_s": 2.0, "p95_s": 9.0},
        "cost_wei": "1000000000000000",
        "income_wei": "2000000000000000",
        "native": {"origin": ETHER, "destination": ETHER},
        **changes,
    }


def chain(chain_id: int, name: str, **changes: Any) -> dict[str, Any]:
    """A chain as the API tells it."""
    return {
        "name": name,
        "id": chain_id,
        "explorer": f"https://explorer.example/{name}",
        "head": 1200,
        "final": 1190,
        "lag_blocks": 3,
        "endpoints": {"total": 2, "healthy": 2},
        "native": ETHER,
        "signers": [
            {"address": "0x" + "ab" * 20, "balance_wei": str(10**18), "nonce": 7, "in_flight": 1}
        ],
        **changes,
    }


@dataclass
class Stage:
    """`async with` serves; the fields may be changed while it does."""

    messages: list[dict[str, Any]] = field(default_factory=lambda: [message()])
    routes: list[dict[str, Any]] = field(default_factory=lambda: [route()])
    chains: list[dict[str, Any]] = field(
        default_factory=lambda: [chain(1, "mainnet"), chain(10, "optimism")]
    )
    proof: dict[str, Any] = field(default_factory=dict)
    operator: bool = False
    """Whether it is the operator's address; a token is asked for, and any is taken."""
    pauses: list[dict[str, Any]] = field(default_factory=list)
    listeners: list[asyncio.Queue[dict[str, Any] | None]] = field(default_factory=list)
    reads: int = 0
    """How often a message was asked for."""
    port: int = field(default_factory=free_port)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.rise()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fall()

    async def rise(self) -> None:
        """Listen, always on the same port."""
        app = web.Application(middlewares=[secured])
        Page(operator=self.operator).add_to(app.router)
        if self.operator:
            app.router.add_get("/v1/operator/pauses", self._pauses)
            app.router.add_post("/v1/operator/resume", self._resume)
        app.router.add_get("/v1/routes", self._routes)
        app.router.add_get("/v1/chains", self._chains)
        app.router.add_get("/v1/messages", self._messages)
        app.router.add_get("/v1/messages/{id}", self._message)
        app.router.add_get("/v1/messages/{id}/proof", self._proof)
        app.router.add_get("/v1/events", self._events)
        self._server = WebServer(app, section="http", host="127.0.0.1", port=self.port)
        await self._server.start()

    async def fall(self) -> None:
        """End every connection and stop listening."""
        for one in self.listeners:
            one.put_nowait(None)
        await self._server.aclose()

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to every window."""
        for one in self.listeners:
            one.put_nowait(event)

    async def _routes(self, _request: web.Request) -> web.Response:
        return web.json_response({"routes": self.routes})

    async def _chains(self, _request: web.Request) -> web.Response:
        return web.json_response({"chains": self.chains})

    async def _messages(self, request: web.Request) -> web.Response:
        status, tx = request.query.get("status"), request.query.get("tx")
        found = [
            one
            for one in self.messages
            if status in (None, one["status"]) and tx in (None, one["origin_tx"], one["tx"])
        ]
        return web.json_response({"messages": found, "next": None})

    async def _message(self, request: web.Request) -> web.Response:
        self.reads += 1
        for one in self.messages:
            if one["id"] == request.match_info["id"]:
                return web.json_response(one)
        raise Refused(404, "no such message", field="id")

    async def _proof(self, _request: web.Request) -> web.Response:
        return web.json_response(self.proof)

    async def _pauses(self, request: web.Request) -> web.Response:
        if "Authorization" not in request.headers:
            raise Refused(401, "give a valid token")
        return web.json_response({"pauses": self.pauses})

    async def _resume(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.pauses = [one for one in self.pauses if wanted != {one["kind"]: one["name"]}]
        return web.json_response({"changed": True})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        mine: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.listeners.append(mine)
        try:
            await answer.write(b": welcome\n\n")
            while (event := await mine.get()) is not None:
                await answer.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        finally:
            self.listeners.remove(mine)
        return answer
