"""One JSON-RPC endpoint: a web3 provider whose every answer is bounded, timed and checked.

Transport failures become `EndpointDown`, the node's own refusals `CallReverted`, `RangeTooWide` or
`RpcRefused`. No URL beyond scheme and host is ever shown: paths and queries hold API keys.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import aiohttp
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from relayer.chains.logs import is_range_refusal
from relayer.errors import CallReverted, EndpointDown, RangeTooWide, RelayerError, RpcRefused
from relayer.settings import EndpointSettings

Request = tuple[str, Sequence[Any]]
Observer = Callable[[str, str, str, str, float], None]
"""(chain, endpoint, method, outcome, seconds), once per request, batched or not."""

FIRST_COOL_DOWN_S = 1.0
LONGEST_COOL_DOWN_S = 60.0
READ_CHUNK = 64 * 1024
METHOD_NOT_FOUND = -32601
RATE_LIMITED = -32005
REVERT_CODES = frozenset({3, -32000, -32015})
REVERT_WORDS = ("revert", "out of gas", "gas required exceeds", "invalid opcode", "outofgas")


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """What /readyz and metrics say about one endpoint."""

    name: str
    healthy: bool
    lag_blocks: int
    errors: int
    latency_s: float


def redacted(url: str) -> str:
    """Scheme, host and port only."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


class Endpoint(AsyncJSONBaseProvider):
    """A bounded, health-keeping web3 provider for one URL."""

    def __init__(
        self,
        chain: str,
        settings: EndpointSettings,
        *,
        timeout_s: float,
        max_response_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.name = redacted(settings.url.get_secret_value())
        self.head = 0
        self._chain = chain
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._max_bytes = max_response_bytes
        self._clock = clock
        self._observer = observer
        self._slots = asyncio.Semaphore(settings.max_concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._errors = 0
        self._cool_until = 0.0
        self._latency_s = 0.0
        self._next_turn = 0.0

    @property
    def is_cooling(self) -> bool:
        return self._clock() < self._cool_until

    def health(self, best_head: int, lag_limit: int) -> EndpointHealth:
        """Healthy: not cooling down and not too far behind the best head seen."""
        lag = max(0, best_head - self.head) if self.head else 0
        healthy = not self.is_cooling and lag <= lag_limit
        return EndpointHealth(self.name, healthy, lag, self._errors, self._latency_s)

    async def aclose(self) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer one request in web3's own form, errors of the node included."""
        (reply,) = await self._post([(method, params)])
        return cast(RPCResponse, reply)

    async def ask(self, requests: Sequence[Request]) -> list[Any]:
        """Results in order; a refused item is a `RelayerError` in its place.

        Raises `EndpointDown` when the endpoint as a whole did not answer as it should.
        """
        answers: list[Any] = []
        size = self.settings.max_batch
        for start in range(0, len(requests), size):
            part = requests[start : start + size]
            replies = await self._post(part)
            for (method, _), reply in zip(part, replies, strict=True):
                answers.append(self._result(method, reply))
        return answers

    async def _post(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        await self._take_turn()
        forms = [self.form_request(RPCEndpoint(method), params) for method, params in requests]
        body = json.dumps(forms[0] if len(forms) == 1 else forms).encode()
        started = self._clock()
        try:
            async with self._slots:
                raw = await self._exchange(body)
            replies = _matched(forms, raw, self.name)
        except EndpointDown as error:
            self._failed()
            self._observe(requests, error.label, self._clock() - started)
            raise
        took = self._clock() - started
        self._latency_s = 0.8 * self._latency_s + 0.2 * took
        self._errors = 0
        self._cool_until = 0.0
        self._observe(requests, "ok", took)
        return replies

    async def _exchange(self, body: bytes) -> Any:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        headers = {"Content-Type": "application/json"}
        url = self.settings.url.get_secret_value()
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                text = await self._bounded(answer)
                if answer.status != 200 and not text.startswith((b"{", b"[")):
                    raise EndpointDown(self.name, f"HTTP status {answer.status}")
        except TimeoutError:
            raise EndpointDown(self.name, f"no answer in {self._timeout.total} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise EndpointDown(self.name, type(error).__name__) from None
        try:
            return json.loads(text)
        except ValueError:
            raise EndpointDown(self.name, "the answer is not JSON") from None

    async def _bounded(self, answer: aiohttp.ClientResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for chunk in answer.content.iter_chunked(READ_CHUNK):
            size += len(chunk)
            if size > self._max_bytes:
                answer.close()
                raise EndpointDown(self.name, f"the answer is over {self._max_bytes} bytes")
            parts.append(chunk)
        return b"".join(parts)

    async def _take_turn(self) -> None:
        """Keep to `requests_per_s`, counting HTTP requests."""
        if self.settings.requests_per_s is None:
            return
        at = max(self._clock(), self._next_turn)
        self._next_turn = at + 1.0 / self.settings.requests_per_s
        await asyncio.sleep(max(0.0, at - self._clock()))

    def _failed(self) -> None:
        self._errors += 1
        pause = min(LONGEST_COOL_DOWN_S, FIRST_COOL_DOWN_S * 2.0 ** min(self._errors - 1, 10))
        self._cool_until = self._clock() + pause

    def _observe(self, requests: Sequence[Request], outcome: str, seconds: float) -> None:
        if self._observer is not None:
            for method, _ in requests:
                self._observer(self._chain, self.name, method, outcome, seconds)

    def _result(self, method: str, reply: dict[str, Any]) -> Any:
        error = reply.get("error")
        if error is None:
            return reply.get("result")
        return _refusal(method, error)


def _matched(forms: Sequence[Any], raw: Any, name: str) -> list[dict[str, Any]]:
    """Replies in the order of the requests, by id; anything else is a broken endpoint."""
    if len(forms) == 1:
        raw = [raw]
    if not isinstance(raw, list):
        text = json.dumps(raw)[:200]
        raise EndpointDown(name, f"a batch was answered by {text}")
    by_id = {one.get("id"): one for one in raw if isinstance(one, dict)}
    replies = []
    for form in forms:
        reply = by_id.get(form["id"])
        if reply is None or ("result" in reply) == (reply.get("error") is not None):
            raise EndpointDown(name, "a reply is missing or has neither result nor error")
        replies.append(reply)
    return replies


def _refusal(method: str, error: Any) -> RelayerError:
    """What a node's error object means; application errors are never the endpoint's fault."""
    if not isinstance(error, dict):
        return RpcRefused(0, str(error)[:200])
    text = str(error.get("message", ""))[:500]
    code = error.get("code")
    number = code if isinstance(code, int) else 0
    if method == "eth_getLogs" and is_range_refusal(text):
        return RangeTooWide(text)
    revert = _revert_bytes(error.get("data"))
    runs_code = method in ("eth_call", "eth_estimateGas")
    if runs_code and (revert or any(word in text.lower() for word in REVERT_WORDS)):
        return CallReverted(text, revert)
    return RpcRefused(number, text)


def _revert_bytes(found: Any) -> bytes:
    """Revert data wherever clients put it: a hex string, or an object that holds one."""
    if isinstance(found, dict):
        found = found.get("data") or found.get("result")
    if not isinstance(found, str):
        return b""
    text = found.removeprefix("Reverted ").removeprefix("0x")[:2048]
    try:
        return bytes.fromhex(text[: len(text) // 2 * 2])
    except ValueError:
        return b""
