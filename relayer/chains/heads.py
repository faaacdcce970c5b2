"""New heads of a chain: pushed over WebSocket where the operator gave one, polled otherwise.

A head is only a wake-up; what it says is never used as truth.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import aiohttp

from relayer.chains.wire import mapping, quantity
from relayer.errors import BadChainData, Transient
from relayer.foreign_json import parse_json
from relayer.message import BlockNumber

MAX_NOTE_BYTES = 1024 * 1024
HEARTBEAT_S = 20.0
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
MAX_HEAD = 2**63 - 1


class Heads:
    """One chain's stream of head numbers; never ends and never raises for a bad endpoint."""

    def __init__(
        self,
        *,
        ws_urls: Sequence[str],
        session: Callable[[], aiohttp.ClientSession],
        poll: Callable[[], Awaitable[BlockNumber]],
        probe: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        poll_s: float,
        quiet_s: float,
        timeout_s: float,
    ) -> None:
        """`quiet_s` without a pushed head makes us look for ourselves, and ask all endpoints."""
        self._ws_urls = ws_urls
        self._session = session
        self._poll = poll
        self._probe = probe
        self._clock = clock
        self._poll_s = poll_s
        self._quiet_s = quiet_s
        self._timeout_s = timeout_s
        self._last = BlockNumber(-1)
        self._probed_at = clock()

    async def stream(self) -> AsyncGenerator[BlockNumber, None]:
        """Yield the number of each newer (or other) head."""
        retry_s = FIRST_RETRY_S
        retry_at = self._clock()
        while True:
            found = await self._look()
            if found is not None:
                yield found
            if self._ws_urls and self._clock() >= retry_at:
                before = self._last
                async with contextlib.aclosing(self._pushed_by_any()) as pushed:
                    async for number in pushed:
                        yield number
                retry_s = FIRST_RETRY_S if self._last != before else retry_s
                retry_at = self._clock() + retry_s
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
            await asyncio.sleep(self._poll_s)

    async def _pushed_by_any(self) -> AsyncGenerator[BlockNumber, None]:
        """Heads pushed by the first socket that works, until it stops working."""
        for url in self._ws_urls:
            with contextlib.suppress(
                aiohttp.ClientError, OSError, TimeoutError, ValueError, BadChainData
            ):
                async with contextlib.aclosing(self._pushed(url)) as pushed:
                    async for number in pushed:
                        yield number

    async def _pushed(self, url: str) -> AsyncGenerator[BlockNumber, None]:
        async with asyncio.timeout(self._timeout_s):
            socket = await self._session().ws_connect(
                url, max_msg_size=MAX_NOTE_BYTES, heartbeat=HEARTBEAT_S
            )
        async with socket:
            await socket.send_json(
                {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
            )
            while True:
                number = await self._next_note(socket)
                if number is None:
                    return
                if number != self._last:
                    self._last = number
                    yield number
                await self._probe_if_due()

    async def _next_note(self, socket: aiohttp.ClientWebSocketResponse) -> BlockNumber | None:
        """The next head, pushed or looked up after a long silence; None when the socket is over."""
        try:
            async with asyncio.timeout(self._quiet_s):
                note = await socket.receive()
        except TimeoutError:
            found = await self._poll_quietly()
            # the chain moved on and the socket said nothing: it is dead
            return found if found in (None, self._last) else None
        if note.type is not aiohttp.WSMsgType.TEXT:
            return None
        return self._number(parse_json(note.data.encode()))

    def _number(self, note: object) -> BlockNumber | None:
        """The head a note tells of; the answer to our subscription tells of none yet."""
        fields = mapping(note, "note")
        if fields.get("error") is not None:
            return None
        if "params" not in fields:
            return self._last
        head = mapping(mapping(fields["params"], "note").get("result"), "head")
        return BlockNumber(quantity(head.get("number"), "head number", most=MAX_HEAD))

    async def _look(self) -> BlockNumber | None:
        """The head when it is another than before."""
        await self._probe_if_due()
        found = await self._poll_quietly()
        if found is None or found == self._last:
            return None
        self._last = found
        return found

    async def _poll_quietly(self) -> BlockNumber | None:
        with contextlib.suppress(Transient):
            return await self._poll()
        return None

    async def _probe_if_due(self) -> None:
        if self._clock() - self._probed_at < self._quiet_s:
            return
        self._probed_at = self._clock()
        with contextlib.suppress(Transient):
            await self._probe()
