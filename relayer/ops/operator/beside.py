"""What the operator's address serves without a token: the page, and the API that the page reads.

The same page with the same facts is public elsewhere. Whatever is not named here needs a token.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from relayer.ops.api import DappApi
from relayer.ops.api.application import EVENTS_PATH
from relayer.ops.page import Page
from relayer.ops.web import bounded

READS_AT_ONCE = 32
"""Apart from the operators' own requests, which no crowd of readers may keep out."""


class Beside:
    """Adds the page and the reading API to the operator API, outside of its door."""

    def __init__(self, api: DappApi) -> None:
        self._api = api
        self._open: frozenset[str] = frozenset()

    def add_to(self, app: web.Application) -> None:
        """Add the paths; they, and no others, are open from here on."""
        closed = {resource.canonical for resource in app.router.resources()}
        Page(operator=True).add_to(app.router)
        for one in self._api.pages:
            app.router.add_get(one.path, one.handler)
        self._open = frozenset(one.canonical for one in app.router.resources()) - closed

    def around(self, guards: Sequence[Middleware]) -> list[Middleware]:
        """`guards` for everything that is not open, and a bound of its own for what is."""
        readers = bounded(READS_AT_ONCE, streams=frozenset({EVENTS_PATH}))
        return [
            *(self._for(one, is_open=False) for one in guards),
            *(
                self._for(one, is_open=True)
                for one in (self._api.counting, self._api.limiting, readers)
            ),
        ]

    def _for(self, guard: Middleware, *, is_open: bool) -> Middleware:
        @web.middleware
        async def chosen(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._is_open(request) is is_open:
                return await guard(request, handler)
            return await handler(request)

        return chosen

    def _is_open(self, request: web.Request) -> bool:
        """By the path that it was resolved to, not by how it was spelled."""
        resource = request.match_info.route.resource
        reads = request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
        return reads and resource is not None and resource.canonical in self._open
