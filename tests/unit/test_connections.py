"""How many connections a server holds, seen by sockets that connect and say little."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import resource
from collections.abc import AsyncIterator, Sequence

import pytest
from aiohttp import web

from relayer.ops.api import Limits
from relayer.ops.connections import MOST_FILES, Room, allow_more_files
from relayer.ops.logs import Seldom
from relayer.ops.web import WebServer

HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Slow:
    """A page whose answers wait once two are asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.crowded = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.asked == 2:
            self.crowded.set()
        await self.may_end.wait()
        return web.Response()


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


@contextlib.asynccontextmanager
async def served(room: Room, page: Slow | None = None) -> AsyncIterator[int]:
    """The port of a server that holds no more than this."""
    app = web.Application()
    app.router.add_get("/", page.__call__ if page else hello)
    server = WebServer(app, section="http", host="127.0.0.1", port=0, room=room)
    port = await server.start()
    try:
        yield port
    finally:
        await server.aclose()


@contextlib.asynccontextmanager
async def half_asked(port: int, count: int, source: str) -> AsyncIterator[Sequence[Ends]]:
    """Connections from one address that each sent half of a request."""
    ends: list[Ends] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, local_addr=(source, 0)
            )
            ends.append((reader, writer))
            writer.write(HALF)
        yield ends
    finally:
        for _, writer in ends:
            writer.close()


async def status(end: Ends) -> str:
    """The first word behind HTTP/1.1 when the request is ended, `closed` when nobody listens."""
    reader, writer = end
    with contextlib.suppress(ConnectionError):
        writer.write(b"\r\n")
        async with asyncio.timeout(5):
            line = await reader.readline()
        return line.split()[1].decode() if line else "closed"
    return "closed"


async def test_one_client_takes_no_more_than_its_share() -> None:
    """Its newest stay, so that who comes with a whole request gets an answer; others feel none."""
    async with (
        served(Room(connections=10, per_client=3)) as port,
        half_asked(port, 1, "127.0.0.3") as other,
        half_asked(port, 5, "127.0.0.2") as ends,
    ):
        assert await status(other[0]) == "200"
        assert [await status(end) for end in ends] == ["closed"] * 2 + ["200"] * 3


async def test_all_together_take_no_more_than_there_is() -> None:
    """The whole is bounded whoever comes, a trusted proxy too; that one has no share of its own."""
    proxies = [ipaddress.ip_network("127.0.0.2/32")]
    async with (
        served(Room(connections=5, per_client=1, trusted_proxies=proxies)) as port,
        half_asked(port, 5, "127.0.0.2") as proxy,
        half_asked(port, 1, "127.0.0.3") as stranger,
        half_asked(port, 1, "127.0.0.2") as more,
    ):
        assert [await status(end) for end in proxy] == ["closed"] * 2 + ["200"] * 3
        assert [await status(end) for end in (*stranger, *more)] == ["200"] * 2


async def test_who_is_being_answered_makes_no_room() -> None:
    """While all are being answered there is none for more; afterwards there is."""
    slow = Slow()
    async with (
        served(Room(connections=5, per_client=2), slow) as port,
        half_asked(port, 2, "127.0.0.2") as busy,
    ):
        answers = [asyncio.create_task(status(end)) for end in busy]
        async with asyncio.timeout(5):
            await slow.crowded.wait()
        async with half_asked(port, 1, "127.0.0.2") as more:
            assert await status(more[0]) == "closed"
        slow.may_end.set()
        assert [await one for one in answers] == ["200"] * 2
        async with half_asked(port, 1, "127.0.0.2") as more:
            assert await status(more[0]) == "200"


def test_there_is_room_for_all_who_may_listen() -> None:
    """More listeners make more room, so that none is refused by the door."""
    room = Limits(subscribers=1000, subscribers_per_client=100).room
    assert room.connections > 1000
    assert room.per_client > 100


def test_as_many_files_are_taken_as_the_system_allows() -> None:
    """The soft limit is raised, the hard one stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(256, soft)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        allow_more_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, MOST_FILES), hard)
        allow_more_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("text", "passes"), [("socket.accept() failed", 1), ("other", 3)])
def test_a_line_that_repeats_is_logged_once_a_minute(text: str, passes: int) -> None:
    """A flood of one kind is one line; everything else is as it was."""
    record = logging.LogRecord("asyncio", logging.ERROR, "", 0, text, (), None)
    seldom = Seldom("socket.accept()")
    assert sum(bool(seldom.filter(record)) for _ in range(3)) == passes
