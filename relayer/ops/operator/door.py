"""Who is let in, how often, and what is written down about it.

Strangers are counted, logged and noted apart from operators, each within a limit, so that being
refused many times neither fills a disk nor keeps an operator out.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from relayer.acts import LONGEST_TEXT, Act
from relayer.errors import Fatal, IllegalTransition, RelayerError, Transient, UnknownRecord
from relayer.message import Timestamp
from relayer.ops.logs import without_secrets
from relayer.ops.metrics import Metrics
from relayer.ops.operator.limits import Bucket, Buckets
from relayer.ops.operator.tokens import Tokens
from relayer.ops.views import printable
from relayer.ops.web import Refused

REQUESTS_PER_S, REQUESTS_BURST = 20.0, 60
"""Of one token from one address: far above what people and their scripts need."""
SLOWED_PER_S, SLOWED_BURST = 1 / 60, 3
"""Of these, that are told apart when they ask more than that: a script that runs away must not push
what people did out of the audit log."""
FAILURES_PER_S, FAILURES_BURST = 0.2, 10
"""Of one address, that are told apart; more of them are only counted."""
NOTES_PER_S, NOTES_BURST = 1.0, 60
"""Of all strangers together, that are logged and noted one by one."""
ADDRESSES = 1024

WHO = web.RequestKey("who", str)
ARGUMENTS = web.RequestKey("arguments", object)
"""Plain data as it was understood, or a text in its place."""
OUTCOME = web.RequestKey("outcome", str)


class Auditor(Protocol):
    """Where acts are written down."""

    async def note_act(self, act: Act, /) -> None:
        """Keep one line about an operator."""
        ...

    async def note_stranger(self, act: Act, /) -> None:
        """Keep one line about a request without a valid token."""
        ...


class Door:
    """The checks that a request passes before its handler, as middlewares in this order."""

    def __init__(
        self,
        tokens: Tokens,
        audit: Auditor,
        metrics: Metrics,
        *,
        now: Callable[[], Timestamp],
        clock: Callable[[], float] = time.monotonic,
        hide: Callable[[str], str] = str,
    ) -> None:
        """`now` is the time written down, `clock` counts seconds for the limits.

        `hide` takes secrets out of what a caller wrote, before it is kept, logged or answered.
        """
        self._tokens = tokens
        self._audit = audit
        self._metrics = metrics
        self._now = now
        self.hide = hide

        def buckets(per_s: float, burst: int) -> Buckets:
            return Buckets(lambda: Bucket(per_s=per_s, burst=burst, clock=clock), most=ADDRESSES)

        self._notes = Bucket(per_s=NOTES_PER_S, burst=NOTES_BURST, clock=clock)
        self._requests = buckets(REQUESTS_PER_S, REQUESTS_BURST)
        self._slowed = buckets(SLOWED_PER_S, SLOWED_BURST)
        self._failures = buckets(FAILURES_PER_S, FAILURES_BURST)
        self._log = structlog.get_logger("relayer")

    @property
    def middlewares(self) -> list[Middleware]:
        return [self._let_in, self._write_down]

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse whoever has no valid token, and whoever asks too often."""
        caller = self._tokens.caller(request.headers.getall(hdrs.AUTHORIZATION, []))
        if caller.why_not:
            raise await self._turned_away(request, caller.why_not)
        request[WHO] = caller.name
        if not self._requests.take(f"{caller.name} {_remote(request)}"):
            raise await self._slowed_down(request)
        try:
            return await handler(request)
        except Refused as refused:
            raise refused.without(self.hide) from None

    async def _slowed_down(self, request: web.Request) -> Refused:
        """Whoever has a token and asks too often hears so; a few times it is written down."""
        self._metrics.operator_refused("too_many_requests")
        if self._slowed.take(f"{request[WHO]} {_remote(request)}"):
            await self._note(request, "refused", "too_many_requests")
        return Refused(429, "too many requests; ask more slowly", retry_after_s=1)

    async def _turned_away(self, request: web.Request, why: str) -> Refused:
        remote = _remote(request)
        too_often = not self._failures.take(remote)
        told = "too_many_failures" if too_often else why
        self._metrics.operator_refused(told)
        if self._notes.take():
            what = f"{request.method} {_page(request)}"
            self._log.warning("operator_refused", why=told, remote=remote, what=what)
            await self._kept(
                self._audit.note_stranger(
                    Act(self._now(), "nobody", remote, what, "", "refused", told)
                )
            )
        if too_often:
            return Refused(429, "too many refused requests; wait", retry_after_s=5)
        if why == "many_tokens":
            return Refused(400, "give exactly one Authorization header", field="Authorization")
        return Refused(401, "give a valid token: `Authorization: Bearer TOKEN`")

    @web.middleware
    async def _write_down(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request that would change something is one line of the audit log."""
        if request.method in (hdrs.METH_GET, hdrs.METH_HEAD):
            return await _told(request, handler)
        outcome, detail = "failed", "cut off"
        try:
            answer = await _told(request, handler)
            outcome, detail = "ok", request.get(OUTCOME, "")
            return answer
        except Refused as refused:
            outcome, detail = "refused" if refused.status < 500 else "failed", str(refused)
            raise
        except web.HTTPException as problem:
            outcome, detail = "refused", problem.reason.lower()
            raise
        finally:
            # Shielded: what was done is written down, also when the caller has gone away.
            await asyncio.shield(self._note(request, outcome, detail))

    async def _note(self, request: web.Request, outcome: str, detail: str) -> None:
        act = Act(
            at=self._now(),
            who=request[WHO],
            remote=_remote(request),
            what=f"{request.method} {printable(self.hide(request.path), 120)}",
            arguments=printable(self._spelt(request.get(ARGUMENTS, "")), LONGEST_TEXT),
            outcome=outcome,
            detail=printable(self.hide(detail), LONGEST_TEXT),
        )
        self._metrics.operator_act(outcome)
        self._log.info(
            "operator_act",
            who=act.who,
            remote=act.remote,
            what=act.what,
            arguments=act.arguments,
            outcome=outcome,
            detail=act.detail,
        )
        await self._kept(self._audit.note_act(act))

    def _spelt(self, arguments: object) -> str:
        hidden = without_secrets(arguments, self.hide)
        return hidden if isinstance(hidden, str) else json.dumps(hidden, ensure_ascii=False)

    async def _kept(self, noting: Awaitable[None]) -> None:
        """Redis may be away; the log has the line then."""
        try:
            await noting
        except RelayerError as error:
            self._log.error("audit_not_kept", error=str(error)[:300])


async def _told(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Our own errors as answers; what may help by itself is left for the bound to tell."""
    try:
        return await handler(request)
    except Transient:
        raise
    except RelayerError as error:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 409)
        raise Refused(status, printable(str(error), LONGEST_TEXT)) from None


_STATUS: tuple[tuple[type[RelayerError], int], ...] = (
    (Fatal, 400),
    (UnknownRecord, 404),
    (IllegalTransition, 409),
)


def _remote(request: web.Request) -> str:
    return printable(request.remote or "unknown", 64)


def _page(request: web.Request) -> str:
    """The page that was asked for, never what a stranger wrote in its place: it may be a token."""
    resource = request.match_info.route.resource
    return "(no such page)" if resource is None else resource.canonical
