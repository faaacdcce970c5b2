"""A JSON-RPC node on a loopback port that tells the truth, until a test makes it lie."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from relayer.chains import ChainClient
from relayer.settings import ChainSettings, EndpointSettings, FinalitySettings

CHAIN = 7
MULTICALL = "0xca11bde05977b3631167028862be2a173976ca11"
OUTBOX = "0x" + "ab" * 20
TOPIC = bytes.fromhex("11" * 32)


class Refused(Exception):
    """What a node answers instead of a result."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "data": data}


def block_hash(number: int, fork: int = 0) -> str:
    """The hash of a block of the pretended chain."""
    return "0x" + f"{fork:02x}" + "bb" * 23 + f"{number:016x}"


def header(number: int, fork: int = 0) -> dict[str, Any]:
    """A block without transactions."""
    return {
        "number": hex(number),
        "hash": block_hash(number, fork),
        "parentHash": block_hash(max(0, number - 1), fork),
        "timestamp": hex(1_700_000_000 + number),
        "stateRoot": "0x" + "cc" * 32,
        "baseFeePerGas": hex(10**9),
        "gasLimit": hex(30_000_000),
        "transactions": ["0x" + "dd" * 32],
    }


def log(number: int, index: int = 0, fork: int = 0, **changes: Any) -> dict[str, Any]:
    """One log of the outbox."""
    return {
        "address": OUTBOX,
        "topics": ["0x" + TOPIC.hex()],
        "data": "0x" + "ee" * 32,
        "blockNumber": hex(number),
        "blockHash": block_hash(number, fork),
        "transactionHash": "0x" + f"{number:064x}",
        "transactionIndex": "0x0",
        "logIndex": hex(index),
        "removed": False,
    } | changes


class Node:
    """`on` overrides a method; `reply` overrides whole HTTP answers."""

    def __init__(self, head: int = 100) -> None:
        self.head = head
        self.fork = 0
        self.logs: list[dict[str, Any]] = []
        self.on: dict[str, Callable[[Sequence[Any]], Any]] = {}
        self.reply: Callable[[Any], Awaitable[web.StreamResponse] | web.StreamResponse] | None
        self.reply = None
        self.asked: list[tuple[str, Any]] = []
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0
        self.sockets: list[web.WebSocketResponse] = []
        self.subscribed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        """Methods asked so far, in order."""
        return [method for method, _ in self.asked]

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        """What an honest node says."""
        match method:
            case "eth_chainId":
                return hex(CHAIN)
            case "eth_blockNumber":
                return hex(self.head)
            case "eth_getBlockByNumber":
                return self._block(params[0])
            case "eth_getBlockByHash":
                number = int(params[0][-16:], 16)
                return header(number, self.fork) if number <= self.head else None
            case "eth_getLogs":
                first, last = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
                return [one for one in self.logs if first <= int(one["blockNumber"], 16) <= last]
            case "eth_getCode" | "eth_call":
                return "0x"
        raise Refused(-32601, f"the method {method} does not exist")

    def _block(self, asked: str) -> Any:
        tags = {"latest": self.head, "safe": self.head - 5, "finalized": self.head - 10}
        number = tags[asked] if asked in tags else int(asked, 16)
        return header(number, self.fork) if 0 <= number <= self.head else None

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """POST /<anything>."""
        self.headers.append(dict(request.headers))
        body = json.loads(await request.read())
        self.bodies.append(body)
        calls = body if isinstance(body, list) else [body]
        self.asked += [(call["method"], call["params"]) for call in calls]
        if self.reply is not None:
            answer = self.reply(body)
            return answer if isinstance(answer, web.StreamResponse) else await answer
        replies = [self.reply_to(call) for call in calls]
        return web.json_response(replies if isinstance(body, list) else replies[0])

    def reply_to(self, call: dict[str, Any]) -> dict[str, Any]:
        """The JSON-RPC reply to one request."""
        form = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            method = self.on.get(call["method"])
            found = (
                method(call["params"]) if method else self.answer(call["method"], call["params"])
            )
        except Refused as refused:
            return form | {"error": refused.error}
        return form | {"result": found}

    async def serve_socket(self, request: web.Request) -> web.StreamResponse:
        """GET /ws: `eth_subscribe` and then whatever the test pushes."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for note in socket:
            call = json.loads(note.data)
            await socket.send_json({"jsonrpc": "2.0", "id": call["id"], "result": "0x1"})
            self.subscribed.set()
        return socket

    async def push_head(self, number: int) -> None:
        """Tell every subscriber of a new head."""
        self.head = number
        note = {"subscription": "0x1", "result": header(number)}
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_json(
                    {"jsonrpc": "2.0", "method": "eth_subscription", "params": note}
                )


@contextlib.asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    """Serve nodes on free loopback ports, each under its `port`."""
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            app = web.Application(client_max_size=2**26)
            app.router.add_get("/ws", node.serve_socket)
            app.router.add_post("/{path:.*}", node.serve)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            node.port = runner.addresses[0][1]
        yield


class Time:
    """A clock that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def settings(*nodes: Node, path: str = "", **changes: Any) -> ChainSettings:
    """A chain over nodes, in order of priority."""
    endpoint = changes.pop("endpoint", {})
    fields: dict[str, Any] = {
        "id": CHAIN,
        "finality": FinalitySettings(tag="finalized"),
        "block_time_s": 1.0,
        "poll_s": 0.01,
        "timeout_s": 5.0,
        "multicall": None,
        "endpoints": [
            EndpointSettings(url=SecretStr(node.url + path), priority=place, **endpoint)
            for place, node in enumerate(nodes)
        ],
    }
    return ChainSettings(**(fields | changes))


@contextlib.asynccontextmanager
async def client_of(
    *nodes: Node, start: bool = True, clock: Callable[[], float] | None = None, **changes: Any
) -> AsyncIterator[ChainClient]:
    """A started client of running nodes, closed at the end; `observer` goes to the client."""
    observer = changes.pop("observer", None)
    async with running(*nodes):
        chain = ChainClient(
            "seven", settings(*nodes, **changes), clock=clock or Time(), observer=observer
        )
        try:
            if start:
                await chain.start()
            yield chain
        finally:
            await chain.aclose()
