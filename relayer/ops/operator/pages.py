"""The operator API's handlers, one per path: what they are asked, done and told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from relayer.acts import (
    LONGEST_WHY,
    Pause,
    Selection,
    Verb,
    chain_id_of,
    target_of,
    target_to_resume,
    unknown_bridge,
)
from relayer.message import ChainId, MessageId, Reason, Route, Status, Timestamp
from relayer.ops.operator.beside import Beside
from relayer.ops.operator.bodies import (
    MAX_BODY,
    BackfillBody,
    LevelBody,
    NoBody,
    PauseBody,
    RangeBody,
    SelectionBody,
    TargetBody,
    body_of,
)
from relayer.ops.operator.door import OUTCOME, WHO, Door
from relayer.ops.operator.hooks import require_webhook, webhooks_view
from relayer.ops.operator.ports import OperatorStore, Running
from relayer.ops.operator.views import act_view, pause_view, unsure
from relayer.ops.views import printable, record_view
from relayer.ops.web import Refused, bounded, checked_hash, only, secured

MAX_AT_ONCE = 16
ANSWER_WITHIN_S = 120.0
"""A reload reads files (10 s), asks chains (20 s) and contracts (15 s), opens signers (15 s), and
stops what works (30 s)."""
MAX_LISTED = 200
REPLICA = "Relayer-Replica"
"""The header of an answer that is the configuration itself, and has no room for a name."""


def build_app(
    *,
    store: OperatorStore,
    running: Running,
    door: Door,
    now: Callable[[], Timestamp],
    beside: Beside | None = None,
) -> web.Application:
    """The application of the operator API, with what is served `beside` it."""
    pages = _Pages(store, running, now, door.hide)
    guards = [*door.middlewares, bounded(MAX_AT_ONCE, within_s=ANSWER_WITHIN_S)]
    if beside is not None:
        guards = beside.around(guards)
    app = web.Application(middlewares=[secured, *guards], client_max_size=MAX_BODY)
    verbs = "|".join(Verb)
    add = app.router.add_route
    add("POST", f"/v1/operator/messages/{{verb:{verbs}}}", pages.selection)
    add("POST", f"/v1/operator/messages/{{id}}/{{verb:{verbs}}}", pages.message)
    add("GET", "/v1/operator/dead", pages.dead)
    add("GET", "/v1/operator/pauses", pages.pauses)
    add("POST", "/v1/operator/pause", pages.pause)
    add("POST", "/v1/operator/resume", pages.resume)
    add("GET", "/v1/operator/backfills", pages.backfills)
    add("POST", "/v1/operator/backfill", pages.backfill)
    add("POST", "/v1/operator/backfill/cancel", pages.cancel_backfill)
    add("GET", "/v1/operator/webhooks", pages.webhooks)
    add("POST", "/v1/operator/webhooks/{name}/retry", pages.retry_webhook)
    add("GET", "/v1/operator/config", pages.config)
    add("GET", "/v1/operator/log-level", pages.level)
    add("PUT", "/v1/operator/log-level", pages.set_level)
    add("POST", "/v1/operator/reload", pages.reload)
    add("GET", "/v1/operator/audit", pages.audit)
    if beside is not None:
        beside.add_to(app)
    return app


class _Pages:
    """The handlers; each checks all that it is told before it does anything."""

    def __init__(
        self,
        store: OperatorStore,
        running: Running,
        now: Callable[[], Timestamp],
        hide: Callable[[str], str],
    ) -> None:
        self._store = store
        self._running = running
        self._now = now
        self._hide = hide

    # --- messages ----------------------------------------------------------------------------

    async def message(self, request: web.Request) -> web.Response:
        """One verb on one message; the answer is the message as it is then."""
        only(request, ())
        await body_of(request, NoBody)
        verb = Verb(request.match_info["verb"])
        message_id = MessageId(checked_hash("id", request.match_info["id"]))
        record = await self._store.operate(verb, message_id)
        request[OUTCOME] = f"{record.status} ({record.reason})"
        return web.json_response(record_view(record))

    async def selection(self, request: web.Request) -> web.Response:
        """One verb on a page of all messages that are selected; `after` tells how to go on."""
        only(request, ())
        asked = await body_of(request, SelectionBody)
        selection = self._selection(asked)
        done = await self._store.operate_all(
            Verb(request.match_info["verb"]),
            selection,
            dry_run=asked.dry_run,
            after=asked.after,
        )
        request[OUTCOME] = f"matched {done.matched}, changed {done.changed}"
        told = {
            "looked": done.looked,
            "matched": done.matched,
            "changed": done.changed,
            "dry_run": asked.dry_run,
            "refused": [{"id": mid, "text": printable(why, 300)} for mid, why in done.refused],
            "after": done.after,
        }
        unknown = None if done.matched else unknown_bridge(selection, self._running.bridges)
        if unknown is not None:
            told["warning"] = printable(self._hide(unknown), 500)
        return web.json_response(told)

    def _selection(self, asked: SelectionBody) -> Selection:
        return Selection(
            status=asked.status,
            reason=asked.reason,
            route=None if asked.route is None else Route.parse(asked.route),
            bridge=asked.bridge,
            origin=self._chain("origin", asked.origin),
            destination=self._chain("destination", asked.destination),
            sender=asked.sender,
            recipient=asked.recipient,
        )

    def _chain(self, field: str, text: str | int | None) -> ChainId | None:
        if text is None:
            return None
        return chain_id_of(field, str(text), self._running.chain_ids)

    async def dead(self, request: web.Request) -> web.Response:
        """The dead letters, newest first, with reason and evidence."""
        only(request, ("reason", "route", "limit", "after"))
        page = await self._store.list(
            status=Status.DEAD,
            route=_route(request),
            reason=_reason(request),
            limit=_limit(request),
            after=request.query.get("after"),
        )
        shown = [record_view(record) for record in page.records]
        return web.json_response({"messages": shown, "after": page.after})

    # --- pauses ------------------------------------------------------------------------------

    async def pauses(self, request: web.Request) -> web.Response:
        """Everything that is paused, by whom, why and since when."""
        only(request, ())
        return web.json_response({"pauses": await self._shown_pauses()})

    async def pause(self, request: web.Request) -> web.Response:
        """Pause one thing; pausing what is paused changes nothing."""
        only(request, ())
        asked = await body_of(request, PauseBody)
        why = printable(self._hide(asked.why), LONGEST_WHY)
        known = self._running.nameable
        target = target_of(*asked.named(), known)
        pause = Pause(target, request[WHO], why, self._now())
        holds = await self._store.pause(pause)
        await self._running.look_at_pauses()
        is_new = holds == pause
        request[OUTCOME] = "paused" if is_new else "was paused already"
        told = {"changed": is_new, **pause_view(holds, self._names())}
        if known.is_unsure_of(target):
            told["warning"] = unsure(known)
        return web.json_response(told)

    async def resume(self, request: web.Request) -> web.Response:
        """Let one thing go on; resuming what is not paused changes nothing."""
        only(request, ())
        asked = await body_of(request, TargetBody)
        paused = {pause.target for pause in await self._store.pauses()}
        target = target_to_resume(*asked.named(), self._running.nameable, paused)
        changed = await self._store.resume(target)
        await self._running.look_at_pauses()
        request[OUTCOME] = "resumed" if changed else "was not paused"
        answer = {"changed": changed, "kind": target.kind.value, "name": target.name}
        return web.json_response(answer)

    def _names(self) -> dict[ChainId, str]:
        return {chain: name for name, chain in self._running.chain_ids.items()}

    async def _shown_pauses(self) -> list[dict[str, Any]]:
        names = self._names()
        return [pause_view(pause, names) for pause in await self._store.pauses()]

    # --- reading again -----------------------------------------------------------------------

    async def backfills(self, request: web.Request) -> web.Response:
        """The ranges that are still to be read, and how far each is."""
        only(request, ())
        return web.json_response({"backfills": list(await self._running.backfills())})

    async def backfill(self, request: web.Request) -> web.Response:
        """Have final blocks read again by whoever follows the chain."""
        only(request, ())
        asked = await body_of(request, BackfillBody)
        told = await self._running.ask_backfill(
            asked.chain, first=asked.first, last=asked.last, tx=asked.tx
        )
        request[OUTCOME] = f"blocks {told['first']} to {told['last']}"
        return web.json_response(told, status=202)

    async def cancel_backfill(self, request: web.Request) -> web.Response:
        """Have a range that was asked for not read again."""
        only(request, ())
        asked = await body_of(request, RangeBody)
        told = await self._running.cancel_backfill(asked.chain, first=asked.first, last=asked.last)
        request[OUTCOME] = f"blocks {told['first']} to {told['last']} are not read again"
        return web.json_response(told)

    # --- webhooks ----------------------------------------------------------------------------

    async def webhooks(self, request: web.Request) -> web.Response:
        """What each webhook is still to be told, and its dead letters."""
        only(request, ())
        return web.json_response(await webhooks_view(self._store, self._running.webhooks))

    async def retry_webhook(self, request: web.Request) -> web.Response:
        """Tell a webhook its dead letters again."""
        only(request, ())
        await body_of(request, NoBody)
        name = request.match_info["name"]
        require_webhook(name, self._running.webhooks)
        count = await self._store.revive_notices(name)
        request[OUTCOME] = f"{count} are told again"
        return web.json_response({"webhook": name, "told_again": count})

    # --- the process -------------------------------------------------------------------------

    async def config(self, request: web.Request) -> web.Response:
        """The configuration in force, with every default, without secrets."""
        only(request, ())
        headers = {REPLICA: printable(self._running.replica, 100)}
        return web.json_response(self._running.config(), headers=headers)

    async def level(self, request: web.Request) -> web.Response:
        """The lowest level that this process logs."""
        only(request, ())
        return web.json_response({"level": self._running.level, "replica": self._running.replica})

    async def set_level(self, request: web.Request) -> web.Response:
        """Log more or less, in this process and until it ends or reloads another level."""
        only(request, ())
        asked = await body_of(request, LevelBody)
        before = self._running.level
        self._running.set_level(asked.level)
        request[OUTCOME] = f"{before} -> {asked.level}"
        return web.json_response(
            {"level": asked.level, "before": before, "replica": self._running.replica}
        )

    async def reload(self, request: web.Request) -> web.Response:
        """Take up the configuration file in this process; refused whole when it is wrong."""
        only(request, ())
        await body_of(request, NoBody)
        changes = await self._running.reload()
        request[OUTCOME] = ", ".join(changes["changes"]) or "nothing changed"
        return web.json_response(changes)

    async def audit(self, request: web.Request) -> web.Response:
        """The audit log, newest first; `strangers=true` tells of requests without a token."""
        only(request, ("limit", "after", "strangers"))
        strangers = request.query.get("strangers", "false")
        if strangers not in ("true", "false"):
            raise Refused(400, "must be true or false", field="strangers", value=strangers)
        page = await self._store.acts(
            limit=_limit(request),
            after=request.query.get("after"),
            strangers=strangers == "true",
        )
        return web.json_response(
            {"acts": [act_view(act) for act in page.acts], "after": page.after}
        )


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "100")
    if not (
        text.isascii() and text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= MAX_LISTED
    ):
        raise Refused(
            400, f"must be a whole number from 1 to {MAX_LISTED}", field="limit", value=text
        )
    return int(text)


def _route(request: web.Request) -> Route | None:
    text = request.query.get("route")
    try:
        return None if text is None else Route.parse(text[:200])
    except ValueError:
        wanted = "must be <bridge>:<origin id>><destination id>"
        raise Refused(400, wanted, field="route", value=text) from None


def _reason(request: web.Request) -> Reason | None:
    text = request.query.get("reason")
    try:
        return None if text is None else Reason(text)
    except ValueError:
        raise Refused(
            400, "is no reason that a message can have", field="reason", value=text
        ) from None
