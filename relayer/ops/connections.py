"""How many connections a server holds open: beyond that, whoever was idle longest makes room.

Each costs a file descriptor, and those that strangers take are wanting for chains and the store.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

from relayer.ops.peers import Network, is_among, site_of

BACKLOG = 64
"""Connections the system holds until we take them, all of them at one go; the system's own default
of 128 would more than double what a flood costs for a moment."""
LOG_EVERY_S = 60.0
MOST_FILES = 65_536
"""Descriptors we ask the system for; some systems allow a thousand million, which children that
go through all of them would feel."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a server holds open: with 512, three servers' worth fits the usual 1024 files."""

    connections: int = 512
    per_client: int = 64
    """An IPv4 address or an IPv6 /64; browsers take six."""
    trusted_proxies: Sequence[Network] = ()
    """Peers that speak for many and are not counted as one."""


class Entrance:
    """Makes the protocol of each connection that comes in (`loop.create_server`).

    A connection is idle without a whole request: half of one, sent drop by drop, keeps nobody out.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._clients: dict[RequestHandler, str] = {}
        """Who has which connection, the oldest first."""
        self._busy: set[RequestHandler] = set()
        self._closed = 0
        self._log_from = 0.0
        self._server: web.Server | None = None
        self._speaker: Callable[[], RequestHandler] | None = None

    def opens(self, server: web.Server, speaker: Callable[[], RequestHandler]) -> None:
        """Say what is behind it, before the first comes."""
        self._server, self._speaker = server, speaker

    def __call__(self) -> asyncio.Protocol:
        return _Arrival(self)

    def noting(self) -> Middleware:
        """Outermost of all: knows which connections are asking something."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            protocol = request.protocol
            self._busy.add(protocol)
            try:
                return await handler(request)
            finally:
                self._busy.discard(protocol)

        return guard

    def welcome(self, transport: asyncio.Transport) -> None:
        """Hand the connection to the server, or close it when all others are asking something."""
        assert self._speaker is not None
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        client = site_of(address)
        if not self._make_room(address, client):
            transport.abort()
            return
        protocol = self._speaker()
        self._clients[protocol] = client
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _make_room(self, address: str, client: str) -> bool:
        assert self._server is not None
        # What has gone meanwhile is found out here, so that no count can ever drift.
        present = set(self._server.connections)
        self._clients = {one: whose for one, whose in self._clients.items() if one in present}
        same = [one for one, whose in self._clients.items() if whose == client]
        is_one = not is_among(address, self._room.trusted_proxies)
        if is_one and len(same) >= self._room.per_client:
            return self._close_idle(same, client)
        if len(self._clients) >= self._room.connections:
            return self._close_idle(list(self._clients), client)
        return True

    def _close_idle(self, among: Sequence[RequestHandler], client: str) -> bool:
        """Close the oldest that asks nothing; False when there is none."""
        self._count_closed(client)
        for protocol in among:
            if protocol not in self._busy:
                del self._clients[protocol]
                if protocol.transport is not None:
                    protocol.transport.abort()  # to flush what it does not read would take for ever
                return True
        return False

    def _count_closed(self, client: str) -> None:
        self._closed += 1
        if time.monotonic() >= self._log_from:
            structlog.get_logger("relayer").warning(
                "connections_closed_for_room", client=client, closed=self._closed
            )
            self._closed = 0
            self._log_from = time.monotonic() + LOG_EVERY_S


class _Arrival(asyncio.Protocol):
    """A connection until it is known whether there is room for it."""

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._entrance.welcome(cast(asyncio.Transport, transport))


def allow_more_files() -> None:
    """Take as many file descriptors as the system lets us have, up to `MOST_FILES`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
