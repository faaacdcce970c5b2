"""A small JSON-RPC client for our own local nodes: trusting, unlike the relayer's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import aiohttp

from relayer.errors import BadChainData, CallReverted, EndpointDown, RelayerError, RpcRefused

MAX_BATCH = 200
"""Requests per HTTP body; anvil refuses bodies over 2 MB."""
REVERT_CODE = 3
"""The JSON-RPC error code of an execution error (execution-apis, `eth_call`)."""


class NodeRpc:
    """JSON-RPC over one keep-alive session; use as an async context manager."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the session; a later call opens a new one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(self, method: str, *params: Any) -> Any:
        """Answer one request; raises EndpointDown, CallReverted or RpcRefused."""
        reply = await self._post({"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
        return _result(reply)

    async def batch(self, requests: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Answer requests in order, in bodies of at most `MAX_BATCH`; the first error raises."""
        results: list[Any] = []
        for first in range(0, len(requests), MAX_BATCH):
            part = requests[first : first + MAX_BATCH]
            replies = await self._post(
                [
                    {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
                    for place, (method, params) in enumerate(part)
                ]
            )
            if not isinstance(replies, list) or len(replies) != len(part):
                raise BadChainData(f"{self.url} answered a batch of {len(part)} with {replies!r}")
            results += map(_result, sorted(replies, key=lambda reply: int(reply["id"])))
        return results

    async def _post(self, body: object) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s)
            )
        try:
            async with self._session.post(self.url, json=body) as response:
                return await response.json(content_type=None)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise EndpointDown(self.url, f"{type(error).__name__}: {error}"[:200]) from error


def _result(reply: Any) -> Any:
    if not isinstance(reply, dict):
        raise BadChainData(f"not a JSON-RPC reply: {str(reply)[:200]}")
    error = reply.get("error")
    if error is not None:
        raise _refusal(error)
    return reply.get("result")


def _refusal(error: dict[str, Any]) -> RelayerError:
    code, text, revert = int(error["code"]), str(error["message"]), error.get("data")
    if code != REVERT_CODE:
        return RpcRefused(code, text)
    return CallReverted(text, bytes.fromhex(revert[2:]) if isinstance(revert, str) else b"")
