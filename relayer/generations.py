"""Runs one generation of agents after another, so that a new configuration needs no restart.

The next one is opened while the present one still works: a configuration that cannot be opened
changes nothing. Then the present one is stopped whole, which hands back its leases and leaves all
it had in hand in the store, and the next one takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

import structlog

from relayer.errors import Fatal
from relayer.settings import Settings

P = TypeVar("P")


class Generations(Generic[P]):
    """`open_` makes what a generation works with, `work` runs its agents until cancelled."""

    def __init__(
        self,
        open_: Callable[[Settings], AbstractAsyncContextManager[P]],
        work: Callable[[P], Awaitable[None]],
        *,
        stop: Callable[[asyncio.Task[None]], Awaitable[bool]],
    ) -> None:
        """`stop` cancels a task, if it still runs, and says whether it has ended in time."""
        self._open = open_
        self._work = work
        self._stop = stop
        self._turn = asyncio.Lock()
        self._handed_over = asyncio.Event()
        self._present: _Opened[P] | None = None
        self._next: _Opened[P] | None = None
        self._stopped_at = 0.0
        self.is_stuck = False
        """A generation did not stop in time: only the end of the process ends it."""

    @property
    def present(self) -> P:
        """What the generation that works now works with."""
        assert self._present is not None  # `start` comes first
        return self._present.parts

    async def start(self, settings: Settings) -> None:
        """Open the first generation; raises what its opening raises."""
        self._present = await self._opened(settings)

    async def run(self) -> None:
        """Work, each generation until the next one is there; returns only by an error.

        `Fatal` when a generation does not stop.
        """
        while True:
            assert self._present is not None
            work = asyncio.create_task(self._started(self._present.parts))
            handed_over = asyncio.create_task(self._handed_over.wait())
            try:
                await asyncio.wait({work, handed_over}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._stopped_at = time.monotonic()
                handed_over.cancel()
                self.is_stuck = not await self._stop(work)
            if self.is_stuck:
                raise Fatal("the agents of the former configuration do not stop")
            if self._handed_over.is_set():
                _tell_of_a_failure(work)
                await self._succeed()
            else:
                work.result()  # an error of its own: nobody asked it to end

    async def replace(self, settings: Settings, *, vet: Callable[[P], Awaitable[None]]) -> P:
        """Have a generation of these settings take over; returns its parts when it works.

        Whatever its opening, or `vet`, raises is raised, and the present one goes on as if nothing
        had been.
        """
        async with self._turn:
            opened = self._next = await self._opened(settings, vet)
            self._handed_over.set()
            await opened.works.wait()
            return opened.parts

    async def aclose(self) -> None:
        """Close what is open; nothing may run any more."""
        async with contextlib.AsyncExitStack() as stack:
            for opened in (self._present, self._next):
                if opened is not None:
                    stack.push_async_callback(opened.stack.aclose)

    async def _opened(
        self, settings: Settings, vet: Callable[[P], Awaitable[None]] | None = None
    ) -> _Opened[P]:
        async with contextlib.AsyncExitStack() as stack:
            parts = await stack.enter_async_context(self._open(settings))
            if vet is not None:
                await vet(parts)
            return _Opened(parts, stack.pop_all())

    async def _started(self, parts: P) -> None:
        await self._work(parts)

    async def _succeed(self) -> None:
        """Close the former generation and put the next one in its place."""
        former, self._present, self._next = self._present, self._next, None
        self._handed_over.clear()
        assert former is not None
        assert self._present is not None
        await former.stack.aclose()
        self._present.works.set()
        pause_s = round(time.monotonic() - self._stopped_at, 3)
        structlog.get_logger("relayer").info("took_over", pause_s=pause_s)


def _tell_of_a_failure(work: asyncio.Task[None]) -> None:
    """What failed while it handed over ends nobody any more, but it must not go unseen."""
    error = None if work.cancelled() else work.exception()
    if error is not None:
        structlog.get_logger("relayer").error("former_generation_failed", exc_info=error)


class _Opened(Generic[P]):
    """A generation that can work, and the way to close it."""

    def __init__(self, parts: P, stack: contextlib.AsyncExitStack) -> None:
        self.parts = parts
        self.stack = stack
        self.works = asyncio.Event()
