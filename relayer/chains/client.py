"""One chain behind several endpoints: failover, quorum, batching, Multicall3 reads, heads.

Failover tries endpoints by priority and health. Reads that decide truth (headers, logs, views) are
answered identically by `quorum` endpoints or not at all; failover never lowers the quorum.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import aiohttp

from relayer.adapter import Header, Log, View, ViewResult
from relayer.chains.endpoint import Endpoint, EndpointHealth, Observer, Request
from relayer.chains.headers import parse_header
from relayer.chains.logs import parse_logs
from relayer.chains.multicall import decode_aggregate3, encode_aggregate3
from relayer.errors import (
    BadChainData,
    CallReverted,
    ChainMismatch,
    EndpointDown,
    EndpointsDisagree,
    EndpointsExhausted,
    RangeTooWide,
    RelayerError,
    RpcRefused,
    StaleEndpoint,
)
from relayer.message import Address, BlockHash, BlockNumber, ChainId, TxHash
from relayer.settings import ChainSettings

LAG_LIMIT_BLOCKS = 8
VIEWS_PER_CALL = 200
HEAD_FRESH_FACTOR = 0.25
"""A latest header is reused for this part of a poll interval."""
WS_RETRY_S = 5.0
MOST_RECEIPTS = 100


class ChainClient:
    """`adapter.ChainReader`, and what the engine needs to send."""

    def __init__(
        self,
        name: str,
        settings: ChainSettings,
        *,
        clock: Callable[[], float] = time.time,
        observer: Observer | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._clock = clock
        self._endpoints = [
            Endpoint(
                name,
                one,
                timeout_s=settings.timeout_s,
                max_response_bytes=settings.max_response_bytes,
                observer=observer,
            )
            for one in sorted(settings.endpoints, key=lambda one: one.priority)
        ]
        self._has_multicall = False
        self._latest: tuple[float, Header] | None = None

    @property
    def chain_id(self) -> ChainId:
        return ChainId(self.settings.id)

    async def start(self) -> None:
        """Check the chain id of every endpoint that answers; `ChainMismatch` names the liar."""
        answered = 0
        for endpoint in self._endpoints:
            try:
                (answer,) = await endpoint.ask([("eth_chainId", [])])
            except EndpointDown:
                continue
            answered += 1
            found = int(answer, 16) if isinstance(answer, str) else None
            if found != self.settings.id:
                raise ChainMismatch(
                    f"chains.{self.name}: endpoint {endpoint.name} serves chain {found},"
                    f" the configuration says {self.settings.id}"
                )
        if not answered:
            raise EndpointsExhausted(f"chains.{self.name}: no endpoint answers")
        if self.settings.multicall is not None:
            self._has_multicall = bool(await self.code(self.settings.multicall))

    async def aclose(self) -> None:
        """Close every endpoint's connections."""
        for endpoint in self._endpoints:
            await endpoint.aclose()

    def health(self) -> list[EndpointHealth]:
        """Each endpoint's health by its redacted name."""
        best = self._best_head()
        return [endpoint.health(best, LAG_LIMIT_BLOCKS) for endpoint in self._endpoints]

    # --- asking ------------------------------------------------------------------------------

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Results in order from one endpoint; refused items are `RelayerError`s in their place."""
        if not requests:
            return []
        problems: list[str] = []
        for endpoint in self._in_order():
            try:
                return await endpoint.ask(requests)
            except EndpointDown as error:
                problems.append(str(error))
        raise EndpointsExhausted(f"chain {self.name}: " + "; ".join(problems)[:500])

    async def agreed(self, requests: Sequence[Request]) -> list[Any]:
        """Like `batch`, but answered identically by `quorum` endpoints (`EndpointsDisagree`)."""
        quorum = self.settings.quorum
        if quorum == 1:
            return await self.batch(requests)
        answers = await asyncio.gather(
            *(endpoint.ask(requests) for endpoint in self._endpoints), return_exceptions=True
        )
        votes: dict[str, list[Any]] = {}
        for answer in answers:
            if isinstance(answer, EndpointDown):
                continue
            if isinstance(answer, BaseException):
                raise answer
            votes.setdefault(json.dumps(answer, sort_keys=True, default=repr), []).append(answer)
        for same in votes.values():
            if len(same) >= quorum:
                found: list[Any] = same[0]
                return found
        raise EndpointsDisagree(
            f"chain {self.name}: no answer to {requests[0][0]} is shared by {quorum} endpoints"
        )

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        """One raw JSON-RPC call; raises what the node's refusal means."""
        return _value((await self.batch([(method, params)]))[0])

    def _in_order(self) -> list[Endpoint]:
        """Healthy ones first, in order of priority; sick ones still beat nothing at all."""
        best = self._best_head()
        return sorted(
            self._endpoints,
            key=lambda one: (not one.health(best, LAG_LIMIT_BLOCKS).healthy, one.settings.priority),
        )

    def _best_head(self) -> int:
        return max(endpoint.head for endpoint in self._endpoints)

    # --- blocks ------------------------------------------------------------------------------

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        """A header by number, hash or tag; `StaleEndpoint` when the node does not know it."""
        if block == "latest" and self._latest is not None:
            at, known = self._latest
            if self._clock() - at < self.settings.poll_s * HEAD_FRESH_FACTOR:
                return known
        by_hash = isinstance(block, str) and len(block) == 66
        method = "eth_getBlockByHash" if by_hash else "eth_getBlockByNumber"
        argument = block if isinstance(block, str) else hex(block)
        ask = self.batch if block == "latest" else self.agreed
        header = self._header(_value((await ask([(method, [argument, False])]))[0]), block)
        if block == "latest":
            self._latest = (self._clock(), header)
        return header

    async def final_header(self) -> Header:
        """The newest block that the finality rule accepts."""
        return (await self.tip())[1]

    async def tip(self) -> tuple[Header, Header]:
        """The newest and the newest final header."""
        rule = self.settings.finality
        await self._see_heads()
        if rule.tag is not None and rule.tag != "latest":
            (raw_head,) = await self.batch([("eth_getBlockByNumber", ["latest", False])])
            head = self._header(_value(raw_head), "latest")
            return head, await self.header(rule.tag)
        (raw_head,) = await self.batch([("eth_getBlockByNumber", ["latest", False])])
        head = self._header(_value(raw_head), "latest")
        self._latest = (self._clock(), head)
        depth = rule.depth or 0
        if depth == 0 and self.settings.quorum == 1:
            return head, head
        return head, await self.header(BlockNumber(max(0, head.number - depth)))

    async def _see_heads(self) -> None:
        """Ask every endpoint for its height, so that a lagging one is known; one is not asked."""
        if len(self._endpoints) == 1:
            return
        request: list[Request] = [("eth_blockNumber", [])]
        answers = await asyncio.gather(
            *(one.ask(request) for one in self._endpoints if not one.is_cooling),
            return_exceptions=True,
        )
        asked = [one for one in self._endpoints if not one.is_cooling]
        for endpoint, answer in zip(asked, answers, strict=False):
            if isinstance(answer, list) and isinstance(answer[0], str):
                endpoint.head = int(answer[0], 16)

    def _header(self, raw: Any, block: object) -> Header:
        if raw is None:
            raise StaleEndpoint(f"chain {self.name}: no endpoint knows block {block}")
        return parse_header(raw)

    # --- logs --------------------------------------------------------------------------------

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> list[Log]:
        """Logs of an inclusive range, from an endpoint that has its last block."""
        return (await self.scan(first, last, addresses=addresses, topics=topics))[0]

    async def scan(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> tuple[list[Log], Header]:
        """Logs and the header of `last`, asked of one endpoint at once.

        A node that lacks the block answers `[]` without a word (go-ethereum issue 24078), so the
        header must be there, and logs of that block must carry its hash; else `StaleEndpoint`.
        """
        query = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": list(addresses),
            "topics": [
                None if words is None else ["0x" + word.hex() for word in words] for words in topics
            ],
        }
        raw_header, raw_logs = await self.agreed(
            [("eth_getBlockByNumber", [hex(last), False]), ("eth_getLogs", [query])]
        )
        if isinstance(raw_logs, RpcRefused) and isinstance(raw_header, dict):
            raise RangeTooWide(str(raw_logs)) if last > first else raw_logs
        header = self._header(_value(raw_header), last)
        logs = parse_logs(self.chain_id, _value(raw_logs))
        for log in logs:
            self._check_place(log, first, last, header)
        return logs, header

    def _check_place(self, log: Log, first: int, last: int, header: Header) -> None:
        if not first <= log.at.block <= last:
            raise BadChainData(
                f"chain {self.name}: a log of block {log.at.block} was not asked for"
            )
        if log.at.block == header.number and log.at.block_hash != header.hash:
            raise StaleEndpoint(f"chain {self.name}: logs and header of block {last} disagree")

    # --- views -------------------------------------------------------------------------------

    async def read(
        self, views: Sequence[View], *, block: BlockNumber | str = "latest"
    ) -> list[ViewResult]:
        """Answers in order, through Multicall3 where the chain has it."""
        tag = block if isinstance(block, str) else hex(block)
        results: list[ViewResult] = []
        for start in range(0, len(views), VIEWS_PER_CALL):
            part = views[start : start + VIEWS_PER_CALL]
            shared = self._has_multicall and len(part) > 1
            results += await (
                self._read_packed(part, tag) if shared else self._read_apart(part, tag)
            )
        return results

    async def _read_packed(self, views: Sequence[View], tag: str) -> list[ViewResult]:
        payload = encode_aggregate3(views)
        request = {"to": self.settings.multicall, "data": "0x" + payload.hex()}
        (answer,) = await self.agreed([("eth_call", [request, tag])])
        if isinstance(answer, RelayerError):
            return await self._read_apart(views, tag)
        return decode_aggregate3(_octets(answer), len(views))

    async def _read_apart(self, views: Sequence[View], tag: str) -> list[ViewResult]:
        requests: list[Request] = [
            ("eth_call", [{"to": view.to, "data": "0x" + view.data.hex()}, tag]) for view in views
        ]
        results = []
        for answer in await self.agreed(requests):
            if isinstance(answer, CallReverted):
                results.append(ViewResult(False, answer.revert))
            else:
                results.append(ViewResult(True, _octets(_value(answer))))
        return results

    async def call(self, request: dict[str, Any], block: str = "latest") -> bytes:
        """`eth_call` with everything the caller wants; `CallReverted` holds the revert data."""
        return _octets(await self.rpc("eth_call", [request, block]))

    async def estimate(self, request: dict[str, Any]) -> int:
        """Gas units; `CallReverted` when it would revert."""
        return int(await self.rpc("eth_estimateGas", [request]), 16)

    # --- accounts and transactions -----------------------------------------------------------

    async def nonce(self, address: Address, tag: str) -> int:
        """Transactions of an account at `latest` or `pending`."""
        return int(await self.rpc("eth_getTransactionCount", [address, tag]), 16)

    async def balance(self, address: Address) -> int:
        """Wei at the latest block."""
        return int(await self.rpc("eth_getBalance", [address, "latest"]), 16)

    async def code(self, address: Address) -> bytes:
        """Runtime code at the latest block, empty for none."""
        return _octets(await self.rpc("eth_getCode", [address, "latest"]))

    async def receipts(self, hashes: Sequence[TxHash]) -> list[dict[str, Any] | None]:
        """Receipts in order, None for a transaction that is not mined."""
        found: list[dict[str, Any] | None] = []
        for start in range(0, len(hashes), MOST_RECEIPTS):
            part = hashes[start : start + MOST_RECEIPTS]
            answers = await self.batch([("eth_getTransactionReceipt", [one]) for one in part])
            found += [_value(answer) for answer in answers]
        return found

    async def send_raw(self, raw: bytes) -> None:
        """Give a signed transaction to all endpoints; one that takes it (or has it) is enough.

        Raises `RpcRefused` with the first refusal when none does, `EndpointsExhausted` when none
        answers at all.
        """
        request: list[Request] = [("eth_sendRawTransaction", ["0x" + raw.hex()])]
        answers = await asyncio.gather(
            *(endpoint.ask(request) for endpoint in self._endpoints), return_exceptions=True
        )
        refusals: list[RelayerError] = []
        for answer in answers:
            if isinstance(answer, EndpointDown):
                continue
            if isinstance(answer, BaseException):
                raise answer
            if not isinstance(answer[0], RelayerError):
                return
            refusals.append(answer[0])
        if not refusals:
            raise EndpointsExhausted(f"chain {self.name}: no endpoint took the transaction")
        raise refusals[0]

    # --- heads -------------------------------------------------------------------------------

    async def heads(self) -> AsyncIterator[int]:
        """Yield whenever there may be a new block: by WebSocket where offered, else by the clock."""
        urls = [e.settings.ws_url for e in self._endpoints if e.settings.ws_url is not None]
        while True:
            for url in urls:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                    async for number in self._subscribed(url.get_secret_value()):
                        yield number
            if not urls:
                await asyncio.sleep(self.settings.poll_s)
                yield 0
            else:
                await asyncio.sleep(WS_RETRY_S)

    async def _subscribed(self, url: str) -> AsyncIterator[int]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.settings.timeout_s)
        request = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
        quiet_s = max(30.0, 10 * self.settings.block_time_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.ws_connect(url, max_msg_size=2**20, heartbeat=20) as socket:
                await socket.send_json(request)
                while True:
                    note = await asyncio.wait_for(socket.receive(), quiet_s)
                    if note.type is not aiohttp.WSMsgType.TEXT:
                        return
                    head = json.loads(note.data).get("params", {}).get("result", {})
                    if isinstance(head, dict) and isinstance(head.get("number"), str):
                        yield int(head["number"], 16)


def _value(answer: Any) -> Any:
    """The result of one item, or its refusal raised."""
    if isinstance(answer, RelayerError):
        raise answer
    return answer


def _octets(answer: Any) -> bytes:
    if not isinstance(answer, str) or not answer.startswith("0x"):
        raise BadChainData(f"expected hex bytes, got {str(answer)[:80]!r}")
    try:
        return bytes.fromhex(answer[2:])
    except ValueError:
        raise BadChainData(f"expected hex bytes, got {answer[:80]!r}") from None
