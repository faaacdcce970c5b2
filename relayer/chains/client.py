"""One chain behind several endpoints: what adapters may read and what the engine needs to send.

Reads that decide truth (headers, logs, views) are answered identically by `quorum` endpoints or
not at all; everything else comes from the best endpoint that answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any, TypeVar

import aiohttp

from relayer.adapter import Header, Log, View, ViewResult
from relayer.chains.broadcast import send_to_all
from relayer.chains.endpoint import Endpoint, Request, RpcObserver
from relayer.chains.finality import agreed_header, final_number, newest_header, read_tip
from relayer.chains.headers import TAGS, block_param
from relayer.chains.heads import MAX_HEAD, Heads
from relayer.chains.health import EndpointHealth, trouble_of
from relayer.chains.logs import Topics
from relayer.chains.pool import Pool
from relayer.chains.queries import (
    Account,
    read_accounts,
    read_receipts,
    read_views,
    receipt_key,
    scan,
)
from relayer.chains.redaction import shown_names
from relayer.chains.refusals import may_differ_elsewhere
from relayer.chains.wire import octets, quantity
from relayer.errors import RelayerError
from relayer.message import Address, BlockHash, BlockNumber, ChainId, TxHash
from relayer.settings import ChainSettings

T = TypeVar("T")

FRESH_HEAD = 0.25
"""A latest header is used again for this part of a poll interval."""
WATCHED_HEAD = 2.0
"""The same while heads are watched and none newer was told of: a watch that fell silent is noticed
later than this."""
LEAST_PROBE_S = 2.0
MOST_PROBE_S = 30.0
IDLE_SOCKETS_S = 30.0


def open_session() -> aiohttp.ClientSession:
    """A session that keeps no cookies and takes no proxy from the environment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SOCKETS_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
    )


class ChainClient:
    """`adapter.ChainReader`, and what the engine needs to send; safe to use from many tasks."""

    def __init__(
        self,
        name: str,
        settings: ChainSettings,
        *,
        clock: Callable[[], float] = time.time,
        session: Callable[[], aiohttp.ClientSession] = open_session,
        observer: RpcObserver | None = None,
    ) -> None:
        """`session` opens the one HTTP session, inside the running loop, at the first request."""
        self.name = name
        self.settings = settings.model_copy(update={"multicall": None})
        """As configured, but without `multicall` until the chain has shown code at its address."""
        self._multicall = settings.multicall
        self._clock = clock
        self._open_session = session
        self._opened: aiohttp.ClientSession | None = None
        names = shown_names(one.url.get_secret_value() for one in settings.endpoints)
        endpoints = [
            Endpoint(
                shown,
                one,
                chain=name,
                timeout_s=settings.timeout_s,
                max_response_bytes=settings.max_response_bytes,
                session=self._session,
                clock=clock,
                observer=observer,
            )
            for shown, one in zip(names, settings.endpoints, strict=True)
        ]
        self._pool = Pool(
            name,
            ChainId(settings.id),
            endpoints,
            quorum=settings.quorum,
            block_time_s=settings.block_time_s,
        )
        self._latest: tuple[float, Header] | None = None
        self._tip: tuple[float, Header, Header] | None = None
        self._reading_head = asyncio.Lock()
        self._told: BlockNumber | None = None

    def __repr__(self) -> str:
        return f"ChainClient({self.name}, {self.settings.id})"

    @property
    def chain_id(self) -> ChainId:
        return ChainId(self.settings.id)

    async def start(self) -> None:
        """Check the chain id of every endpoint that answers; `ChainMismatch` names a wrong one.

        Endpoints that are down stop nothing: their id is checked before they are first used.
        """
        await self._pool.start()
        await self._learn()

    async def aclose(self) -> None:
        """Close all connections; the client may be used again."""
        if self._opened is not None:
            await self._opened.close()
            self._opened = None

    def health(self) -> list[EndpointHealth]:
        """Each endpoint's health, by its redacted name."""
        return self._pool.health()

    def trouble(self) -> str:
        """Why it cannot be read now, in words for everybody; empty when it can."""
        return trouble_of(self.health(), self.settings.quorum)

    # --- raw requests ------------------------------------------------------------------------

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        """One raw JSON-RPC call; raises what the node's refusal means."""
        return await self._pool.ask(method, lambda endpoint: endpoint.request(method, params))

    async def batch(self, requests: Sequence[Request]) -> list[Any]:
        """Answers in order; a refused item is a `RelayerError` in its place.

        Items that one endpoint lacks are asked of the next. Raises `EndpointsExhausted` when no
        endpoint answers at all.
        """
        answers: list[Any] = [None] * len(requests)
        pending = list(range(len(requests)))
        problems: list[RelayerError] = []
        answered = not requests
        for endpoint in self._pool.in_order() if requests else ():
            some = [requests[place] for place in pending]
            try:
                found = await self._pool.one(endpoint, partial(_batch, requests=some))
            except RelayerError as error:
                problems.append(error)
                continue
            answered = True
            for place, answer in zip(pending, found, strict=True):
                answers[place] = answer
            pending = [place for place in pending if _is_lack(answers[place])]
            if not pending:
                break
        if not answered:
            raise self._pool.exhausted(requests[0][0], problems)
        return answers

    # --- blocks ------------------------------------------------------------------------------

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        """A header by number, hash or tag; `StaleEndpoint` when no endpoint knows it.

        `latest` may be a fraction of a poll interval old, two of them while heads are watched and
        none newer was told of.
        """
        if block == "latest":
            return await self._latest_header()
        if isinstance(block, str) and block in TAGS:
            return await newest_header(self._pool, block)
        return await agreed_header(self._pool, block)

    async def final_header(self) -> Header:
        """The newest block that the finality rule accepts."""
        return (await self.tip())[1]

    async def tip(self) -> tuple[Header, Header]:
        """(latest, newest final) by the chain's finality rule, in one batch of one endpoint.

        Two poll intervals old at most while heads are watched and none newer was told of. With a
        quorum, each is the newest block that `quorum` endpoints have, with the same hash.
        """
        await self._learn()
        async with self._reading_head:
            if self._tip is None or not self._is_fresh(*self._tip[:2], unwatched=0):
                head, final = await self._read_tip()
                self._latest = self._clock(), head
                self._tip = *self._latest, final
            return self._tip[1:]

    async def _latest_header(self) -> Header:
        """All who ask for it at once share one answer."""
        async with self._reading_head:
            if self._latest is None or not self._is_fresh(*self._latest, unwatched=FRESH_HEAD):
                self._latest = self._clock(), await newest_header(self._pool, "latest")
            return self._latest[1]

    def _is_fresh(self, at: float, head: Header, *, unwatched: float) -> bool:
        is_newest = self._told is not None and head.number >= self._told
        fresh_s = self.settings.poll_s * (WATCHED_HEAD if is_newest else unwatched)
        return 0 <= self._clock() - at < fresh_s

    async def _read_tip(self) -> tuple[Header, Header]:
        rule = self.settings.finality
        if self._pool.quorum == 1:
            read = partial(read_tip, rule=rule, told=self._told)
            return await self._pool.ask("tip", read)
        head = await newest_header(self._pool, "latest")
        if rule.tag == "latest":
            return head, head
        if rule.tag is not None:
            return head, await newest_header(self._pool, rule.tag)
        return head, await self.header(final_number(rule, head.number))

    # --- logs --------------------------------------------------------------------------------

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Topics,
    ) -> list[Log]:
        """Logs of an inclusive range, from an endpoint that has its last block."""
        return (await self.scan(first, last, addresses=addresses, topics=topics))[0]

    async def scan(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Topics,
    ) -> tuple[list[Log], Header]:
        """Logs of an inclusive range and the header of `last`, from one batch of one endpoint.

        `RangeTooWide` when the provider wants less, `StaleEndpoint` when the endpoint lacks `last`
        or is between two forks.
        """
        return await self._agree(
            "logs",
            lambda e: scan(e, self.chain_id, (first, last), addresses=addresses, topics=topics),
            _scan_key,
        )

    # --- state -------------------------------------------------------------------------------

    async def read(
        self, views: Sequence[View], *, block: BlockNumber | str = "latest"
    ) -> list[ViewResult]:
        """Answers of views in order, packed through Multicall3 where the chain has it.

        With a quorum, a tag stands for the newest block that so many endpoints have.
        """
        if not views:
            return []
        await self._learn()
        if self._pool.quorum > 1 and isinstance(block, str) and block in TAGS:
            block = (await newest_header(self._pool, block)).number
        at = block_param(block)
        multicall = self.settings.multicall
        return await self._agree(
            "eth_call", lambda e: read_views(e, views, at, multicall=multicall), tuple
        )

    async def call(self, call: dict[str, Any], block: BlockNumber | str = "latest") -> bytes:
        """`eth_call` of a JSON-RPC call object; `CallReverted` holds the revert data."""
        params = [call, block_param(block)]
        return await self._ask("eth_call", params, lambda answer: octets(answer, "call answer"))

    async def estimate(self, call: dict[str, Any]) -> int:
        """Gas units that a JSON-RPC call object needs; `CallReverted` when it would revert."""
        return await self._number("eth_estimateGas", [call])

    async def accounts(self, addresses: Sequence[Address]) -> list[Account]:
        """Nonce and balance of each, in order, at the latest block, as the quorum has it."""
        if not addresses:
            return []
        block = "latest"
        if self._pool.quorum > 1:
            block = block_param((await self.header(block)).number)
        read = partial(read_accounts, addresses=addresses, block=block)
        return await self._agree("accounts", read, tuple)

    async def pending_nonce(self, address: Address) -> int:
        """Transactions sent by an account, pending ones too: the most that any endpoint knows."""
        method = "eth_getTransactionCount"
        ask = partial(_count, method=method, params=[address, "pending"])
        return max(await self._pool.ask_each(method, ask))

    async def balance(self, address: Address) -> int:
        """Wei at the latest block."""
        return await self._number("eth_getBalance", [address, "latest"])

    async def code(self, address: Address) -> bytes:
        """Runtime code at the latest block, empty for none."""
        params = [address, "latest"]
        return await self._ask("eth_getCode", params, lambda answer: octets(answer, "code"))

    # --- transactions ------------------------------------------------------------------------

    async def send_raw(self, raws: Sequence[bytes]) -> list[RelayerError | None]:
        """Give signed transactions to all endpoints; one that takes or has each is enough.

        In order, None or why nobody took it: `RpcRefused` when some refused it (see
        `transactions.classify_send_error`), `EndpointsExhausted` when none answered.
        """
        return await send_to_all(self._pool, raws)

    async def receipts(self, hashes: Sequence[TxHash]) -> list[dict[str, Any] | None]:
        """Receipts in order; None for a transaction of which `quorum` endpoints do not tell the
        same, or that nobody knows as mined."""
        found: dict[TxHash, dict[str, Any]] = {}
        votes: Counter[Hashable] = Counter()
        problems: list[RelayerError] = []
        answered = not hashes
        for endpoint in self._pool.in_order():
            missing = [one for one in hashes if one not in found]
            if not missing:
                break
            try:
                answers = await self._pool.one(endpoint, partial(read_receipts, hashes=missing))
            except RelayerError as error:
                problems.append(error)
                continue
            answered = True
            told = {h: r for h, r in zip(missing, answers, strict=True) if r is not None}
            keys = {h: receipt_key(receipt) for h, receipt in told.items()}
            votes.update(keys.values())
            found |= {h: r for h, r in told.items() if votes[keys[h]] >= self._pool.quorum}
        if not answered:
            raise self._pool.exhausted("receipts", problems)
        return [found.get(one) for one in hashes]

    # --- heads -------------------------------------------------------------------------------

    async def heads(self) -> AsyncGenerator[int, None]:
        """Yield the latest head's number as it changes: pushed over WebSocket, else polled."""
        urls = [one.ws_url.get_secret_value() for one in self.settings.endpoints if one.ws_url]
        heads = Heads(
            ws_urls=urls,
            session=self._session,
            poll=self._height,
            probe=self._pool.probe,
            clock=self._clock,
            poll_s=self.settings.poll_s,
            quiet_s=min(max(4 * self.settings.block_time_s, LEAST_PROBE_S), MOST_PROBE_S),
            timeout_s=self.settings.timeout_s,
        )
        async with contextlib.aclosing(heads.stream()) as stream:
            async for number in stream:
                self._told = BlockNumber(number)
                yield number

    async def _height(self) -> BlockNumber:
        number = await self._ask(
            "eth_blockNumber", [], lambda answer: quantity(answer, "height", most=MAX_HEAD)
        )
        return BlockNumber(number)

    # --- plumbing ----------------------------------------------------------------------------

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = self._open_session()
        return self._opened

    async def _learn(self) -> None:
        """Find out once whether Multicall3 is there; an empty account would swallow every call."""
        if self._multicall is None:
            return
        with contextlib.suppress(RelayerError):
            found = self._multicall if await self.code(self._multicall) else None
            self.settings = self.settings.model_copy(update={"multicall": found})
            self._multicall = None

    async def _ask(self, method: str, params: Sequence[Any], parse: Callable[[Any], T]) -> T:
        """One request; an answer that `parse` rejects counts against the endpoint that gave it."""

        async def operation(endpoint: Endpoint) -> T:
            return parse(await endpoint.request(method, params))

        return await self._pool.ask(method, operation)

    async def _number(self, method: str, params: Sequence[Any]) -> int:
        return await self._ask(method, params, lambda answer: quantity(answer, method))

    async def _agree(
        self,
        what: str,
        operation: Callable[[Endpoint], Awaitable[T]],
        key: Callable[[T], Hashable],
    ) -> T:
        return await self._pool.agree(what, operation, key)


async def _count(endpoint: Endpoint, method: str, params: Sequence[Any]) -> int:
    return quantity(await endpoint.request(method, params), method)


async def _batch(endpoint: Endpoint, requests: Sequence[Request]) -> list[Any]:
    return await endpoint.batch(requests)


def _is_lack(answer: Any) -> bool:
    return isinstance(answer, RelayerError) and may_differ_elsewhere(answer)


def _scan_key(found: tuple[list[Log], Header]) -> Hashable:
    """What must be equal: block times in logs are left out, as not every node gives them."""
    logs, header = found
    return header, tuple(
        (log.at.block_hash, log.at.tx, log.at.log_index, log.address, log.topics, log.data)
        for log in logs
    )
