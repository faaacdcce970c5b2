"""One endpoint against a server that lies: each lie is named, bounded, and leaks no secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web

from relayer.chains import ChainClient
from relayer.chains.health import FIRST_COOL_DOWN_S, LONGEST_COOL_DOWN_S, Health, Pace
from relayer.errors import (
    CallReverted,
    EndpointsExhausted,
    RangeTooWide,
    RpcRefused,
    StaleEndpoint,
)
from tests.unit.chain_node import Node, Refused, Time, client_of, running, settings

SECRET = "k3y-0123456789abcdef"


def _fixed(body: Any, **more: Any) -> Any:
    """A reply with given text, whatever was asked."""
    text = body if isinstance(body, str) else json.dumps(body)
    return lambda asked: web.Response(text=text, content_type="application/json", **more)


def _ok(asked: Any, **changes: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": asked["id"], "result": "0x1"} | changes


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (_fixed("<html>busy</html>"), "not JSON-RPC"),
        (_fixed("<html>gone</html>", status=502), "HTTP status 502"),
        (_fixed('"0x1"'), "not JSON-RPC"),
        (_fixed("[" * 200_000), "not JSON-RPC"),
        (_fixed("[]"), "not an object"),
        (lambda asked: web.json_response(_ok(asked, id=asked["id"] + 1)), "another id"),
        (lambda asked: web.json_response(_ok(asked, id=None)), "another id"),
        (lambda asked: web.json_response({"id": asked["id"]}), "neither result nor error"),
        (lambda asked: web.json_response(_ok(asked, error="no")), "not an object"),
        (_fixed("{}", status=302, headers={"Location": "http://127.0.0.1:1/"}), "HTTP status 302"),
        (_fixed('{"result": "0x1"}', status=401), "HTTP status 401"),
        (lambda asked: web.json_response(_ok(asked, result="1")), "hex quantity"),
        (lambda asked: web.json_response(_ok(asked, result="0x" + "f" * 65)), "hex quantity"),
        (lambda asked: web.json_response(_ok(asked, result=None)), "hex quantity"),
    ],
)
async def test_nonsense_is_the_endpoints_failure(reply: Any, words: str) -> None:
    """Every kind of wrong answer becomes a transient error that says what was wrong."""
    node = Node()
    async with client_of(node) as chain:
        node.reply = reply
        with pytest.raises(EndpointsExhausted, match=words):
            await chain.balance("0x" + "00" * 20)
        assert chain.health()[0].healthy is False
        assert chain.health()[0].errors == 1


async def test_body_over_the_limit_is_cut_off() -> None:
    """An endless body is read to the limit and no further."""
    sent = 0

    async def endless(asked: Any) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(node.request)
        for _ in range(10_000):
            try:
                await response.write(b" " * 65_536)
            except ConnectionError:
                break
            sent += 65_536
        return response

    class Endless(Node):
        request: web.Request

        async def serve(self, request: web.Request) -> web.StreamResponse:
            self.request = request
            return await super().serve(request)

    node = Endless()
    async with client_of(node, max_response_bytes=1_000_000) as chain:
        node.reply = endless
        with pytest.raises(EndpointsExhausted, match="over 1000000 bytes"):
            await chain.balance("0x" + "00" * 20)
    assert sent < 100_000_000


async def test_too_many_logs_ask_for_a_smaller_range() -> None:
    """An oversize answer to eth_getLogs is the range's fault while there is a range to shrink."""
    node = Node()
    async with client_of(node, max_response_bytes=70_000) as chain:
        node.on["eth_getLogs"] = lambda params: ["x" * 100_000]
        with pytest.raises(RangeTooWide):
            await chain.logs(1, 50, addresses=["0x" + "ab" * 20], topics=[])
        assert chain.health()[0].errors == 0
        with pytest.raises(EndpointsExhausted, match="one block"):
            await chain.logs(50, 50, addresses=["0x" + "ab" * 20], topics=[])


async def test_silence_ends_at_the_time_out() -> None:
    """A server that never answers costs the configured time-out, not more."""
    released = asyncio.Event()

    async def silent(asked: Any) -> web.StreamResponse:
        await released.wait()
        return web.json_response(_ok(asked))

    node = Node()
    async with client_of(node, timeout_s=0.1) as chain:
        node.reply = silent
        with pytest.raises(EndpointsExhausted, match=r"timed out after 0\.1 s"):
            await chain.balance("0x" + "00" * 20)
        released.set()


async def test_refused_connection_is_a_failure() -> None:
    """Nobody listening is an EndpointsExhausted that names the host only."""
    node = Node()
    async with running(node):
        pass
    chain = ChainClient("seven", settings(node, path=f"/v3/{SECRET}"))
    try:
        with pytest.raises(EndpointsExhausted) as caught:
            await chain.balance("0x" + "00" * 20)
        assert SECRET not in str(caught.value)
        assert f"127.0.0.1:{node.port}" in str(caught.value)
    finally:
        await chain.aclose()


def _echo(code: int, text: str) -> Any:
    def refuse(params: Any) -> Any:
        raise Refused(code, f"{text} {SECRET} http://h/v3/{SECRET}?a=1")

    return refuse


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (-32000, "insufficient funds", RpcRefused),
        (3, "execution reverted", CallReverted),
        (-32000, "header not found", StaleEndpoint),
        (429, "too many requests", EndpointsExhausted),
        (-32601, "no such method", RpcRefused),
    ],
)
async def test_url_secrets_never_reach_an_error(code: int, text: str, kind: type) -> None:
    """A node that echoes the key of its own URL is cut short of it, in every kind of error."""
    node = Node()
    async with client_of(node, path=f"/v3/{SECRET}?apikey={SECRET}x") as chain:
        node.on["eth_call"] = _echo(code, text)
        with pytest.raises(kind) as caught:
            await chain.call({"to": "0x" + "00" * 20})
        seen = caught.value
        assert SECRET not in f"{seen!s} {seen!r} {vars(seen)} {seen.__cause__} {seen.__context__}"
        shown = f"{chain!r} {chain.settings!r} {chain.health()!r}"
        assert SECRET not in shown


async def test_user_part_of_the_url_authenticates_and_is_not_shown() -> None:
    """Userinfo becomes a Basic header; the endpoint's name has neither user nor password."""
    node = Node()
    async with running(node):
        chosen = settings(node)
        url = f"http://someuser:passw0rd@127.0.0.1:{node.port}/rpc"
        fields = {"url": url}
        chosen = settings(node, endpoints=[fields])
        chain = ChainClient("seven", chosen)
        try:
            await chain.start()
            assert node.headers[0]["Authorization"].startswith("Basic ")
            assert chain.health()[0].name == f"http://127.0.0.1:{node.port}"
        finally:
            await chain.aclose()


@pytest.mark.parametrize(
    ("data", "revert"),
    [
        ("0x08c379a0", "08c379a0"),
        ("Reverted 0x0102", "0102"),
        ({"data": "0x0304"}, "0304"),
        ({"originalError": {"data": "0x0506"}}, "0506"),
        ("0x" + "ab" * 70_000, "ab" * 65_536),
        ("0xzz", ""),
        ({"data": {"data": {"data": {"data": "0x01"}}}}, ""),
        (None, ""),
        (7, ""),
    ],
)
async def test_revert_bytes_are_found_and_bounded(data: Any, revert: str) -> None:
    """Revert data is read in every client's form, at most 64 KiB of it, and never costs health."""

    def refuse(params: Any) -> Any:
        raise Refused(3, "execution reverted", data)

    node = Node()
    async with client_of(node) as chain:
        node.on["eth_call"] = refuse
        with pytest.raises(CallReverted) as caught:
            await chain.call({"to": "0x" + "00" * 20})
        assert caught.value.revert.hex() == revert
        assert chain.health()[0].errors == 0


async def test_batches_are_split_at_max_batch() -> None:
    """No body has more requests than the endpoint allows, and answers keep their order."""
    node = Node()
    node.on["eth_getBalance"] = lambda params: params[0]
    async with client_of(node, endpoint={"max_batch": 3}) as chain:
        node.bodies.clear()
        answers = await chain.batch([("eth_getBalance", [hex(n)]) for n in range(8)])
        assert answers == [hex(n) for n in range(8)]
        assert sorted(len(body) for body in node.bodies) == [2, 3, 3]


async def test_batch_answered_in_another_order_is_put_right() -> None:
    """Replies are matched by id, as JSON-RPC allows any order."""
    node = Node()
    node.on["eth_getBalance"] = lambda params: params[0]
    async with client_of(node) as chain:
        node.reply = lambda body: web.json_response([node.reply_to(c) for c in reversed(body)])
        answers = await chain.batch([("eth_getBalance", [hex(n)]) for n in range(5)])
        assert answers == [hex(n) for n in range(5)]


async def test_short_batch_is_nonsense() -> None:
    """A batch with a reply missing is no answer at all."""
    node = Node()
    async with client_of(node) as chain:
        node.reply = lambda body: web.json_response([node.reply_to(c) for c in body[1:]])
        with pytest.raises(EndpointsExhausted, match="as many replies"):
            await chain.batch([("eth_blockNumber", [])] * 3)


async def test_duplicated_ids_in_a_batch_are_nonsense() -> None:
    """One reply cannot stand for two requests."""
    node = Node()
    async with client_of(node) as chain:
        node.reply = lambda body: web.json_response([node.reply_to(body[0])] * 2)
        with pytest.raises(EndpointsExhausted, match="missing"):
            await chain.batch([("eth_blockNumber", [])] * 2)


async def test_endpoint_without_batches_is_asked_singly() -> None:
    """A refusal of batches as such halves them until they are taken."""

    def no_batches(body: Any) -> web.StreamResponse:
        if isinstance(body, list) and len(body) > 2:
            error = {"code": -32600, "message": "batch too large"}
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": error})
        calls = body if isinstance(body, list) else [body]
        replies = [node.reply_to(call) for call in calls]
        return web.json_response(replies if isinstance(body, list) else replies[0])

    node = Node()
    node.on["eth_getBalance"] = lambda params: params[0]
    async with client_of(node) as chain:
        node.reply = no_batches
        asked = [("eth_getBalance", [hex(n)]) for n in range(7)]
        assert await chain.batch(asked) == [hex(n) for n in range(7)]
        assert chain.health()[0].errors == 0
        node.bodies.clear()
        await chain.batch(asked)
        assert max(len(b) if isinstance(b, list) else 1 for b in node.bodies) <= 2


async def test_one_refused_item_leaves_the_others() -> None:
    """A batch answers item by item, with an error in the place of the refused one."""

    def balance(params: Any) -> Any:
        if params[0] == "0x1":
            raise Refused(-32000, "no such account")
        return params[0]

    node = Node()
    node.on["eth_getBalance"] = balance
    async with client_of(node) as chain:
        first, second, third = await chain.batch([("eth_getBalance", [hex(n)]) for n in range(3)])
        assert (first, third) == ("0x0", "0x2")
        assert isinstance(second, RpcRefused)
        assert chain.health()[0].errors == 0


async def test_concurrency_is_bounded() -> None:
    """Never more requests under way than `max_concurrency`."""
    under_way = 0
    most = 0
    gate = asyncio.Event()

    async def slow(body: Any) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 3:
            gate.set()
        await gate.wait()
        under_way -= 1
        return web.json_response(node.reply_to(body))

    node = Node()
    node.on["eth_getBalance"] = lambda params: "0x1"
    async with client_of(node, endpoint={"max_concurrency": 3}) as chain:
        node.reply = slow
        await asyncio.gather(*(chain.balance("0x" + "00" * 20) for _ in range(12)))
    assert most == 3


async def test_rate_limit_answer_cools_the_endpoint_down() -> None:
    """HTTP 429 is obeyed for as long as Retry-After says, within reason."""
    time = Time()
    node = Node()
    node.on["eth_getBalance"] = lambda params: "0x1"
    async with client_of(node, clock=time) as chain:
        node.reply = _fixed("{}", status=429, headers={"Retry-After": "9"})
        with pytest.raises(EndpointsExhausted, match="rate limited"):
            await chain.balance("0x" + "00" * 20)
        node.reply = None
        time.now += 8.9
        asked = len(node.asked)
        with pytest.raises(EndpointsExhausted, match="cooling down after: rate limited"):
            await chain.balance("0x" + "00" * 20)
        assert len(node.asked) == asked
        time.now += 0.2
        assert await chain.balance("0x" + "00" * 20) == 1


async def test_every_request_is_observed_once() -> None:
    """The observer hears chain, endpoint, methods, outcome and seconds of each HTTP request."""
    seen: list[tuple[str, str, list[str], str]] = []

    def observe(
        chain: str, endpoint: str, methods: Sequence[str], outcome: str, seconds: float
    ) -> None:
        assert seconds >= 0
        seen.append((chain, endpoint, list(methods), outcome))

    node = Node()
    async with client_of(node, start=False, observer=observe) as chain:
        await chain.tip()
        with pytest.raises(RpcRefused):
            await chain.rpc("eth_nothing", [])
        node.reply = _fixed("<html>")
        with pytest.raises(EndpointsExhausted):
            await chain.rpc("eth_blockNumber", [])
    name = node.url
    assert seen == [
        ("seven", name, ["eth_chainId"], "ok"),
        ("seven", name, ["eth_getBlockByNumber"] * 2, "ok"),
        ("seven", name, ["eth_nothing"], "rpc_refused"),
        ("seven", name, ["eth_blockNumber"], "endpoint_down"),
    ]


def test_cool_down_doubles_and_ends_with_a_success() -> None:
    """Failures in a row wait 0.5, 1, 2 ... s up to the longest; a success starts over."""
    health = Health()
    now = 0.0
    pauses = []
    for _ in range(9):
        health.failed(now, "down")
        start = now
        while health.is_cooling(now):
            now += 0.25
        pauses.append(now - start)
    assert pauses[:4] == [FIRST_COOL_DOWN_S * 2**n for n in range(4)]
    assert pauses[-1] == LONGEST_COOL_DOWN_S
    health.answered(0.1)
    health.failed(now, "down")
    assert not health.is_cooling(now + FIRST_COOL_DOWN_S)


def test_failures_under_way_together_count_once() -> None:
    """Sixteen concurrent time-outs are one reason to pause, not sixteen."""
    health = Health()
    for _ in range(16):
        health.failed(10.0, "timed out")
    assert health.errors == 16
    assert not health.is_cooling(10.0 + FIRST_COOL_DOWN_S)


def test_pace_spreads_requests() -> None:
    """After a second's worth at once, further requests wait for their turn."""
    pace = Pace(10.0)
    assert pace.reserve(10, 100.0) == 0.0
    assert pace.reserve(1, 100.0) == pytest.approx(0.0)
    assert pace.reserve(1, 100.0) == pytest.approx(0.1)
    assert pace.reserve(5, 100.0) == pytest.approx(0.2)
    assert pace.reserve(1, 105.0) == 0.0
    assert Pace(None).reserve(1000, 0.0) == 0.0
