"""How many connections a server holds open: beyond that they are closed before they ask anything.

Each costs a file descriptor, and those that strangers take are wanting for chains and the store.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import structlog
from aiohttp import web
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
    """Makes the protocol of each connection that comes in (`loop.create_server`)."""

    def __init__(self, server: web.Server, room: Room) -> None:
        self._server = server
        self._room = room
        self._clients: dict[RequestHandler, str] = {}
        self._refused = 0
        self._log_from = 0.0

    def __call__(self) -> asyncio.Protocol:
        return _Arrival(self)

    def welcome(self, transport: asyncio.Transport) -> None:
        """Hand the connection to the server, or close it when there is no room for it."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        client = site_of(address)
        if not self._has_room(address, client):
            transport.abort()
            self._count_refused(client)
            return
        protocol = self._server()
        self._clients[protocol] = client
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _has_room(self, address: str, client: str) -> bool:
        present = self._server.connections
        if len(present) >= self._room.connections:
            return False
        # What has gone meanwhile is found out here, so that no count can ever drift.
        self._clients = {one: self._clients[one] for one in present}
        same = Counter(self._clients.values())[client]
        return same < self._room.per_client or is_among(address, self._room.trusted_proxies)

    def _count_refused(self, client: str) -> None:
        self._refused += 1
        if time.monotonic() >= self._log_from:
            structlog.get_logger("relayer").warning(
                "connections_refused", client=client, refused=self._refused
            )
            self._refused = 0
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
