"""A server that signs what `eth_signTransaction` asks for, until it is told to lie.

Method: ethereum.org/developers/docs/apis/json-rpc.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web
from eth_account import Account

from tests.keepers.serving import served

PATH = "/planted-path-secret-77"
"""Whoever knows the URL may sign; nobody else is to see it."""


class Web3SignerServer:
    """One account; `twist` changes the transaction before it is signed, `answer` all of a reply."""

    def __init__(self, secret: bytes) -> None:
        self.account = Account.from_key(secret)
        self.signs_with = self.account
        self.has_accounts = True
        self.accounts = [self.account.address]
        self.twist: Callable[[dict[str, Any]], dict[str, Any]] = lambda fields: fields
        self.bend: Callable[[bytes], Any] = lambda raw: "0x" + raw.hex()
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.asked: list[dict[str, Any]] = []
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Web3SignerServer]:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post(PATH, self._serve)
        async with served(app) as base:
            self.url = base + PATH
            yield self

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.answer is not None:
            return await self.answer(request)
        body = json.loads(await request.read())
        self.asked.append(body)
        try:
            result = self._result(body["method"], body["params"])
        except LookupError:
            error = {"code": -32601, "message": "Method not found"}
            return web.json_response({"jsonrpc": "2.0", "id": body["id"], "error": error})
        return web.json_response({"jsonrpc": "2.0", "id": body["id"], "result": result})

    def _result(self, method: str, params: list[Any]) -> Any:
        if method == "eth_accounts" and self.has_accounts:
            return self.accounts
        if method != "eth_signTransaction":
            raise LookupError(method)
        fields = self.twist(dict(params[0]))
        assert fields.pop("from").lower() == self.account.address.lower()
        signed = Account.sign_transaction(_typed(fields), self.signs_with.key)
        return self.bend(bytes(signed.raw_transaction))


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    """As eth_account wants it: numbers for quantities, and the type said."""
    numbers = {"gas", "nonce", "value", "chainId", "gasPrice", "maxFeePerGas"}
    numbers |= {"maxPriorityFeePerGas"}
    typed = {k: int(v, 16) if k in numbers else v for k, v in fields.items()}
    typed["to"] = bytes.fromhex(typed["to"][2:])
    if "maxFeePerGas" in typed:
        return {"type": 2, "accessList": [], **typed}
    return {"type": 1, **typed} if "accessList" in typed else typed
