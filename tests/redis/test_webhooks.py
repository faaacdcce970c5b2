"""Webhooks against a real receiver: signed, retried, given up, taken over, and fenced in."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr, ValidationError

from relayer.message import Status
from relayer.ops.api import ApiMetrics, models
from relayer.pipeline.notifier import (
    FIRST_PAUSE_S,
    JITTER,
    LONGEST_PAUSE_S,
    NoticeQueue,
    Notifier,
)
from relayer.pipeline.webhook_posts import Posted, WebhookPoster
from relayer.settings import WebhookSettings
from relayer.store import Lease, Role, Store, WebhookState
from tests.redis.conftest import Clock, Leases, held
from tests.redis.sample_facts import TEN, id_of, message

pytestmark = pytest.mark.redis

SECRET = "a secret of at least 32 characters"


@dataclass
class Receiver:
    """A web server that notes what it is posted and answers as the test says."""

    statuses: list[int] = field(default_factory=list)
    """Answers in turn; 200 afterwards."""
    taken: list[dict[str, Any]] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    retry_after: str = ""
    stalled: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.posts.append((dict(request.headers), body))
        self.arrived.set()
        if self.stalled is not None:
            await self.stalled.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        if status < 300:
            self.taken.append(json.loads(body))
        headers = {"Location": f"{self.url}/moved"} if status in (301, 307) else {}
        if self.retry_after:
            headers["Retry-After"] = self.retry_after
        return web.Response(status=status, headers=headers, body=b"x" * 100_000)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


class Told:
    """One webhook's two agents on one chain, and what they count."""

    def __init__(self, store: Store, lease: Lease, settings: WebhookSettings) -> None:
        self.registry = CollectorRegistry()
        metrics = ApiMetrics(self.registry)
        metrics.declare_webhooks([settings.name])
        self.poster = WebhookPoster(settings, store.now)
        self.queue = NoticeQueue(webhook=settings, store=store, lease=lease, metrics=metrics)
        self.notifier = Notifier(
            webhook=settings,
            store=store,
            lease=lease,
            poster=self.poster,
            metrics=metrics,
            rng=random.Random(1),
        )

    async def tick(self) -> None:
        """Queue all that is new, and tell what is due once."""
        while await self.queue.tick():
            pass
        await self.notifier.tick()

    def count(self, outcome: str) -> float | None:
        labels = {"webhook": "hook", "outcome": outcome}
        return self.registry.get_sample_value("relayer_webhook_notices_total", labels)


Teller = Callable[..., Told]


@pytest.fixture
async def lease(store: Store) -> Lease:
    return await held(store, 10, Role.WEBHOOKS)


@pytest.fixture
async def tell(store: Store, lease: Lease, receiver: Receiver) -> AsyncIterator[Teller]:
    """Make agents for a webhook at the receiver; changes are keys of the settings."""
    made: list[Told] = []

    def make(**changes: Any) -> Told:
        own_lease = changes.pop("lease", lease)
        made.append(Told(store, own_lease, hook(receiver, **changes)))
        return made[-1]

    yield make
    for one in made:
        await one.poster.aclose()


def hook(receiver: Receiver, **changes: Any) -> WebhookSettings:
    usual = {
        "name": "hook",
        "url": receiver.url + "/key-in-the-path",
        "secret": SECRET,
        "allow_http": True,
        "allow_private": True,
    }
    settings = WebhookSettings.model_validate({**usual, **changes, "allow_private": True})
    # Behind the back of the settings, which refuse some of what a poster refuses, too.
    return settings.model_copy(update={"allow_private": changes.get("allow_private", True)})


async def test_events_are_posted_signed(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller, clock: Clock
) -> None:
    """Body as promised; the signature is checked as a receiver would, with the standard library."""
    hooked = tell()
    await hooked.tick()
    await store.save_facts(leases.follower, [message(1)])
    await hooked.tick()
    ((headers, body),) = receiver.posts
    stamp, digest = (part.split("=")[1] for part in headers["Relayer-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256)
    assert hmac.compare_digest(digest, expected.hexdigest())
    assert int(stamp) == int(clock.time)
    posted = json.loads(body)
    assert (posted["type"], posted["event_id"]) == ("message", headers["Relayer-Event-Id"])
    models.Notice.model_validate(posted, extra="forbid")
    assert posted["event"]["id"] == id_of(1)
    assert hooked.count("told") == 1
    await hooked.tick()
    assert len(receiver.posts) == 1


async def test_what_happened_before_it_was_configured_is_not_told(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller
) -> None:
    """A new webhook begins now, not with history."""
    await store.save_facts(leases.follower, [message(1)])
    hooked = tell()
    await hooked.tick()
    await store.hold(id_of(1))
    await hooked.tick()
    assert [post["event"]["status"] for post in receiver.taken] == ["held"]


async def test_only_what_is_wanted_is_told(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller
) -> None:
    """By route pattern and by status."""
    hooked = tell(routes=["hyper:1>*"], statuses=["held"])
    await hooked.tick()
    await store.save_facts(leases.follower, [message(1), message(2, bridge="other")])
    await store.hold(id_of(1))
    await store.hold(id_of(2))
    await hooked.tick()
    assert [post["event"]["id"] for post in receiver.taken] == [id_of(1)]


async def test_a_flaky_receiver_gets_everything_in_the_end(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller, clock: Clock
) -> None:
    """Failures come back at growing pauses with the same body; the others are not held up."""
    hooked = tell()
    await hooked.tick()
    receiver.statuses = [500, 429, 302]
    await store.save_facts(leases.follower, [message(n) for n in range(5)])
    await hooked.tick()
    assert len(receiver.taken) == 2
    await hooked.tick()
    assert len(receiver.posts) == 5
    receiver.statuses = [503] * 3
    clock.time += FIRST_PAUSE_S * (1 + JITTER)
    await hooked.tick()
    clock.time += FIRST_PAUSE_S * (1 - JITTER)
    await hooked.tick()
    assert len(receiver.posts) == 8
    clock.time += FIRST_PAUSE_S * 2 * (1 + JITTER)
    await hooked.tick()
    assert {post["event"]["id"] for post in receiver.taken} == {id_of(n) for n in range(5)}
    assert len({body for _, body in receiver.posts}) == 5
    assert (hooked.count("told"), hooked.count("failed")) == (5, 6)
    assert await store.webhook_state("hook") == WebhookState(pending=0, dead=0, lost=0)


@pytest.mark.parametrize(
    ("status", "asked", "wait_s"),
    [
        (429, "90", 90.0),
        (503, "90", 90.0),
        (503, "Tue, 14 Nov 2023 22:15:00 GMT", 100.0),
        (429, "99999999999", LONGEST_PAUSE_S),
        (500, "90", FIRST_PAUSE_S),
        (429, "-90", FIRST_PAUSE_S),
        (429, "soon", FIRST_PAUSE_S),
        (429, "Tue, 14 Nov 1923 22:15:00 GMT", FIRST_PAUSE_S),
        (429, "Tue, 14 Nov 99999 22:15:00 GMT", FIRST_PAUSE_S),
    ],
)
async def test_a_receiver_that_asks_for_time_is_given_it(
    store: Store,
    leases: Leases,
    receiver: Receiver,
    tell: Teller,
    clock: Clock,
    status: int,
    asked: str,
    wait_s: float,
) -> None:
    """`Retry-After` of 429 and 503, in seconds or as a date, at most an hour; nothing new is posted
    meanwhile either, and other answers or odd values leave the usual pause."""
    clock.time = 1_700_000_000.0
    hooked = tell()
    await hooked.tick()
    receiver.statuses, receiver.retry_after = [status], asked
    await store.save_facts(leases.follower, [message(1)])
    await hooked.tick()
    assert len(receiver.posts) == 1
    early = wait_s * (1 - JITTER) if wait_s == FIRST_PAUSE_S else wait_s
    clock.time += early - 0.5
    is_asked = wait_s != FIRST_PAUSE_S
    await store.save_facts(leases.follower, [message(2)])
    await hooked.tick()
    assert len(receiver.posts) == (1 if is_asked else 2)
    clock.time += 0.5 + wait_s * 2 * JITTER
    await hooked.tick()
    assert sorted(post["event"]["id"] for post in receiver.taken) == [id_of(1), id_of(2)]
    assert hooked.count("failed") == 1


async def test_after_the_last_attempt_it_is_a_dead_letter(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller, clock: Clock
) -> None:
    """With its body and the trouble, to be told again when a person says so."""
    hooked = tell(max_attempts=2)
    await hooked.tick()
    receiver.statuses = [500, 500]
    await store.save_facts(leases.follower, [message(1)])
    for _ in range(3):
        await hooked.tick()
        clock.time += 1000
    (dead,) = await store.dead_notices("hook")
    assert (dead.attempts, dead.trouble) == (2, "status 500")
    assert (hooked.count("given_up"), receiver.taken) == (1, [])
    assert await store.revive_notices("hook") == 1
    await hooked.tick()
    assert [post["event"]["id"] for post in receiver.taken] == [id_of(1)]


async def test_a_slow_receiver_is_given_its_time_and_no_more(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller
) -> None:
    """A time-out is a failure like others; new events are queued meanwhile."""
    hooked = tell(timeout_s=0.5)
    await hooked.tick()
    receiver.stalled = asyncio.Event()
    await store.save_facts(leases.follower, [message(1)])
    await hooked.queue.tick()
    async with asyncio.TaskGroup() as group:
        group.create_task(hooked.notifier.tick())
        await receiver.arrived.wait()
        await store.save_facts(leases.follower, [message(2)])
        await hooked.queue.tick()
        assert await store.notices_pending(TEN, "hook") == 2
    assert hooked.count("failed") == 1
    receiver.stalled.set()


async def test_a_receiver_that_is_not_there(
    store: Store, leases: Leases, tell: Teller, clock: Clock
) -> None:
    """Refused connections and names that do not exist are failures without the URL in them."""
    hooked = tell(url="http://127.0.0.1:1/very-secret-path")
    await hooked.tick()
    await store.save_facts(leases.follower, [message(1)])
    await hooked.tick()
    assert hooked.count("failed") == 1
    clock.time += 100
    (notice,) = await store.due_notices(TEN, "hook")
    assert notice.trouble == "ClientConnectorError"


async def test_redirects_are_not_followed(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller
) -> None:
    """A receiver cannot send us somewhere else."""
    hooked = tell()
    await hooked.tick()
    receiver.statuses = [307]
    await store.save_facts(leases.follower, [message(1)])
    await hooked.tick()
    assert (len(receiver.posts), hooked.count("failed")) == (1, 1)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"]
)
async def test_private_addresses_need_permission(
    store: Store, leases: Leases, receiver: Receiver, tell: Teller, host: str
) -> None:
    """By number, by name, and dressed up: nothing arrives unless `allow_private` says so."""
    port = receiver.url.rpartition(":")[2]
    hooked = tell(url=f"http://{host}:{port}/", allow_private=False)
    await hooked.tick()
    await store.save_facts(leases.follower, [message(1)])
    await hooked.tick()
    assert (receiver.posts, hooked.count("failed")) == ([], 1)


async def test_another_replica_goes_on_where_the_first_one_stopped(
    store: Store, leases: Leases, lease: Lease, receiver: Receiver, tell: Teller
) -> None:
    """Killed between post and settlement: told again with the same id, and nothing is lost."""
    first = tell()
    await first.tick()
    await store.save_facts(leases.follower, [message(1)])
    await first.queue.tick()
    (notice,) = await store.due_notices(TEN, "hook")
    assert await first.poster.post(notice, TEN) == Posted()
    await store.release_lease(lease)
    await store.save_facts(leases.follower, [message(2)])
    second = tell(lease=await held(store, 10, Role.WEBHOOKS, "two"))
    await second.tick()
    ids = [post["event_id"] for post in receiver.taken]
    assert len(ids) == 3
    assert len(set(ids)) == 2
    assert ids.count(ids[0]) == 2


async def test_events_that_were_trimmed_are_counted_as_lost(
    store: Store, leases: Leases, tell: Teller
) -> None:
    """Honest about what nobody will ever be told."""
    await store.save_facts(leases.follower, [message(99)])
    hooked = tell()
    await hooked.tick()
    await store.save_facts(leases.follower, [message(n) for n in range(10)])
    place = (await store.events(TEN, None)).newest
    for key in [key async for key in store._client.scan_iter("*events")]:
        await store.command("XTRIM", key, "MAXLEN", "=", "4")
    await hooked.tick()
    assert (hooked.count("lost"), hooked.count("told")) == (6, 4)
    assert (await store.webhook_state("hook")).lost == 6
    assert await store.notice_place(TEN, "hook") == place


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://a.example/"}, "not https"),
        ({"url": "ftp://a.example/"}, "is not a URL"),
        ({"secret": "hunter2"}, "at least 32"),
        ({"statuses": ["lost"]}, "statuses"),
        ({"name": "No Name"}, "name"),
    ],
)
def test_settings_refuse_what_is_unsafe(changes: dict[str, Any], words: str) -> None:
    """Plain http is a decision, and a secret is long."""
    usual = {"name": "hook", "url": "https://a.example/", "secret": SECRET}
    WebhookSettings.model_validate(usual)
    with pytest.raises(ValidationError, match=words) as refused:
        WebhookSettings.model_validate({**usual, **changes})
    assert "hunter2" not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    """Neither the URL nor the secret is in any text of the settings."""
    settings = WebhookSettings(
        name="hook",
        url=SecretStr("https://a.example/key-in-the-path"),
        secret=SecretStr(SECRET),
        statuses=[Status.DEAD],
    )
    shown = f"{settings!r} {settings} {settings.model_dump_json()}"
    assert "key-in-the-path" not in shown
    assert SECRET not in shown
