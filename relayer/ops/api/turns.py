"""Heavy answers take turns, so that relaying and light answers have the event loop in between.

One is made at a time; whoever wants several at once waits for his own ones first. After each,
nothing heavy is begun for three times as long as it took: all together have a quarter of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

from relayer.ops.web import Refused

REST = 3.0
"""Rest after a turn, in lengths of the turn."""
LONGEST_REST_S = 0.25
"""A turn that waited for a slow store or a busy machine did not work all that time."""
Later = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds."""


class Turns:
    """Whose turn it is among all who want something heavy."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, later: Later | None = None
    ) -> None:
        self._clock = clock
        self._later = later
        self._only = asyncio.Lock()
        self._own: dict[str, asyncio.Lock] = {}
        self._wanting: Counter[str] = Counter()
        """Who has how much in line; clients without anything are forgotten."""

    @contextlib.asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait for a turn, however long that is; whoever asks bounds how many wait."""
        self._wanting[client] += 1
        own = self._own.setdefault(client, asyncio.Lock())
        try:
            async with own:
                await self._only.acquire()
                begun = self._clock()
                try:
                    yield
                finally:
                    self._rest(self._clock() - begun)
        finally:
            self._wanting[client] -= 1
            if not self._wanting[client]:
                del self._wanting[client], self._own[client]

    def _rest(self, took_s: float) -> None:
        later = self._later or asyncio.get_running_loop().call_later
        later(min(LONGEST_REST_S, REST * took_s), self._only.release)


class Line:
    """Answers of one kind that wait for their turns, so few that the last one comes in time."""

    def __init__(self, turns: Turns, *, most: int, most_of_client: int) -> None:
        self._turns = turns
        self._most = most
        self._most_of_client = most_of_client
        self._waiting: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait for a turn; `Refused` when too many do: 429 of the client's own, 503 in all."""
        if self._waiting[client] >= self._most_of_client:
            raise Refused(429, "you ask for too many lists at once", retry_after_s=1)
        if self._waiting.total() >= self._most:
            raise Refused(503, "too many ask for lists; try again", retry_after_s=1)
        self._waiting[client] += 1
        try:
            async with self._turns.turn(client):
                yield
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]
