"""The API asked over real HTTP, on a real server and a real cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from relayer.message import Reason, Record, Timestamp, TxHash
from relayer.ops.api import EarlyAnswer, Limits, models
from relayer.ops.api.limits import MAX_CLIENTS, Buckets
from relayer.ops.api.messages import DELIVERED_FOR_S
from relayer.ops.web import Refused
from relayer.store import Store
from tests.redis.api_world import ROUTE, fill, proving, reports, serving
from tests.redis.conftest import Clock, Leases
from tests.redis.sample_facts import delivery, id_of, message, tx_of

pytestmark = pytest.mark.redis


def promised(model: type[BaseModel], body: Any) -> None:
    """The answer is what the document promises, and nothing besides."""
    model.model_validate(body, extra="forbid")


async def test_every_answer_keeps_its_promise(store: Store, leases: Leases) -> None:
    """Each page against its model, with unknown fields forbidden."""
    await fill(store, leases)
    async with serving(store, network=reports(), prove=proving) as api:
        for number in range(10):
            status, body = await api.ask(f"/v1/messages/{id_of(number)}")
            assert status == 200
            promised(models.MessageWalk, body)
        kinds = (models.ProofCall, models.ProofWait, models.ProofRefused, models.ProofDone)
        for number, kind in enumerate(kinds):
            status, body = await api.ask(f"/v1/messages/{id_of(number)}/proof")
            assert (status, body["id"]) == (200, id_of(number))
            promised(kind, body)
        _, listed = await api.ask("/v1/messages")
        promised(models.MessagePage, listed)
        assert len(listed["messages"]) == 10
        _, of_tx = await api.ask(f"/v1/messages?tx={tx_of(7)}")
        promised(models.MessagesOfTransaction, of_tx)
        assert {view["id"] for view in of_tx["messages"]} == {id_of(0), id_of(1), id_of(7)}
        _, routes = await api.ask("/v1/routes")
        promised(models.Routes, routes)
        native = {"symbol": "ETH", "decimals": 18}
        assert routes["routes"][0]["native"] == {"origin": None, "destination": native}
        assert routes["routes"][0]["paid_wei"] == "5"
        assert routes["routes"][0]["delivery"] == {"samples": 4, "p50_s": 3.0, "p95_s": 40.0}
        _, chains = await api.ask("/v1/chains")
        promised(models.Chains, chains)
        assert chains["chains"][0]["lag_blocks"] == 3
        assert chains["chains"][0]["finality"] == {"tag": None, "depth": 2, "behind_s": 24.0}
        assert chains["chains"][0]["native"] == native
        _, wrong = await api.ask("/v1/messages?limit=0")
        promised(models.Failure, wrong)


async def test_pages_join_and_cursors_are_bound_to_their_list(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """No gap and no repeat; a cursor of other filters, or a made-up one, is refused."""
    await store.save_facts(leases.follower, [message(n, to=10 + n % 2 * 10) for n in range(130)])
    clock.time += 1
    await store.save_facts(leases.follower, [message(130)])
    async with serving(store) as api:
        for order in ("newest", "oldest"):
            seen: list[str] = []
            cursor = ""
            while True:
                _, page = await api.ask(f"/v1/messages?limit=40&order={order}{cursor}")
                assert len(page["messages"]) <= 40
                seen += [view["id"] for view in page["messages"]]
                if page["next"] is None:
                    break
                cursor = f"&cursor={page['next']}"
            assert sorted(seen) == [id_of(n) for n in range(131)]
            assert (seen[0 if order == "newest" else -1]) == id_of(130)
        _, page = await api.ask("/v1/messages?limit=1")
        for other in ("&status=dead", "&order=oldest", "&sender=0x" + "00" * 20):
            status, body = await api.ask(f"/v1/messages?cursor={page['next']}{other}")
            assert (status, body["error"]["field"]) == (400, "cursor")
            assert "other filters" in body["error"]["text"]
        for made_up in ("AAAA", page["next"][:-4], "a" * 4000):
            status, body = await api.ask(f"/v1/messages?cursor={made_up}")
            assert (status, body["error"]["field"]) == (400, "cursor")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("status=dead", {3}),
        ("reason=awaiting_root", {2}),
        ("status=waiting&reason=awaiting_root", {2}),
        ("status=dead&reason=awaiting_root", set()),
        (f"route={str(ROUTE).replace('>', '%3E')}&status=held", {4}),
        ("bridge=hyper&status=included", {1}),
        ("bridge=other", set()),
        ("origin=1&destination=10&status=delivered", {0}),
        ("origin=10", set()),
        ("destination=99", set()),
        (f"route={str(ROUTE).replace('>', '%3E')}&bridge=other", set()),
        ("status=dead&sender=0x" + "AA" * 20, {3}),
        ("status=dead&sender=0x" + "00" * 12 + "aa" * 20, {3}),
        ("status=dead&sender=0x" + "bb" * 20, set()),
        ("status=dead&recipient=0x" + "bb" * 20, set()),
        (f"tx={tx_of(5)}", {5}),
        (f"tx={tx_of(7)}&status=delivered", {0}),
        (f"tx={tx_of(7)}&destination=20", set()),
        (f"tx={tx_of(7)}&limit=2", {0, 7}),
    ],
)
async def test_filters(store: Store, leases: Leases, filters: str, expected: set[int]) -> None:
    """Each filter by itself and together; those that cannot both hold match nothing."""
    await fill(store, leases)
    async with serving(store) as api:
        status, body = await api.ask(f"/v1/messages?{filters}")
    assert status == 200
    assert {int(view["id"], 16) for view in body["messages"]} == expected


async def test_delivered_messages_may_be_kept_and_others_must_be_asked_for_again(
    store: Store, leases: Leases
) -> None:
    """ETag, 304 without a body, and a new ETag when the message moves."""
    await fill(store, leases)
    async with serving(store) as api:
        async with api.session.get(f"/v1/messages/{id_of(0)}") as delivered:
            assert delivered.headers["Cache-Control"] == f"public, max-age={DELIVERED_FOR_S}"
        async with api.session.get(f"/v1/messages/{id_of(5)}") as first:
            tag = first.headers["ETag"]
            assert first.headers["Cache-Control"] == "no-cache"
        known = {"If-None-Match": tag}
        async with api.session.get(f"/v1/messages/{id_of(5)}", headers=known) as again:
            assert (again.status, await again.read()) == (304, b"")
            assert again.headers["ETag"] == tag
        await store.hold(id_of(5))
        async with api.session.get(f"/v1/messages/{id_of(5)}", headers=known) as moved:
            assert moved.status == 200
            assert moved.headers["ETag"] != tag
        for bad in ('"', "W/", "x" * 2000, '"a", *'):
            async with api.session.get(
                f"/v1/messages/{id_of(5)}", headers={"If-None-Match": bad}
            ) as odd:
                assert odd.status in (200, 304)


async def test_an_estimate_rests_on_the_routes_deliveries(
    store: Store, leases: Leases, clock: Clock
) -> None:
    """Half are there by `at`; one that takes longer than any before has none."""
    await store.save_facts(leases.follower, [message(1)])
    network = reports()
    network.times_s = {ROUTE: [10.0, 20.0, 30.0, 40.0, 50.0]}
    async with serving(store, network=network) as api:
        _, body = await api.ask(f"/v1/messages/{id_of(1)}")
        assert body["estimate"] == {
            "at": "2023-11-14T22:13:50.000Z",
            "earliest": "2023-11-14T22:13:30.000Z",
            "latest": "2023-11-14T22:14:10.000Z",
            "basis": "route_statistics",
            "detail": "",
            "samples": 5,
        }
        clock.time += 51
        _, late = await api.ask(f"/v1/messages/{id_of(1)}")
        assert (late["estimate"]["basis"], late["estimate"]["at"]) == ("unknown", None)


async def test_a_client_over_its_rate_is_sent_away_and_others_are_not(
    store: Store, clock: Clock
) -> None:
    """429 with the time to come back, counted, for unknown paths as well; who watches the relayer
    is never limited, nor is a browser that has begun to load the page."""
    limits = Limits(rate_per_s=0.5, burst=3)
    async with serving(store, limits=limits, clock=lambda: clock.time) as api:
        for path in ("/v1/routes", "/", "/nowhere"):
            async with api.session.get(path) as answer:
                assert answer.status in (200, 404)
        async with api.session.get("/v1/routes") as refused:
            assert refused.status == 429
            assert refused.headers["Retry-After"] == "2"
            assert (await refused.json())["error"]["code"] == "too_many_requests"
        assert api.value("http_rate_limited_total") == 1
        assert api.value("http_requests_total", path="/v1/routes", status="4xx") == 1
        for path in ("/", "/nowhere"):
            assert (await api.ask(path))[0] == 429
        for path in ("/healthz", "/readyz", "/metrics", "/page/page.js") * 5:
            async with api.session.get(path) as answer:
                assert answer.status == 200
        clock.time += 2
        assert (await api.ask("/v1/routes"))[0] == 200


async def test_forwarded_addresses_count_only_behind_a_trusted_proxy(store: Store) -> None:
    """A client cannot choose who it is, whatever it writes in front."""
    import ipaddress

    distrusting = Limits(rate_per_s=0.001, burst=1)
    async with serving(store, limits=distrusting) as api:
        assert (await api.ask("/v1/routes", **{"X-Forwarded-For": "1.1.1.1"}))[0] == 200
        assert (await api.ask("/v1/routes", **{"X-Forwarded-For": "2.2.2.2"}))[0] == 429
    proxies = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/8")]
    trusting = Limits(rate_per_s=0.001, burst=1, trusted_proxies=proxies)
    async with serving(store, limits=trusting) as api:
        for hops, status in (
            ("9.9.9.9, 1.1.1.1", 200),
            ("8.8.8.8, 1.1.1.1", 429),
            ("2.2.2.2, 10.1.1.1", 200),
            ("1.1.1.1, 2.2.2.2, 10.9.9.9", 429),
            ("2001:db8::1", 200),
            ("2001:db8::ffff", 429),
            ("2001:db8:0:1::1", 200),
            ("garbage", 200),
            ("more garbage", 429),
        ):
            assert (await api.ask("/v1/routes", **{"X-Forwarded-For": hops}))[0] == status, hops


def test_the_table_of_clients_is_bounded() -> None:
    """A crowd of addresses costs a bounded memory; the one that asked last is remembered."""
    buckets = Buckets(Limits(rate_per_s=1, burst=1), lambda: 0.0)
    for number in range(MAX_CLIENTS + 100):
        assert buckets.take(str(number)) == 0
    assert len(buckets) == MAX_CLIENTS
    assert buckets.take(str(MAX_CLIENTS + 99)) == 1.0


def test_what_is_dear_costs_more() -> None:
    """What was taken comes back with time; who takes more than there ever is owes the rest."""
    now = [0.0]
    buckets = Buckets(Limits(rate_per_s=2, burst=10), lambda: now[0])
    assert buckets.take("a", 9) == 0
    assert buckets.take("a", 9) == 4
    assert buckets.take("b", 9) == 0
    now[0] += 4.5
    assert buckets.take("a", 30) == 0
    assert buckets.take("a") == 10.5
    buckets.owe("c", 14)
    assert buckets.take("c") == 2.5


async def test_a_list_costs_by_what_is_asked_for(store: Store, leases: Leases) -> None:
    """200 messages cost ten requests; those of a transaction cost by how many there are."""
    await store.save_facts(leases.follower, [message(n) for n in range(40)])
    await store.save_facts(leases.far, [delivery(n, tx=900) for n in range(40)])
    limits = Limits(rate_per_s=0.01, burst=25)
    async with serving(store, limits=limits, clock=lambda: 0.0) as api:
        for expected in (200, 200, 429):
            async with api.session.get("/v1/messages?limit=200") as answer:
                assert answer.status == expected
        assert answer.headers["Retry-After"] == "500"
        small = [(await api.ask("/v1/messages?limit=20"))[0] for _ in range(5)]
        assert small == [200, 200, 200, 200, 429]
    async with serving(store, limits=limits, clock=lambda: 0.0) as api:
        of_tx = [(await api.ask(f"/v1/messages?tx={tx_of(900)}"))[0] for _ in range(10)]
        assert of_tx == [*(200,) * 9, 429]


async def test_asking_the_chains_is_dear_unless_the_answer_is_known(store: Store) -> None:
    """Nobody takes all looks from the others; whoever asks again for the same pays a request."""
    known: set[TxHash] = set()

    async def early(tx: TxHash) -> EarlyAnswer:
        is_new = tx not in known
        known.add(tx)
        return EarlyAnswer([], is_complete=True, is_new=is_new)

    limits = Limits(rate_per_s=0.01, burst=25)
    async with serving(store, limits=limits, clock=lambda: 0.0, early=early) as api:
        same = [(await api.ask(f"/v1/messages?tx={tx_of(1)}"))[0] for _ in range(6)]
        others = [(await api.ask(f"/v1/messages?tx={tx_of(n)}"))[0] for n in range(2, 5)]
    assert same == [200] * 6
    assert others == [200, 429, 429]


async def test_a_chain_that_takes_its_time_holds_up_no_list(store: Store) -> None:
    """The look at it is outside of the turns that lists take."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def early(_: TxHash) -> EarlyAnswer:
        asked.set()
        await go_on.wait()
        return EarlyAnswer([], is_complete=True)

    async with (
        serving(store, early=early) as api,
        asyncio.timeout(20),
        asyncio.TaskGroup() as group,
    ):
        slow = group.create_task(api.ask(f"/v1/messages?tx={tx_of(1)}"))
        await asked.wait()
        assert (await api.ask("/v1/messages?limit=200"))[0] == 200
        assert not slow.done()
        go_on.set()
    assert slow.result()[0] == 200


async def test_other_origins_read_nothing_unless_listed(store: Store) -> None:
    """No CORS header by default; a listed origin gets its own name back, streams too."""
    origin = {"Origin": "https://app.example"}
    async with serving(store) as api, api.session.get("/v1/routes", headers=origin) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers
    limits = Limits(rate_per_s=1e6, burst=10**6, cors_origins=["https://app.example"])
    async with serving(store, limits=limits) as api:
        for path in ("/v1/routes", "/v1/events", "/v1/messages/0x1"):
            async with api.session.get(path, headers=origin) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
                assert answer.headers["Vary"] == "Origin"
        asks = {**origin, "Access-Control-Request-Method": "GET"}
        async with api.session.options("/v1/routes", headers=asks) as answer:
            assert answer.status == 204
        for other in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {}):
            async with api.session.get("/v1/routes", headers=other) as answer:
                assert "Access-Control-Allow-Origin" not in answer.headers
        async with api.session.get("/metrics", headers=origin) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_answers_are_json_whatever_is_accepted(store: Store) -> None:
    """One form and no 406: `Accept` is not looked at, as the document says."""
    async with serving(store) as api:
        for accepted in ("application/xml", "text/html;q=0.1", "image/*", "", "*/*;q=0", "\x80"):
            for path, status in (("/v1/routes", 200), ("/v1/messages/0x1", 400)):
                async with api.session.get(path, headers={"Accept": accepted}) as answer:
                    assert (answer.status, answer.content_type) == (status, "application/json")
            async with api.session.get("/v1/events", headers={"Accept": accepted}) as answer:
                assert (answer.status, answer.content_type) == (200, "text/event-stream")
        _, document = await api.ask("/v1/openapi.json")
        for path in document["paths"].values():
            assert "406" not in path["get"]["responses"]


async def test_large_bodies_are_refused(store: Store) -> None:
    """With a length and without one; a small one is ignored."""
    async with serving(store) as api:

        async def endless() -> Any:
            for _ in range(100):
                yield b"x" * 1000

        for body, status in ((b"x" * 1025, 413), (endless(), 413), (b"x" * 1024, 200)):
            async with api.session.request("GET", "/v1/routes", data=body) as answer:
                assert answer.status == status


async def test_a_proof_that_cannot_be_had_says_so(store: Store, leases: Leases) -> None:
    """The prover's refusal is the answer; an unknown message is 404 and costs no proof."""
    await fill(store, leases)
    asked: list[Record] = []

    async def full(record: Record) -> dict[str, Any]:
        asked.append(record)
        raise Refused(503, "too many proofs at once; try again", retry_after_s=2)

    async with serving(store, prove=full) as api:
        assert (await api.ask(f"/v1/messages/{id_of(1)}/proof"))[0] == 503
        assert (await api.ask(f"/v1/messages/{id_of(77)}/proof"))[0] == 404
        assert [record.id for record in asked] == [id_of(1)]


async def test_the_document_and_the_counters_know_every_page(store: Store) -> None:
    """OpenAPI 3.1 with each path; each path is counted from zero."""
    async with serving(store) as api:
        _, document = await api.ask("/v1/openapi.json")
        assert document["openapi"] == "3.1.0"
        for path in document["paths"]:
            assert api.value("http_requests_total", path=path, status="5xx") == 0
        assert set(document["paths"]["/v1/messages"]["get"]["responses"]) == {
            "200", "304", "400", "413", "429", "503", "504",
        }  # fmt: skip
        names = {one["name"] for one in document["paths"]["/v1/messages"]["get"]["parameters"]}
        assert names == {*models.MessagesAsked.model_fields, "If-None-Match"}


async def test_clocks_come_before_statistics() -> None:
    """A delay that the bridge imposes says when at the earliest; a pause has no end we know."""
    from relayer.message import Status
    from relayer.ops.api.estimates import estimate_view
    from tests.unit.sample_records import NOON, record_of

    times = [1.0] * 10
    waiting = record_of(
        reason=Reason.AWAITING_TIME,
        evidence={"clock:proof": str(NOON + 50), "clock:game": str(NOON + 90), "clock:x": "?"},
    )
    view = estimate_view(waiting, times, Timestamp(NOON + 10))
    assert view is not None
    assert (view["basis"], view["latest"]) == ("clock", None)
    assert view["at"] == view["earliest"] == "2023-11-14T22:14:50.250Z"
    for changes in (
        {"reason": Reason.PAUSED},
        {"status": Status.HELD, "reason": Reason.HELD_BY_OPERATOR},
    ):
        unknown = estimate_view(record_of(**changes), times, Timestamp(NOON + 0.1))
        assert unknown is not None
        assert (unknown["basis"], unknown["at"]) == ("unknown", None)
    assert estimate_view(record_of(), times[:4], NOON) == {
        "at": None, "earliest": None, "latest": None, "basis": "unknown", "detail": "",
        "samples": 4,
    }  # fmt: skip
