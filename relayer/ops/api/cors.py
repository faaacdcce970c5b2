"""Which web pages of other origins may read our answers: none, but those the operator lists."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

MAX_AGE_S = "600"
_ASKED_HEADERS = "If-None-Match, Last-Event-ID"
_SHOWN_HEADERS = "ETag, Retry-After"


def preflight(origins: Sequence[str]) -> Middleware:
    """Answers the browser's question before it asks ours."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_question = (
            request.method == hdrs.METH_OPTIONS
            and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        )
        if not (is_question and _is_allowed(request, origins)):
            return await handler(request)
        return web.Response(
            status=204,
            headers={
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD",
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ASKED_HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: MAX_AGE_S,
            },
        )

    return guard


def allow(app: web.Application, origins: Sequence[str]) -> None:
    """Add the headers to every answer of the API, streams too."""
    if not origins:
        return

    async def add(request: web.Request, answer: web.StreamResponse) -> None:
        answer.headers[hdrs.VARY] = hdrs.ORIGIN
        if _is_allowed(request, origins):
            answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request.headers[hdrs.ORIGIN]
            answer.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _SHOWN_HEADERS

    app.on_response_prepare.append(add)


def _is_allowed(request: web.Request, origins: Sequence[str]) -> bool:
    return request.path.startswith("/v1/") and request.headers.get(hdrs.ORIGIN) in origins
