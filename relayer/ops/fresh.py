"""An answer that is asked for at most once in a while, however many callers there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """Keeps one answer for `for_s` seconds; callers that come meanwhile share it."""

    def __init__(
        self, ask: Callable[[], Awaitable[T]], clock: Callable[[], float], *, for_s: float
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._for_s = for_s
        self._lock = asyncio.Lock()
        self._answer: T | None = None
        self._until = 0.0

    async def read(self) -> T:
        """The answer, at most `for_s` seconds old."""
        async with self._lock:
            if self._answer is None or self._clock() >= self._until:
                self._answer = await self._ask()
                self._until = self._clock() + self._for_s
            return self._answer
