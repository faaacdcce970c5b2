"""Tells one webhook what happens on one chain: at least once, retried, given up in the end.

What is to be told is queued in the store together with the place read to; so whoever takes over the
lease goes on exactly there, and may tell again what was under way.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial

import structlog

from relayer.message import Event, Timestamp
from relayer.ops.api import ApiMetrics
from relayer.ops.metrics import Metrics
from relayer.ops.views import event_view
from relayer.pipeline.loop import Bell, run_agent
from relayer.pipeline.webhook_posts import Posted, WebhookPoster
from relayer.settings import WebhookSettings
from relayer.store import Lease, Notice, Store

POLL_S = 0.5
MOST_PENDING = 10_000
"""Queued notices of one webhook and chain; events wait in their stream meanwhile."""
PAGE = 500
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0
"""Whatever a receiver asks for, too."""
JITTER = 0.2


class NoticeQueue:
    """Queues for one webhook what is new on one chain; call `tick()` under the `webhooks` lease.

    Apart from the telling, because events are kept for seconds under load, and a slow receiver
    takes longer.
    """

    def __init__(
        self, *, webhook: WebhookSettings, store: Store, lease: Lease, metrics: ApiMetrics
    ) -> None:
        self._webhook = webhook
        self._store = store
        self._lease = lease
        self._metrics = metrics
        self._log = structlog.get_logger("relayer").bind(webhook=webhook.name, chain=lease.chain)

    @property
    def name(self) -> str:
        return f"notice_queue:{self._webhook.name}"

    async def tick(self) -> bool:
        """Read one page of events behind our place; the first time, begin at the newest."""
        chain, name = self._lease.chain, self._webhook.name
        if await self._store.notices_pending(chain, name) >= MOST_PENDING:
            return False
        after = await self._store.notice_place(chain, name)
        page = await self._store.events(chain, after, limit=PAGE)
        if after == page.upto:
            return False
        notices = [
            Notice(event.number, notice_body(event), since=self._store.now())
            for event in page.events
            if self._is_wanted(event)
        ]
        lost = max(0, page.missed)
        moved = await self._store.queue_notices(
            self._lease, name, notices, after=after, upto=page.upto, lost=lost
        )
        if moved and page.missed:
            self._log.error("webhook_events_lost", missed=page.missed)
            self._metrics.notices(name, "lost", max(1, lost))
        return page.upto != page.newest

    def _is_wanted(self, event: Event) -> bool:
        routes, statuses = self._webhook.routes, self._webhook.statuses
        route = str(event.route)
        return (not statuses or event.status in statuses) and (
            not routes or any(fnmatchcase(route, pattern) for pattern in routes)
        )


class Notifier:
    """Tells one webhook what is queued for it; call `tick()` under the `webhooks` lease.

    A receiver that asks for time (429 or 503 with `Retry-After`) is told nothing until it is over.
    """

    def __init__(
        self,
        *,
        webhook: WebhookSettings,
        store: Store,
        lease: Lease,
        poster: WebhookPoster,
        metrics: ApiMetrics,
        rng: random.Random,
    ) -> None:
        self._webhook = webhook
        self._store = store
        self._lease = lease
        self._poster = poster
        self._metrics = metrics
        self._rng = rng
        self._rests_until = Timestamp(0)
        self._log = structlog.get_logger("relayer").bind(webhook=webhook.name, chain=lease.chain)

    @property
    def name(self) -> str:
        return f"notifier:{self._webhook.name}"

    async def tick(self) -> bool:
        """Post what is due and write down how it went; True when something was."""
        chain, name = self._lease.chain, self._webhook.name
        if self._store.now() < self._rests_until:
            return False
        due = await self._store.due_notices(chain, name)
        if not due:
            return False
        posted = await asyncio.gather(*(self._poster.post(notice, chain) for notice in due))
        self._rest(posted)
        failed = [
            replace(notice, attempts=notice.attempts + 1, trouble=one.trouble)
            for notice, one in zip(due, posted, strict=True)
            if one.trouble
        ]
        dead = [one for one in failed if one.attempts >= self._webhook.max_attempts]
        again = [(one, self._next_try(one)) for one in failed if one not in dead]
        told = [notice.number for notice, one in zip(due, posted, strict=True) if not one.trouble]
        await self._store.settle_notices(self._lease, name, told=told, again=again, dead=dead)
        self._count(told=len(told), failed=failed, dead=dead)
        return True

    def _rest(self, posted: Sequence[Posted]) -> None:
        asked_s = max((one.retry_after_s or 0.0 for one in posted), default=0.0)
        if asked_s:
            self._rests_until = Timestamp(self._store.now() + min(asked_s, LONGEST_PAUSE_S))

    def _next_try(self, notice: Notice) -> Timestamp:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(notice.attempts - 1, 20))
        at = self._store.now() + pause_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
        return Timestamp(max(at, self._rests_until))

    def _count(self, *, told: int, failed: Sequence[Notice], dead: Sequence[Notice]) -> None:
        name = self._webhook.name
        self._metrics.notices(name, "told", told)
        self._metrics.notices(name, "failed", len(failed))
        self._metrics.notices(name, "given_up", len(dead))
        if dead:
            self._log.error("webhook_gave_up", notices=len(dead), trouble=dead[0].trouble)
        elif failed:
            self._log.warning("webhook_failed", notices=len(failed), trouble=failed[0].trouble)


def notice_body(event: Event) -> str:
    """What is posted: the same at every attempt, with an id to know it again by."""
    return json.dumps(
        {
            "event_id": f"{event.chain}-{event.number}",
            "type": "message",
            "event": event_view(event),
        }
    )


async def run_notifiers(
    lease: Lease,
    *,
    webhooks: Sequence[WebhookSettings],
    store: Store,
    metrics: Metrics,
    api_metrics: ApiMetrics,
    now: Callable[[], Timestamp],
    rng: random.Random,
) -> None:
    """Tell every webhook about one chain until cancelled or until the lease is lost."""
    posters = {webhook.name: WebhookPoster(webhook, now) for webhook in webhooks}
    start = partial(run_agent, idle_s=POLL_S, on_failure=metrics.agent_failed)
    try:
        async with asyncio.TaskGroup() as group:
            for webhook in webhooks:
                queue = NoticeQueue(webhook=webhook, store=store, lease=lease, metrics=api_metrics)
                notifier = Notifier(
                    webhook=webhook,
                    store=store,
                    lease=lease,
                    poster=posters[webhook.name],
                    metrics=api_metrics,
                    rng=rng,
                )
                group.create_task(start(queue, Bell()))
                group.create_task(start(notifier, Bell()))
    finally:
        for poster in posters.values():
            await poster.aclose()


async def refresh_webhooks(
    webhooks: Sequence[WebhookSettings], store: Store, metrics: ApiMetrics
) -> None:
    """Show how far each webhook is."""
    for webhook in webhooks:
        state = await store.webhook_state(webhook.name)
        metrics.webhook(webhook.name, pending=state.pending, dead=state.dead)
