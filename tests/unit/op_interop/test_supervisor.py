"""The pre-check, over real HTTP: refusals, the failsafe, and answers that are none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from relayer.adapter import Call, Refuse, Step, Wait
from relayer.message import Reason
from relayer.protocols.op_interop import contracts
from relayer.protocols.op_interop.identifier import Identifier
from tests.unit.op_interop.world import BLOCK_S, START, A, World


class Filter:
    """Answers `supervisor_checkAccessList`; tests say what it has against which keys."""

    def __init__(self) -> None:
        self.url = ""
        self.doubted: set[str] = set()
        self.words = "conflicting data"
        self.failsafe = False
        self.raw: bytes | None = None
        self.asked: list[Sequence[Any]] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Filter]:
        app = web.Application()
        app.router.add_post("/", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["method"] == "supervisor_checkAccessList"
        self.asked.append(body["params"])
        if self.raw is not None:
            return web.Response(body=self.raw)
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"], "result": None}
        words = "failsafe is enabled" if self.failsafe else self.words
        if self.failsafe or self.doubted & set(body["params"][0]):
            reply = {
                "jsonrpc": "2.0",
                "id": body["id"],
                "error": {"code": -32000, "message": words},
            }
        return web.json_response(reply)


@pytest.fixture
async def guard() -> AsyncIterator[Filter]:
    async with Filter().serving() as made:
        yield made


@pytest.fixture
async def world(guard: Filter) -> AsyncIterator[World]:
    made = World({"chains": {"a": {}, "b": {"supervisor": guard.url}}})
    yield made
    await made.adapter.aclose()


def keys_of(step: Step) -> list[str]:
    assert isinstance(step, Call), step
    return ["0x" + key.hex() for key in step.access_list[0][1]]


async def test_a_batch_is_asked_about_at_once(world: World, guard: Filter) -> None:
    """All keys in order, the level that transaction pools ask for, the destination and its time."""
    records = world.send(3)
    steps = await world.adapter.next_steps(records)
    (params,) = guard.asked
    keys, level, executing = params
    assert keys == [key for record in records for key in keys_of(steps[record.id])]
    assert level == "cross-unsafe"
    assert executing == {
        "chainID": "902",
        "timestamp": hex(START + 100 * BLOCK_S),
        "timeout": "0x15180",
    }


async def test_one_doubted_message_is_found(world: World, guard: Filter) -> None:
    """The others go; the doubted one costs nothing and is asked about again."""
    records = world.send(7)
    bad = records[4]
    identifier = Identifier(10, 4, START + 10 * BLOCK_S, A)
    message = contracts.decode_message(bad.message.payload)
    guard.doubted = {"0x" + identifier.access_keys(message.log_payload())[-1].hex()}
    steps = await world.adapter.next_steps(records)
    step = steps[bad.id]
    assert isinstance(step, Wait)
    assert step.reason is Reason.REBUILD_PROOF
    assert "conflicting data" in step.detail
    assert all(isinstance(steps[one.id], Call) for one in records if one is not bad)


async def test_the_failsafe_pauses_all_with_one_question(world: World, guard: Filter) -> None:
    """They wait as paused with the filter's word, and go on once it is off."""
    records = world.send(5)
    guard.failsafe = True
    for step in (await world.adapter.next_steps(records)).values():
        assert isinstance(step, Wait)
        assert step.reason is Reason.PAUSED
        assert "failsafe is enabled" in step.detail
    assert len(guard.asked) == 1
    guard.failsafe = False
    assert all(isinstance(one, Call) for one in (await world.adapter.next_steps(records)).values())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"jsonrpc": "2.0", "id": 2, "result": null}',
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": 1, "result": true}',
        b'{"jsonrpc": "2.0", "id": 1, "error": "no"}',
        b'{"jsonrpc": "2.0", "id": 1, "result": null, "more": "' + b"x" * 100_000 + b'"}',
        b"[" * 100_000,
    ],
)
async def test_an_answer_that_is_none_lets_nothing_through(
    world: World, guard: Filter, raw: bytes
) -> None:
    """Fail closed: only `null` under our id means yes."""
    (record,) = world.send()
    guard.raw = raw
    step = await world.step(record)
    assert isinstance(step, Wait)
    assert step.reason is Reason.SOURCE_UNREACHABLE


async def test_a_filter_that_is_gone_is_waited_for_without_its_url() -> None:
    """The URL may hold a key, so it is in no detail."""
    world = World({"chains": {"a": {}, "b": {"supervisor": "http://127.0.0.1:9/s3cret"}}})
    (record,) = world.send()
    step = await world.step(record)
    await world.adapter.aclose()
    assert isinstance(step, Wait)
    assert step.reason is Reason.SOURCE_UNREACHABLE
    assert "s3cret" not in step.detail


async def test_what_is_not_due_is_not_asked_about(world: World, guard: Filter) -> None:
    """Codeless targets and expired messages are refused before anybody is asked."""
    world.b.codes.clear()
    (record,) = world.send()
    assert isinstance(await world.step(record), Refuse)
    assert guard.asked == []
