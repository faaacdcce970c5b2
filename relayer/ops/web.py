"""What every HTTP server of ours is made of: bounds, security headers, errors as JSON, checks.

Everything a caller sends is checked before it is used, and every answer, errors too, is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

from relayer.errors import ConfigInvalid, SchemaMismatch, Transient, UnreadableRecord
from relayer.ops.connections import BACKLOG, Entrance, Room
from relayer.ops.logs import Seldom
from relayer.ops.views import printable

ANSWER_WITHIN_S = 5.0
IDLE_S = 10.0
"""Seconds a connection may be without a whole request: idle, half sent, or sent drop by drop."""
STOP_WITHIN_S = 2.0
LONGEST_VALUE = 100
"""Characters of a wrong value that are told back."""

UNREADABLE = (
    "what is stored cannot be read; a message's record is made anew when its block is read again,"
    " within hours, or sooner when an operator backfills it; the log names the key"
)

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "relayer",
}

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


class WebServer:
    """One application on one address from `start()` to `aclose()`."""

    def __init__(
        self,
        app: web.Application,
        *,
        section: str,
        host: str,
        port: int,
        room: Room | None = None,
    ) -> None:
        self._section = section
        self._host = host
        self._port = port
        self._entrance = Entrance(room or Room())
        app.middlewares.insert(0, self._entrance.noting())
        app.on_response_prepare.append(_in_our_name)
        self._listening: asyncio.Server | None = None
        self._speaking: dict[str, Any] = {
            "access_log": None,
            "logger": _seldom_logger(),
            "keepalive_timeout": IDLE_S,
        }
        self._runner = web.AppRunner(
            app, handle_signals=False, shutdown_timeout=STOP_WITHIN_S, **self._speaking
        )

    async def start(self) -> int:
        """Listen and return the port; ConfigInvalid when the address cannot be had."""
        await self._runner.setup()
        server, loop = self._runner.server, asyncio.get_running_loop()
        assert server is not None
        self._entrance.opens(server, lambda: _Speaker(server, loop=loop, **self._speaking))
        try:
            self._listening = await loop.create_server(
                self._entrance, self._host, self._port, backlog=BACKLOG
            )
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigInvalid(
                f"{self._section}: cannot listen on {self._host}:{self._port}: {error.strerror};"
                f" choose another {self._section}.port (0 takes any free one)"
            ) from None
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def aclose(self) -> None:
        """Stop listening, let running requests end, close every connection."""
        if self._listening is not None:
            self._listening.close()
        await self._runner.cleanup()


class _Speaker(RequestHandler):
    """What speaks HTTP on one connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are no HTTP, which no handler of ours sees."""
        answer = super().handle_error(request, status, exc, message)
        answer.headers.update(SECURITY_HEADERS)
        return answer


async def _in_our_name(_: web.Request, answer: web.StreamResponse) -> None:
    """Also what the library answers before our handlers does not say which library it is."""
    answer.headers["Server"] = SECURITY_HEADERS["Server"]


def _seldom_logger() -> logging.Logger:
    """For what the server library says of broken requests; our own errors are logged apart."""
    logger = logging.Logger("relayer.http", logging.WARNING)
    logger.parent = logging.getLogger()
    logger.addFilter(Seldom())
    return logger


def bounded(
    at_once: int,
    *,
    within_s: float = ANSWER_WITHIN_S,
    streams: frozenset[str] = frozenset(),
    apart: frozenset[str] = frozenset(),
) -> Middleware:
    """Answers at most so many requests at once, each within so many seconds.

    `streams` are paths whose answers go on while the caller listens; they bound themselves.
    `apart` are paths with as many places of their own, which no crowd at the others takes.
    """
    free = {True: at_once, False: at_once}

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in streams:
            return await handler(request)
        is_apart = request.path in apart
        if free[is_apart] <= 0:
            raise Refused(503, "too many requests at once; try again", retry_after_s=1)
        free[is_apart] -= 1
        try:
            async with asyncio.timeout(within_s):
                return await handler(request)
        except TimeoutError:
            raise Refused(504, "the answer took too long; try again", retry_after_s=1) from None
        except Transient as error:
            raise Refused(503, f"not available now: {error.label}", retry_after_s=1) from None
        except (UnreadableRecord, SchemaMismatch) as error:
            structlog.get_logger("relayer").error("stored_unreadable", error=str(error)[:500])
            raise Refused(503, UNREADABLE, retry_after_s=60) from None
        finally:
            free[is_apart] += 1

    return guard


@web.middleware
async def secured(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error is JSON; answers carry the security headers, or their own of that name."""
    try:
        answer = await handler(request)
    except Refused as refused:
        answer = refused.answer()
    except web.HTTPException as problem:
        answer = Refused(problem.status, problem.reason.lower()).answer()
        if hdrs.ALLOW in problem.headers:
            answer.headers[hdrs.ALLOW] = problem.headers[hdrs.ALLOW]
    except Exception:  # noqa: BLE001 - a bug must answer as JSON, without its traceback
        structlog.get_logger("relayer").exception("http_crashed", path=request.path)
        answer = Refused(500, "internal error; see the log").answer()
    for name, value in SECURITY_HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


class Refused(Exception):
    """An error answer: what is wrong, with which field and value."""

    def __init__(
        self,
        status: int,
        text: str,
        *,
        field: str | None = None,
        value: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self._error = {"code": _CODES.get(status, "refused"), "text": text}
        if field is not None:
            self._error["field"] = field
        if value is not None:
            self._error["value"] = value
        self._headers = {} if retry_after_s is None else {hdrs.RETRY_AFTER: str(retry_after_s)}
        if status == 401:
            self._headers[hdrs.WWW_AUTHENTICATE] = "Bearer"

    def without(self, hide: Callable[[str], str]) -> Refused:
        """The same answer with everything in it that the caller chose passed through `hide`."""
        same = Refused(self.status, hide(str(self)))
        same._error |= {key: hide(text) for key, text in self._error.items() if key != "code"}
        same._headers = self._headers
        return same

    def answer(self) -> web.Response:
        """The error as `{"error": {code, text, field?, value?}}`."""
        told = dict(self._error)
        if "value" in told:  # cut here and not before, so that no part of a secret is left over
            told["value"] = printable(told["value"], LONGEST_VALUE)
        return web.json_response({"error": told}, status=self.status, headers=self._headers)


_CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
    504: "timeout",
}


def is_here(request: web.Request) -> bool:
    """Whether the client has not closed its connection yet."""
    return request.transport is not None and not request.transport.is_closing()


def checked_hash(field: str, text: str) -> str:
    if not _HASH.fullmatch(text):
        raise Refused(400, "must be 0x and 64 hex digits", field=field, value=text)
    return text.lower()


def only(request: web.Request, known: Sequence[str]) -> None:
    """Refuse query parameters we would otherwise ignore in silence, and repeated ones."""
    for name in request.query:
        if name not in known:
            way_out = f"known: {', '.join(known)}" if known else "there are none here"
            raise Refused(400, f"unknown parameter; {way_out}", field=name)
        if len(request.query.getall(name)) > 1:
            raise Refused(400, "given more than once", field=name)
