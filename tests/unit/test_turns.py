"""What is heavy takes turns: one at a time, clients in turn, and a rest after each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from relayer.ops.api.turns import LONGEST_REST_S, REST, Line, Turns
from relayer.ops.web import Refused

MOST, MOST_OF_CLIENT = 6, 2


class Day:
    """Time in the hands of the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[tuple[float, Callable[[], None]]] = []
        self.turns = Turns(clock=lambda: self.now, later=self._later)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self.rests.append((seconds, call))

    async def over(self) -> None:
        """The rest is over; whoever is next has begun when it returns."""
        self.rests.pop()[1]()
        await settled()


async def settled() -> None:
    """Let everybody come as far as they can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_rest_in_proportion_follows_each_turn() -> None:
    """The answer does not wait for it; the next one does."""
    day, begun = Day(), []

    async def work() -> None:
        async with day.turns.turn("b"):
            begun.append("b")

    async with day.turns.turn("a"):
        day.now += 0.05
    assert [seconds for seconds, _ in day.rests] == [pytest.approx(0.05 * REST)]
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        await settled()
        assert begun == []
        await day.over()
    assert begun == ["b"]


async def test_a_slow_store_is_no_work() -> None:
    """What took long because something else did is not rested from for long."""
    day = Day()
    async with day.turns.turn("a"):
        day.now += 60
    assert [seconds for seconds, _ in day.rests] == [LONGEST_REST_S]


async def test_who_wants_much_waits_for_himself() -> None:
    """A client with one wish is next, however many another has in line before it."""
    day, begun = Day(), []

    async def work(client: str) -> None:
        async with day.turns.turn(client):
            begun.append(client)

    async with asyncio.TaskGroup() as group:
        async with day.turns.turn("first"):
            for client in ("greedy",) * 10 + ("modest",):
                group.create_task(work(client))
            await settled()
        for _ in range(11):
            await day.over()
    assert begun == ["greedy", "modest", *("greedy",) * 9]


async def test_answers_in_line_are_bounded() -> None:
    """Of one client and in all; a place is free again whether it was answered or given up."""
    day = Day()
    line = Line(day.turns, most=MOST, most_of_client=MOST_OF_CLIENT)
    waiting: list[asyncio.Task[None]] = []

    async def work(client: str) -> None:
        async with line.turn(client):
            pass

    async def is_taken(client: str, refusal: int = 503) -> bool:
        task = asyncio.create_task(work(client))
        await settled()
        if task.done():
            with pytest.raises(Refused, match="too many") as refused:
                task.result()
            assert refused.value.status == refusal
            return False
        waiting.append(task)
        return True

    async with day.turns.turn("first"):
        assert [await is_taken("a", 429) for _ in range(MOST_OF_CLIENT + 1)] == [
            *(True,) * MOST_OF_CLIENT, False,
        ]  # fmt: skip
        others = MOST - MOST_OF_CLIENT
        assert all([await is_taken(f"other {number}") for number in range(others)])
        assert not await is_taken("one more")
        waiting.pop().cancel()
        await settled()
        assert await is_taken("one more")
        assert not await is_taken("another")
    for _ in range(MOST + 1):
        await day.over()
    assert all(task.done() for task in waiting)
    async with day.turns.turn("last"):
        assert await is_taken("a")
    await day.over()
    assert waiting[-1].done()
