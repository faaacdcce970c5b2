"""A reload, and what is told of it to whoever asked, or did not stay to hear it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from relayer.acts import Act
from relayer.desk import Desk, Sources
from relayer.errors import ConfigInvalid, IllegalTransition, RelayerError
from relayer.message import Timestamp
from relayer.ops.logs import Logging
from relayer.ops.metrics import Metrics
from relayer.settings import Settings

ONE = {"one": {"id": 1, "endpoints": [{"url": "http://127.0.0.1:1"}]}}
BASE = Settings.model_validate({"chains": ONE})


@dataclass
class Store:
    """Keeps lines of the audit log."""

    acts: list[Act] = field(default_factory=list)
    noted: asyncio.Event = field(default_factory=asyncio.Event)

    async def note_act(self, act: Act) -> None:
        self.acts.append(act)
        self.noted.set()


class World:
    """A desk whose configuration is whatever `reread` returns."""

    def __init__(self, reread: Callable[[], Settings]) -> None:
        self.store = Store()
        self.metrics = Metrics()
        parts: Any = SimpleNamespace(settings=BASE, store=self.store, metrics=self.metrics)
        self.generations: Any = SimpleNamespace(present=parts)
        sources = Sources(reread, Logging(), "host:1")
        self.desk = Desk(self.generations, sources, lambda: Timestamp(1.0))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Desk]:
        task = asyncio.create_task(self.desk.run())
        try:
            async with asyncio.timeout(10):
                yield self.desk
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def counted(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("relayer_reloads_total", {"outcome": outcome})


async def test_during_a_reload_another_is_busy_and_no_refusal() -> None:
    """Nothing was said against the configuration: no alert, and no error in the log."""
    begun, go_on = threading.Event(), threading.Event()

    def reread() -> Settings:
        begun.set()
        go_on.wait(timeout=10)
        raise ConfigInvalid("chains: are missing")

    world = World(reread)
    async with world.running() as desk:
        first = asyncio.create_task(desk.reload())
        await asyncio.to_thread(begun.wait)
        with (
            structlog.testing.capture_logs() as logs,
            pytest.raises(IllegalTransition, match="under way"),
        ):
            await desk.reload()
        assert logs == []
        assert (world.counted("busy"), world.counted("refused")) == (1, 0)
        go_on.set()
        with pytest.raises(ConfigInvalid):
            await first
    assert world.counted("refused") == 1
    assert world.store.acts == []


async def test_what_came_of_it_is_noted_when_nobody_waited_for_the_answer() -> None:
    """The request's own line says only that it was cut off."""
    begun, go_on = threading.Event(), threading.Event()

    def reread() -> Settings:
        begun.set()
        go_on.wait(timeout=10)
        raise ConfigInvalid("chains: are missing")

    world = World(reread)
    async with world.running() as desk:
        asking = asyncio.create_task(desk.reload())
        await asyncio.to_thread(begun.wait)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        go_on.set()
        await world.store.noted.wait()
    (act,) = world.store.acts
    assert (act.who, act.what, act.outcome) == ("relayer", "reload", "refused")
    assert act.detail == "chains: are missing"


async def test_a_crash_before_anything_was_taken_up_says_so() -> None:
    """A bug must not end what works, and its traceback is in the log."""

    def reread() -> Settings:
        raise ZeroDivisionError

    world = World(reread)
    async with world.running() as desk:
        with structlog.testing.capture_logs(), pytest.raises(RelayerError, match="nothing has ch"):
            await desk.reload()
