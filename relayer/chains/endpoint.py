"""One JSON-RPC endpoint: a web3 provider whose every answer is bounded, timed and matched.

Foreign exceptions end here: what is not an answer becomes `EndpointDown`, what the node refuses
becomes the error it means. Nothing of a URL but scheme, host and port is ever shown.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import aiohttp
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from relayer.chains.health import LONGEST_COOL_DOWN_S, EndpointHealth, Health, Pace
from relayer.chains.redaction import Redactor
from relayer.chains.refusals import RATE_LIMITED, refusal
from relayer.errors import EndpointDown, RangeTooWide, RelayerError, RpcRefused
from relayer.foreign_json import parse_json
from relayer.settings import EndpointSettings

Request: TypeAlias = tuple[str, Sequence[Any]]
"""(method, params)."""

RpcObserver: TypeAlias = Callable[[str, str, Sequence[str], str, float], None]
"""(chain, endpoint, methods called, `ok` or an error label, seconds) per HTTP request."""

Clock: TypeAlias = Callable[[], float]

READ_BYTES = 64 * 1024
TOO_MANY_REQUESTS = 429
OVERSIZE_CODE = 0
"""Ours, not a node's: it understood and answered, and we do not want the answer."""
VERIFIED_S = 60.0
"""A chain id is believed this long: behind a URL another node may turn up."""
TRIES = 2
"""A kept-alive connection that the other side closed is tried once more on a fresh one."""


class Endpoint(AsyncJSONBaseProvider):
    """One URL of a chain, with its own concurrency, pace and health."""

    def __init__(
        self,
        name: str,
        settings: EndpointSettings,
        *,
        chain: str,
        timeout_s: float,
        max_response_bytes: int,
        session: Callable[[], aiohttp.ClientSession],
        clock: Clock,
        observer: RpcObserver | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.priority = settings.priority
        self.health = Health()
        self.verifying = asyncio.Lock()
        self._verified_until = 0.0
        self._chain = chain
        self._url = settings.url
        sockets = [settings.ws_url] if settings.ws_url else []
        self._redactor = Redactor(url.get_secret_value() for url in [settings.url, *sockets])
        self._timeout_s = timeout_s
        self._max_bytes = max_response_bytes
        self._session = session
        self._clock = clock
        self._observer = observer
        self._slots = asyncio.Semaphore(settings.max_concurrency)
        self._pace = Pace(settings.requests_per_s)
        self._max_batch = settings.max_batch

    def __repr__(self) -> str:
        return f"Endpoint({self.name})"

    def is_cooling(self) -> bool:
        """Whether it failed so recently that it should be left alone."""
        return self.health.is_cooling(self._clock())

    @property
    def is_verified(self) -> bool:
        """Whether it has said the right chain id a while ago at most, and has not failed since."""
        return self._clock() < self._verified_until

    def verified(self) -> None:
        """Note that it has said the right chain id."""
        self._verified_until = self._clock() + VERIFIED_S

    def report(self, lag_limit: int) -> EndpointHealth:
        """What readiness and metrics say about it."""
        health = self.health
        healthy = not health.is_failing(self._clock()) and health.lag_blocks <= lag_limit
        return EndpointHealth(
            self.name, healthy, health.lag_blocks, health.errors, health.latency_s
        )

    def blame(self, cause: str) -> EndpointDown:
        """Note that it answered nonsense; returns the error that says so."""
        error = EndpointDown(self.name, self._redactor.clean(cause))
        self.health.failed(self._clock(), error.cause)
        self._verified_until = 0.0
        return error

    # --- asking ------------------------------------------------------------------------------

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """web3's provider interface; our own code uses `request` and `batch`."""
        return RPCResponse(jsonrpc="2.0", id=0, result=await self.request(method, params))

    async def request(self, method: str, params: Sequence[Any]) -> Any:
        """One answer; raises `EndpointDown` or what the node's refusal means."""
        answers = await self._post([(method, params)])
        assert answers is not None  # only a batch is refused for its size
        if isinstance(answers[0], RelayerError):
            raise answers[0]
        return answers[0]

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Answers in order, a refused item as a `RelayerError`, in bodies of at most `max_batch`.

        Raises `EndpointDown` when the endpoint as a whole did not answer as it should.
        """
        size = self._max_batch
        parts = [requests[at : at + size] for at in range(0, len(requests), size)]
        replies = await asyncio.gather(*(self._part(p) for p in parts), return_exceptions=True)
        answers: list[Any] = []
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
            answers += reply
        return answers

    async def _part(self, requests: Sequence[Request]) -> list[Any]:
        """One body; where the endpoint refuses batches as such, smaller ones from now on."""
        answers = await self._post(requests)
        if answers is not None:
            return answers
        self._max_batch = max(1, min(self._max_batch, len(requests) // 2))
        return await self.batch(requests)

    # --- one exchange ------------------------------------------------------------------------

    async def _post(self, requests: Sequence[Request]) -> list[Any] | None:
        """Answers to one body, None when the endpoint refuses a batch of this size."""
        async with self._slots:
            if self.is_cooling():
                raise EndpointDown(self.name, f"cooling down after: {self.health.cause}")
            wait_s = self._pace.reserve(len(requests), self._clock())
            if wait_s:
                await asyncio.sleep(wait_s)
            started = self._clock()
            outcome = "cancelled"
            try:
                answers = await self._exchange(requests)
                outcome = _outcome(answers)
            except RelayerError as error:
                outcome = _label(error)
                raise
            finally:
                self._observe(requests, outcome, self._clock() - started)
            if not any(isinstance(answer, EndpointDown) for answer in answers or ()):
                self.health.answered(self._clock() - started)
            return answers

    async def _exchange(self, requests: Sequence[Request]) -> list[Any] | None:
        forms = [self.form_request(RPCEndpoint(method), params) for method, params in requests]
        body = json.dumps(forms[0] if len(forms) == 1 else forms).encode()
        try:
            status, text, retry_after_s = await self._fetch(body)
        except TimeoutError:
            raise self.blame(f"timed out after {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.blame(_words(error)) from None
        if text is None:
            raise self._oversize(requests)
        reply = self._decoded(status, text, retry_after_s)
        if len(requests) == 1:
            return [self._answer(requests[0][0], forms[0]["id"], reply)]
        if isinstance(reply, dict) and reply.get("error") is not None:
            self._check_batch_refusal(reply["error"])
            return None
        return self._matched(requests, [form["id"] for form in forms], reply)

    async def _fetch(self, body: bytes) -> tuple[int, bytes | None, float]:
        """Status, body (None when over the limit) and `Retry-After` of one POST."""
        async with asyncio.timeout(self._timeout_s):
            for attempt in range(TRIES):
                try:
                    return await self._fetch_once(body)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    if attempt == TRIES - 1:
                        raise
        raise AssertionError("unreachable")

    async def _fetch_once(self, body: bytes) -> tuple[int, bytes | None, float]:
        async with self._session().post(
            self._url.get_secret_value(),
            data=body,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
            allow_redirects=False,
        ) as response:
            parts: list[bytes] = []
            size = 0
            async for part in response.content.iter_chunked(READ_BYTES):
                size += len(part)
                if size > self._max_bytes:
                    response.close()
                    return response.status, None, 0.0
                parts.append(part)
            retry_after = response.headers.get("Retry-After", "")
            seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
            return response.status, b"".join(parts), seconds

    def _decoded(self, status: int, text: bytes, retry_after_s: float) -> Any:
        """The JSON of an answer; a status that is not 200 is excused by a JSON-RPC error only."""
        if status == TOO_MANY_REQUESTS:
            raise self._rate_limited("HTTP 429", max(1.0, retry_after_s))
        try:
            reply = parse_json(text)
        except ValueError:
            reply = None
        if isinstance(reply, (dict, list)) and (status == 200 or _is_error(reply)):
            return reply
        raise self.blame("not JSON-RPC" if status == 200 else f"HTTP status {status}")

    def _matched(self, requests: Sequence[Request], ids: Sequence[Any], reply: Any) -> list[Any]:
        """Answers in the order of the requests, found by id."""
        if not isinstance(reply, list) or len(reply) != len(requests):
            raise self.blame("a batch was not answered by as many replies")
        by_id = {}
        for one in reply:
            key = one.get("id") if isinstance(one, dict) else None
            if isinstance(key, int) and not isinstance(key, bool):
                by_id[key] = one
        return [
            self._answer(method, wanted, by_id.get(wanted))
            for (method, _), wanted in zip(requests, ids, strict=True)
        ]

    def _answer(self, method: str, wanted: Any, reply: Any) -> Any:
        """The result of one reply, or the error it means."""
        if not isinstance(reply, dict):
            raise self.blame("a reply is missing or is not an object")
        error = reply.get("error")
        # a request that was not even parsed is refused under the id null (JSON-RPC 2.0, 5.1)
        if reply.get("id") != wanted and not (error is not None and reply.get("id") is None):
            raise self.blame("a reply has another id than its request")
        if error is not None:
            return self._refusal(method, error)
        if "result" not in reply:
            raise self.blame("a reply has neither result nor error")
        return reply["result"]

    def _refusal(self, method: str, error: Any) -> RelayerError:
        if isinstance(error, dict):
            error = {**error, "message": self._redactor.clean(str(error.get("message", "")))}
        meant = refusal(method, error, endpoint=self.name)
        if isinstance(meant, EndpointDown):
            self.health.failed(self._clock(), meant.cause)
        return meant

    def _check_batch_refusal(self, error: Any) -> None:
        """A rate limit is raised as what it is; else the caller is to send less at once."""
        meant = self._refusal("batch", error)
        if isinstance(meant, EndpointDown):
            raise meant

    def _oversize(self, requests: Sequence[Request]) -> RelayerError:
        """Too many logs are the range's fault and a huge answer to a call is its contract's;
        anything else over the limit is nonsense."""
        text = f"the answer is over {self._max_bytes} bytes"
        if any(method == "eth_getLogs" for method, _ in requests):
            return RangeTooWide(f"endpoint {self.name}: {text}")
        if any(method == "eth_call" for method, _ in requests):
            return RpcRefused(OVERSIZE_CODE, text)
        return self.blame(text)

    def _rate_limited(self, text: str, pause_s: float) -> EndpointDown:
        error = EndpointDown(self.name, f"{RATE_LIMITED}: {text}")
        pause_s = min(pause_s, LONGEST_COOL_DOWN_S)
        self.health.failed(self._clock(), error.cause, at_least_s=pause_s)
        return error

    def _observe(self, requests: Sequence[Request], outcome: str, seconds: float) -> None:
        if self._observer is not None:
            methods = [method for method, _ in requests]
            self._observer(self._chain, self.name, methods, outcome, seconds)


def _is_error(reply: Any) -> bool:
    """Whether a reply of a failed HTTP request is a JSON-RPC error all the same."""
    return isinstance(reply, dict) and isinstance(reply.get("error"), dict)


def _outcome(answers: list[Any] | None) -> str:
    if answers and len(answers) == 1 and isinstance(answers[0], RelayerError):
        return _label(answers[0])
    return "ok" if answers is not None else "rpc_refused"


def _label(error: RelayerError) -> str:
    if isinstance(error, EndpointDown) and error.cause.startswith(RATE_LIMITED):
        return "rate_limited"
    if isinstance(error, EndpointDown) and error.cause.startswith("timed out"):
        return "timeout"
    return error.label


def _words(error: Exception) -> str:
    """The kind of a foreign exception; its text may hold the URL and is left behind."""
    code = error.errno if isinstance(error, OSError) else None
    reason = f" ({os.strerror(code)})" if code and code > 0 else ""
    return f"{type(error).__name__}{reason}"
