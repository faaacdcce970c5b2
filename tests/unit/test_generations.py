"""One generation after another: the next is opened first, and a bad one changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import structlog

from relayer.errors import ConfigInvalid, Fatal
from relayer.generations import Generations
from relayer.settings import Settings

BASE = Settings.model_validate(
    {"chains": {"one": {"id": 1, "endpoints": [{"url": "http://127.0.0.1:1"}]}}}
)


def named(name: str) -> Settings:
    return BASE.model_copy(update={"instance": name})


async def content(_parts: str) -> None:
    """Nothing is found against it."""


@dataclass
class Stage:
    """What generations do, in the order they do it."""

    told: list[str] = field(default_factory=list)
    unopenable: set[str] = field(default_factory=set)
    unstoppable: bool = False
    fails_to_stop: bool = False
    failing: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    @contextlib.asynccontextmanager
    async def open(self, settings: Settings) -> AsyncIterator[str]:
        name = settings.instance or ""
        if name in self.unopenable:
            raise ConfigInvalid(f"{name} is no good")
        self.told.append(f"{name} opened")
        try:
            yield name
        finally:
            self.told.append(f"{name} closed")

    async def work(self, name: str) -> None:
        self.told.append(f"{name} works")
        self.at_work.put_nowait(name)
        try:
            await self.failing.wait()
            raise ZeroDivisionError(name)
        finally:
            self.told.append(f"{name} stopped")
            if self.fails_to_stop:
                raise ZeroDivisionError(name)

    async def stop(self, task: asyncio.Task[None]) -> bool:
        task.cancel()
        await asyncio.wait({task})
        return not self.unstoppable


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[tuple[Generations[str], asyncio.Task[None]]]:
    generations = Generations(stage.open, stage.work, stop=stage.stop)
    await generations.start(named("first"))
    task = asyncio.create_task(generations.run())
    assert await stage.at_work.get() == "first"
    try:
        yield generations, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await generations.aclose()


async def test_the_next_is_opened_before_the_present_stops() -> None:
    """And closed only after it: there is never a moment with nothing to go back to."""
    stage = Stage()
    async with asyncio.timeout(10), running(stage) as (generations, _):
        assert generations.present == "first"
        assert await generations.replace(named("second"), vet=content) == "second"
        assert generations.present == "second"
        assert await stage.at_work.get() == "second"
        await generations.replace(named("third"), vet=content)
        assert await stage.at_work.get() == "third"
    assert stage.told == [
        *("first opened", "first works", "second opened", "first stopped", "first closed"),
        *("second works", "third opened", "second stopped", "second closed"),
        *("third works", "third stopped", "third closed"),
    ]


async def test_what_cannot_be_opened_changes_nothing() -> None:
    """The present one is not even disturbed, and a later one may be well."""
    stage = Stage(unopenable={"bad"})
    async with asyncio.timeout(10), running(stage) as (generations, task):
        with pytest.raises(ConfigInvalid, match="bad is no good"):
            await generations.replace(named("bad"), vet=content)
        assert stage.told == ["first opened", "first works"]
        assert not task.done()
        assert await generations.replace(named("good"), vet=content) == "good"


async def test_what_is_found_wrong_once_it_is_open_changes_nothing() -> None:
    """It is closed again, and the present one works on."""

    async def against(parts: str) -> None:
        raise ConfigInvalid(f"{parts} has no code")

    stage = Stage()
    async with asyncio.timeout(10), running(stage) as (generations, _):
        with pytest.raises(ConfigInvalid, match="bad has no code"):
            await generations.replace(named("bad"), vet=against)
        assert stage.told == ["first opened", "first works", "bad opened", "bad closed"]
        assert generations.present == "first"


async def test_an_error_of_a_generation_is_raised() -> None:
    """A service whose agents have failed must not look alive."""
    stage = Stage()
    async with asyncio.timeout(10), running(stage) as (_, task):
        stage.failing.set()
        with pytest.raises(ZeroDivisionError, match="first"):
            await task
    assert stage.told[-1] == "first closed"


async def test_a_generation_that_does_not_stop_ends_the_service() -> None:
    """Two generations at once would be worse than none."""
    stage = Stage(unstoppable=True)
    async with asyncio.timeout(10), running(stage) as (generations, task):
        asking = asyncio.create_task(generations.replace(named("second"), vet=content))
        with pytest.raises(Fatal, match="do not stop"):
            await task
        assert generations.is_stuck
        assert "second works" not in stage.told
        asking.cancel()
    assert {"first closed", "second closed"} <= set(stage.told)


@pytest.mark.parametrize("fails_first", [True, False])
async def test_what_fails_at_a_hand_over_is_told_and_the_next_takes_over(
    fails_first: bool,
) -> None:
    """In the very turn of the loop in which its successor was ready, or while it stops."""
    stage = Stage(fails_to_stop=not fails_first)
    async with asyncio.timeout(10), running(stage) as (generations, task):
        if fails_first:
            stage.failing.set()
        with structlog.testing.capture_logs() as logs:
            await generations.replace(named("second"), vet=content)
        stage.fails_to_stop = False
        stage.failing.clear()
        assert not task.done()
        (told,) = [line for line in logs if line["event"] == "former_generation_failed"]
        assert "first" in repr(told["exc_info"])
        assert generations.present == "second"


async def test_reloads_at_once_come_one_after_another() -> None:
    """Each of them takes over in its turn."""
    stage = Stage()
    async with asyncio.timeout(10), running(stage) as (generations, _):
        names = [f"n{number}" for number in range(4)]
        await asyncio.gather(*(generations.replace(named(name), vet=content) for name in names))
        assert generations.present == "n3"
    assert [one for one in stage.told if one.endswith("closed")] == [
        f"{name} closed" for name in ("first", *names)
    ]
