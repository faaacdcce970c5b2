"""Who asks, and how often they may: a token bucket per client, in a table of bounded size.

A client that is over its rate is told when to come back; what it asked for is not looked at.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relayer.ops.api.asking import MAX_BODY
from relayer.ops.api.metering import ApiMetrics
from relayer.ops.connections import Room
from relayer.ops.peers import Network, address_in, is_among, site_of
from relayer.ops.web import Refused

MAX_CLIENTS = 10_000
"""Clients remembered; the one that asked longest ago is forgotten first."""
LOG_EVERY_S = 60.0
MONITORING = frozenset({"/healthz", "/readyz", "/metrics"})
"""Never counted: each is computed at most once a second for everybody, so that an answer costs no
more than a refusal would, and whoever asks too often must not blind who watches from there."""
FILES = "/page/"
"""Never counted either: the page's files lie in memory, and a browser asks for twenty at once; the
page with one of its scripts refused stays blank."""
MAX_FORWARDED = 1024
"""Characters of `X-Forwarded-For` that are looked at."""
BESIDE_LISTENERS = 312
"""Connections there is room for when everybody listens who may."""
BESIDE_LISTENERS_OF_CLIENT = 44


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do (the `http` section of the settings)."""

    rate_per_s: float = 20.0
    burst: int = 60
    trusted_proxies: Sequence[Network] = ()
    """Peers whose `X-Forwarded-For` is believed."""
    subscribers: int = 200
    subscribers_per_client: int = 20
    cors_origins: Sequence[str] = ()

    @property
    def room(self) -> Room:
        """What may be open at once: all who may listen, and those who ask."""
        return Room(
            self.subscribers + BESIDE_LISTENERS,
            self.subscribers_per_client + BESIDE_LISTENERS_OF_CLIENT,
            self.trusted_proxies,
        )


class Buckets:
    """One token bucket a client."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._rate = limits.rate_per_s
        self._burst = float(limits.burst)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1.0) -> float:
        """Take `cost` tokens; 0 when they were there, else the seconds until they are.

        What costs more than a bucket holds takes a full one, and the rest is owed.
        """
        wait_s = self.wait_s(client, min(cost, self._burst))
        if not wait_s:
            self.owe(client, cost)
        return wait_s

    def owe(self, client: str, cost: float) -> None:
        """Take `cost` tokens for what was done already, there or not."""
        self._put(client, self._tokens(client) - cost)

    def wait_s(self, client: str, tokens: float) -> float:
        """Seconds until there are so many tokens."""
        there = self._tokens(client)
        self._put(client, there)
        return max(0.0, tokens - there) / self._rate

    def _tokens(self, client: str) -> float:
        tokens, at = self._left.get(client, (self._burst, 0.0))
        return min(self._burst, tokens + (self._clock() - at) * self._rate)

    def _put(self, client: str, tokens: float) -> None:
        self._left[client] = (tokens, self._clock())
        self._left.move_to_end(client)
        if len(self._left) > MAX_CLIENTS:
            self._left.popitem(last=False)

    def __len__(self) -> int:
        return len(self._left)


def client_of(request: web.Request, trusted: Sequence[Network]) -> str:
    """Who asks: the peer, or behind trusted proxies the last address that is none of them."""
    client = request.remote or ""
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))[-MAX_FORWARDED:]
    hops = [hop.strip() for hop in forwarded.split(",")] if forwarded else []
    while hops and is_among(client, trusted):
        hop = hops.pop()
        if address_in(hop) is None:
            break
        client = hop
    return site_of(client)


class Limiter:
    """Refuses bodies that are too large, and clients that ask too often, for whatever it is.

    A request costs a token; what is dear charges more, before it is done or after.
    """

    def __init__(self, limits: Limits, metrics: ApiMetrics, clock: Callable[[], float]) -> None:
        self._trusted = limits.trusted_proxies
        self._spared = limits.burst / 2
        self._metrics = metrics
        self._clock = clock
        self._buckets = Buckets(limits, clock)
        self._refused = 0
        self._log_from = -math.inf

    def middleware(self) -> Middleware:
        """Stands before every page."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.body_exists and (request.content_length or MAX_BODY + 1) > MAX_BODY:
                raise Refused(413, f"a body may have {MAX_BODY} bytes, and none is read here")
            if request.path not in MONITORING and not request.path.startswith(FILES):
                self.charge(self.client_of(request), 1)
            return await handler(request)

        return guard

    def client_of(self, request: web.Request) -> str:
        """Who asks."""
        return client_of(request, self._trusted)

    def owe(self, client: str, tokens: float) -> None:
        """Charge what was found out to be dear only when it was done."""
        self._buckets.owe(client, tokens)

    def spare_in_s(self, client: str) -> float:
        """Seconds until the client has half a bucket, which is left for its other requests."""
        return self._buckets.wait_s(client, self._spared)

    def charge(self, client: str, tokens: float) -> None:
        """Take tokens, or refuse (429) and say when they will be there."""
        wait_s = self._buckets.take(client, tokens)
        if not wait_s:
            return
        self._metrics.limited()
        self._refused += 1
        if self._clock() >= self._log_from:  # a flood of requests must not become one of lines
            structlog.get_logger("relayer").warning(
                "client_rate_limited", client=client, refused=self._refused
            )
            self._refused = 0
            self._log_from = self._clock() + LOG_EVERY_S
        raise Refused(429, "you ask too often", retry_after_s=max(1, math.ceil(wait_s)))
