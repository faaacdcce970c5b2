"""What is counted about the API and about webhooks; every label comes from a closed list."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Gauge

CLASSES = ("2xx", "3xx", "4xx", "5xx")
DROPPED = ("too_slow", "too_many")
"""Why a subscriber of events is sent away."""
NOTICE_OUTCOMES = ("told", "failed", "given_up", "lost")
OTHER = "other"
"""The path of a request that is for none of our pages."""


class ApiMetrics:
    """Counters on the service's registry, all there from the start at zero."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "relayer_http_requests",
            "Requests answered, by page and class of status.",
            ("path", "status"),
            registry=registry,
        )
        self._limited = Counter(
            "relayer_http_rate_limited",
            "Requests refused because their client asks too often.",
            registry=registry,
        )
        self._subscribers = Gauge(
            "relayer_event_subscribers", "Clients that listen to events.", registry=registry
        )
        self._dropped = Counter(
            "relayer_event_subscribers_dropped",
            "Clients of events that were sent away.",
            ("cause",),
            registry=registry,
        )
        self._notices = Counter(
            "relayer_webhook_notices",
            "Attempts to tell a webhook, and events it never got.",
            ("webhook", "outcome"),
            registry=registry,
        )
        self._pending = Gauge(
            "relayer_webhook_pending",
            "Events a webhook is still to be told.",
            ("webhook",),
            registry=registry,
        )
        self._dead = Gauge(
            "relayer_webhook_dead_letters",
            "Events kept that a webhook would not take.",
            ("webhook",),
            registry=registry,
        )
        for cause in DROPPED:
            self._dropped.labels(cause)

    def declare_webhooks(self, webhooks: Iterable[str]) -> None:
        """Create the series of every webhook."""
        for webhook in webhooks:
            self._pending.labels(webhook)
            self._dead.labels(webhook)
            for outcome in NOTICE_OUTCOMES:
                self._notices.labels(webhook, outcome)

    def forget_webhook(self, webhook: str) -> None:
        """Remove every series of a webhook that is no more."""
        for told in (self._pending, self._dead, self._notices):
            told.remove_by_labels({"webhook": webhook})

    def declare_paths(self, paths: Iterable[str]) -> None:
        """Create the series of every page."""
        for path in (*paths, OTHER):
            for status in CLASSES:
                self._requests.labels(path, status)

    def middleware(self) -> Middleware:
        """Outermost: counts every answer by its page."""

        @web.middleware
        async def counting(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await handler(request)
            resource = request.match_info.route.resource
            path = OTHER if resource is None else resource.canonical
            self._requests.labels(path, f"{answer.status // 100}xx").inc()
            return answer

        return counting

    def limited(self) -> None:
        """A request was refused because its client asks too often."""
        self._limited.inc()

    def subscribers(self, count: int) -> None:
        """So many clients listen to events now."""
        self._subscribers.set(count)

    def dropped(self, cause: str) -> None:
        """A client of events was sent away for one of `DROPPED`."""
        self._dropped.labels(cause).inc()

    def notices(self, webhook: str, outcome: str, count: int = 1) -> None:
        """What became of notices: one of `NOTICE_OUTCOMES`."""
        self._notices.labels(webhook, outcome).inc(count)

    def webhook(self, webhook: str, *, pending: int, dead: int) -> None:
        """How far a webhook is."""
        self._pending.labels(webhook).set(pending)
        self._dead.labels(webhook).set(dead)
