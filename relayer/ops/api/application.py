"""Puts the pages of the API together and hangs them into the public application."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from relayer.message import Timestamp
from relayer.ops.api import cors, models
from relayer.ops.api.asking import asked
from relayer.ops.api.caching import kept_for, tagged
from relayer.ops.api.events import HEARTBEAT_S, EventPages
from relayer.ops.api.limits import Limiter, Limits
from relayer.ops.api.messages import MessagePages, Times
from relayer.ops.api.metering import ApiMetrics
from relayer.ops.api.network import FRESH_FOR_S, NetworkPages
from relayer.ops.api.openapi import Page, document
from relayer.ops.api.ports import ApiStore, AskChains, Network, Prove
from relayer.ops.api.tail import Tail
from relayer.ops.api.turns import Turns
from relayer.ops.connections import Room
from relayer.ops.fresh import Fresh

DOCUMENT_FOR_S = 3600
OUTLOOK_FOR_S = 60.0
"""Seconds that the rules of the bridges are believed."""
EVENTS_PATH = "/v1/events"


class DappApi:
    """All of `/v1/`."""

    def __init__(
        self,
        *,
        store: ApiStore,
        network: Network,
        prove: Prove,
        metrics: ApiMetrics,
        now: Callable[[], Timestamp],
        limits: Limits | None = None,
        early: AskChains | None = None,
        version: str = "",
        clock: Callable[[], float] = time.monotonic,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._limits = limits or Limits()
        self._metrics = metrics
        self._limiter = Limiter(self._limits, metrics, clock)
        self._turns = Turns(clock=clock)
        self.tail = Tail(
            store,
            metrics,
            self._limiter,
            self._turns,
            most=self._limits.subscribers,
            most_per_client=self._limits.subscribers_per_client,
        )
        self._messages = MessagePages(
            store,
            prove,
            self._limiter,
            self._turns,
            Fresh(lambda: _ordered_times(network), clock, for_s=FRESH_FOR_S),
            outlooks=Fresh(network.outlooks, clock, for_s=OUTLOOK_FOR_S),
            natives=network.natives,
            early=early,
            now=now,
        )
        self._network = NetworkPages(network, now=now, clock=clock)
        self._events = EventPages(self.tail, self._limiter, heartbeat_s=heartbeat_s)
        self.pages = self._pages()
        self.document = document(self.pages, version=version)

    @property
    def room(self) -> Room:
        """How many connections the server that it hangs in should hold."""
        return self._limits.room

    @property
    def counting(self) -> Middleware:
        """Outermost of all: counts every answer."""
        return self._metrics.middleware()

    @property
    def guards(self) -> list[Middleware]:
        """What stands between a request and every page."""
        return [cors.preflight(self._limits.cors_origins), self.limiting]

    @property
    def limiting(self) -> Middleware:
        """Refuses who asks too often, counted over every address that the API is served at."""
        return self._limiter.middleware()

    def hang_into(self, app: web.Application) -> None:
        """Add the pages to the public application."""
        for page in self.pages:
            app.router.add_get(page.path, page.handler)
        cors.allow(app, self._limits.cors_origins)
        self._metrics.declare_paths(
            sorted({resource.canonical for resource in app.router.resources()})
        )

        async def send_away(_: web.Application) -> None:
            self.tail.close()

        app.on_shutdown.append(send_away)

    def _pages(self) -> tuple[Page, ...]:
        messages, network = self._messages, self._network
        proof = (models.ProofCall, models.ProofWait, models.ProofRefused, models.ProofDone)
        lists = (models.MessagePage, models.MessagesOfTransaction)
        return (
            Page(
                "/v1/messages",
                "listMessages",
                "Messages that match, by time",
                messages.many,
                models.MessagesAsked,
                lists,
            ),
            Page(
                "/v1/messages/{id}",
                "getMessage",
                "One message with its whole walk",
                messages.one,
                answers=(models.MessageWalk,),
            ),
            Page(
                "/v1/messages/{id}/proof",
                "getProof",
                "Root, proof and the call that anyone may send to deliver the message",
                messages.proof,
                answers=proof,
            ),
            Page(
                "/v1/routes",
                "listRoutes",
                "How routes are doing",
                network.routes,
                answers=(models.Routes,),
            ),
            Page(
                "/v1/chains",
                "listChains",
                "How chains are doing",
                network.chains,
                answers=(models.Chains,),
            ),
            Page(
                EVENTS_PATH,
                "listen",
                "What happens to messages, as it happens",
                self._events.events,
                models.EventsAsked,
                is_cached=False,
                is_stream=True,
            ),
            Page("/v1/openapi.json", "getDocument", "This document", self._document),
        )

    async def _document(self, request: web.Request) -> web.Response:
        asked(request, models.Nothing)
        return tagged(request, self.document, kept_for(DOCUMENT_FOR_S))


async def _ordered_times(network: Network) -> Times:
    """Sorted once for all the messages that are estimated by them."""
    return {route: sorted(times_s) for route, times_s in (await network.times()).items()}
