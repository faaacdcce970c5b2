"""The HTTP server, asked by a real client over loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from relayer.errors import ConfigInvalid, SchemaMismatch, StoreUnavailable, UnreadableRecord
from relayer.message import MessageId, Record, TxHash
from relayer.ops.api import Limits
from relayer.ops.api.messages import MAX_OF_TX
from relayer.ops.connections import Room
from relayer.ops.http import (
    MAX_AT_ONCE,
    METRICS_FOR_S,
    READINESS_FOR_S,
    Health,
    Readiness,
    build_app,
    serve,
)
from relayer.ops.metrics import Metrics
from relayer.ops.web import SECURITY_HEADERS, WebServer
from tests.api_fakes import EmptyStore, dapp_api
from tests.unit.sample_records import id_of, record_of, tx_of


@dataclass
class Shelf(EmptyStore):
    """A store that holds what a test puts in it, and can break or stall."""

    records: list[Record] = field(default_factory=list)
    error: Exception | None = None
    stalled: asyncio.Event | None = None
    crowded: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0

    async def get(self, message_id: MessageId, /) -> Record | None:
        if self.error:
            raise self.error
        if self.stalled:
            self.waiting += 1
            if self.waiting == MAX_AT_ONCE:
                self.crowded.set()
            await self.stalled.wait()
        return next((record for record in self.records if record.id == message_id), None)

    async def by_tx(self, tx: TxHash, /) -> Sequence[Record]:
        return [record for record in self.records if record.message.at.tx == tx]


@dataclass
class World:
    """The server's surroundings, in the hands of the test."""

    shelf: Shelf = field(default_factory=Shelf)
    metrics: Counted = field(default_factory=lambda: Counted())
    chains: dict[str, Readiness] = field(default_factory=dict)
    redis: Readiness = field(default_factory=lambda: Readiness(True))
    probe_error: Exception | None = None
    probes: int = 0
    seconds: float = 0.0

    async def probe(self) -> Health:
        self.probes += 1
        if self.probe_error:
            raise self.probe_error
        return Health(self.redis, self.chains)


class Counted(Metrics):
    """Counts how often it is rendered."""

    renderings = 0

    def render(self) -> bytes:
        self.renderings += 1
        return super().render()


@dataclass(frozen=True)
class At:
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = 0


@pytest.fixture
def world() -> World:
    return World(chains={"base": Readiness(True), "optimism": Readiness(True)})


@pytest.fixture
async def client(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    app = build_app(
        api=dapp_api(world.shelf, world.metrics, limits=Limits(rate_per_s=1e6, burst=10**6)),
        metrics=world.metrics,
        readiness=world.probe,
        version="9.9",
        clock=lambda: world.seconds,
    )
    room = Room(per_client=2 * MAX_AT_ONCE)
    server = WebServer(app, section="http", host="127.0.0.1", port=0, room=room)
    port = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
    finally:
        await server.aclose()


async def ask(client: aiohttp.ClientSession, path: str, method: str = "GET") -> tuple[int, Any]:
    """Status and JSON of one answer; every answer must carry the security headers."""
    async with client.request(method, path) as answer:
        for name, value in SECURITY_HEADERS.items():
            assert len(answer.headers.getall(name)) == 1
            assert name == "Cache-Control" or answer.headers[name] == value
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.content_type == "application/json"
        return answer.status, await answer.json()


async def test_liveness_asks_nobody(client: aiohttp.ClientSession, world: World) -> None:
    """/healthz answers while the store and every chain are down."""
    world.probe_error = world.shelf.error = StoreUnavailable("gone")
    assert await ask(client, "/healthz") == (200, {"status": "ok", "version": "9.9"})


async def test_one_sick_chain_degrades_but_does_not_stop(
    client: aiohttp.ClientSession, world: World
) -> None:
    """Readiness is per chain; the whole is ready while one chain works."""
    world.chains["base"] = Readiness(False, "no endpoint\nanswers")
    status, body = await ask(client, "/readyz")
    assert (status, body["status"]) == (200, "degraded")
    assert body["chains"]["base"] == {"ready": False, "detail": "no endpoint answers"}
    assert body["store"] == {"ready": True, "detail": ""}
    assert (await ask(client, "/readyz?chain=base"))[0] == 503
    assert (await ask(client, "/readyz?chain=optimism"))[0] == 200


async def test_readiness_names_no_endpoint(client: aiohttp.ClientSession, world: World) -> None:
    """It stands at the public address: what stopped a chain is said without whose node it was."""
    world.chains["base"] = Readiness(False, "chains.base: endpoint http://rpc:8545 serves chain 8")
    _, body = await ask(client, "/readyz")
    assert body["chains"]["base"]["detail"] == "chains.base: endpoint [hidden] serves chain 8"


async def test_not_ready_when_nothing_works(client: aiohttp.ClientSession, world: World) -> None:
    """All chains down is 503, and so is a store that does not answer."""
    world.chains = {"base": Readiness(False)}
    assert (await ask(client, "/readyz"))[0] == 503
    world.seconds += READINESS_FOR_S
    world.probe_error = StoreUnavailable("redis://:hunter2@db")
    status, body = await ask(client, "/readyz")
    assert status == 503
    assert body["error"] == {
        "code": "unavailable",
        "text": "not available now: store_unavailable",
    }


async def test_not_ready_without_the_store(client: aiohttp.ClientSession, world: World) -> None:
    """Chains that answer are no use while nothing can be stored; the answer says which part."""
    world.redis = Readiness(False, "Redis did not answer within 2 s")
    for path in ("/readyz", "/readyz?chain=base"):
        status, body = await ask(client, path)
        assert (status, body["status"]) == (503, "not ready")
        assert body["store"] == {"ready": False, "detail": "Redis did not answer within 2 s"}
        assert body["chains"]["base"]["ready"] is True


async def test_an_unknown_chain_is_named(client: aiohttp.ClientSession) -> None:
    """404 names field and value."""
    status, body = await ask(client, "/readyz?chain=nowhere")
    assert status == 404
    assert (body["error"]["field"], body["error"]["value"]) == ("chain", "nowhere")


async def test_readiness_is_cached(client: aiohttp.ClientSession, world: World) -> None:
    """Many callers make one probe; it is asked again when its time is up."""
    await asyncio.gather(*(ask(client, "/readyz") for _ in range(10)))
    assert world.probes == 1
    world.seconds += READINESS_FOR_S
    await ask(client, "/readyz")
    assert world.probes == 2


async def test_scrapes_share_one_rendering(client: aiohttp.ClientSession, world: World) -> None:
    """However many scrape at once, it is rendered once; what is newer shows a second later."""

    async def scrape() -> bytes:
        async with client.get("/metrics") as answer:
            return await answer.read()

    await asyncio.gather(*(scrape() for _ in range(10)))
    assert world.metrics.renderings == 1
    world.metrics.reorg("base")
    assert b'relayer_reorgs_total{chain="base"} 1.0' not in await scrape()
    world.seconds += METRICS_FOR_S
    assert b'relayer_reorgs_total{chain="base"} 1.0' in await scrape()
    assert world.metrics.renderings == 2


async def test_metrics_are_served_as_prometheus_text(
    client: aiohttp.ClientSession, world: World
) -> None:
    """/metrics is the registry's page, with the content type Prometheus asks for."""
    world.metrics.reorg("base")
    async with client.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert 'relayer_reorgs_total{chain="base"} 1.0' in await answer.text()


async def test_a_message_is_found_by_id_in_any_case(
    client: aiohttp.ClientSession, world: World
) -> None:
    """The answer is the view of the record."""
    world.shelf.records = [record_of(0xAB)]
    status, body = await ask(client, f"/v1/messages/0x{0xAB:064X}")
    assert (status, body["id"], body["status"]) == (200, id_of(0xAB), "waiting")


async def test_an_unknown_message_is_404(client: aiohttp.ClientSession) -> None:
    """Not known is said, with the id."""
    status, body = await ask(client, f"/v1/messages/{id_of(5)}")
    assert status == 404
    assert body["error"]["value"] == id_of(5)


@pytest.mark.parametrize(
    ("path", "field_name"),
    [
        ("/v1/messages/0x12", "id"),
        (f"/v1/messages/{id_of(1)}0", "id"),
        (f"/v1/messages/{id_of(1)}%0A", "id"),
        (f"/v1/messages/{id_of(1).replace('0x', '0X')}", "id"),
        ("/v1/messages?tx=%3Cscript%3E", "tx"),
        ("/v1/messages?tx=", "tx"),
        ("/v1/messages?limit=201", "limit"),
        ("/v1/messages?limit=0x1", "limit"),
        ("/v1/messages?cursor=abc", "cursor"),
        ("/v1/messages?route=a:1", "route"),
        ("/v1/messages?origin=-1", "origin"),
        ("/v1/messages?sender=0xabc", "sender"),
        ("/v1/messages?status=lost", "status"),
        ("/v1/messages?order=both", "order"),
        ("/v1/events?after=%21", "after"),
        ("/v1/events?after=abc", "after"),
        ("/v1/routes?x=1", "x"),
        (f"/v1/messages?tx={tx_of(1)}&cursor=AAAA", "cursor"),
        (f"/v1/messages?tx={tx_of(1)}&tx={tx_of(2)}", "tx"),
        (f"/v1/messages/{id_of(1)}?x=1", "x"),
        ("/healthz?x=1", "x"),
    ],
)
async def test_wrong_input_is_named(
    client: aiohttp.ClientSession, path: str, field_name: str
) -> None:
    """400 names the field, shows a bounded value, and echoes nothing but that."""
    status, body = await ask(client, path)
    assert status == 400
    assert body["error"]["field"] == field_name
    assert body["error"]["code"] == "bad_request"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=0", "must be 1 or more"),
        ("limit=201", "must be 200 or less"),
        ("origin=9999999999999999999", "must be less than 9223372036854775808"),
        ("tx=0x12", "must be 0x and 64 hex digits"),
        ("sender=0xabc", "must be 0x and 40 hex digits (an address) or 64 (a word)"),
        ("route=a:1", "must be <bridge>:<origin id>><destination id>"),
        ("bridge=%2A", "must be a bridge's name: lower-case letters, digits, _ and -"),
        ("order=both", "must be 'newest' or 'oldest'"),
    ],
)
async def test_wrong_input_is_told_in_our_words(
    client: aiohttp.ClientSession, query: str, text: str
) -> None:
    """No jargon of the validating library and no patterns: what it must be."""
    assert (await ask(client, f"/v1/messages?{query}"))[1]["error"]["text"] == text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /v1/routes HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n", b"417"),
        (b"GET /v1/routes HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"400"),
    ],
)
async def test_what_the_library_refuses_by_itself_does_not_name_it(
    client: aiohttp.ClientSession, request_: bytes, status: bytes
) -> None:
    """Its version would tell strangers which of its mistakes to try."""
    assert client._base_url is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", client._base_url.port)
    try:
        writer.write(request_)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    assert head.split(b" ")[1] == status
    assert b"\r\nServer: relayer\r\n" in head
    assert b"aiohttp" not in head


async def test_the_document_describes_webhooks_and_resets(client: aiohttp.ClientSession) -> None:
    """What is posted, and what a listener is told that is no event."""
    _, told = await ask(client, "/v1/openapi.json")
    body = told["webhooks"]["message"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/Notice"}
    schemas = told["components"]["schemas"]
    assert set(schemas["Notice"]["required"]) == {"event_id", "type", "event"}
    assert set(schemas["Reset"]["required"]) == {"missed"}
    assert "`unknown`" in schemas["Estimate"]["properties"]["basis"]["description"]


async def test_a_long_wrong_value_is_cut(client: aiohttp.ClientSession) -> None:
    """An error never echoes more than a little of what was sent."""
    status, body = await ask(client, "/v1/messages?tx=" + "z" * 4000)
    assert status == 400
    assert len(body["error"]["value"]) == 100


async def test_messages_of_a_transaction_are_bounded(
    client: aiohttp.ClientSession, world: World
) -> None:
    """All messages of one transaction, up to a limit that the answer admits."""
    sample = record_of(1)
    world.shelf.records = [sample] * MAX_OF_TX
    _, body = await ask(client, f"/v1/messages?tx={sample.message.at.tx}")
    assert (len(body["messages"]), body["truncated"]) == (MAX_OF_TX, False)
    world.shelf.records.append(sample)
    _, body = await ask(client, f"/v1/messages?tx={sample.message.at.tx}")
    assert (len(body["messages"]), body["truncated"]) == (MAX_OF_TX, True)
    assert await ask(client, f"/v1/messages?tx={tx_of(9)}") == (
        200,
        {"messages": [], "truncated": False, "next": None, "chains_answered": None},
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/../etc", 404), ("POST", "/v1/messages", 405)],
)
async def test_other_paths_and_methods_answer_json(
    client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    """The framework's own errors have the shape of ours."""
    found, body = await ask(client, path, method)
    assert found == status
    assert body["error"]["code"] in {"not_found", "method_not_allowed"}


async def test_a_store_that_is_away_is_503_without_its_words(
    client: aiohttp.ClientSession, world: World
) -> None:
    """The cause stays in the log: it may name hosts and users."""
    world.shelf.error = StoreUnavailable("redis://:hunter2@db refused")
    async with client.get(f"/v1/messages/{id_of(1)}") as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "1"
        assert "hunter2" not in await answer.text()


@pytest.mark.parametrize("error", [UnreadableRecord("the key x"), SchemaMismatch("the key x")])
async def test_what_cannot_be_read_is_503_with_a_way_out(
    world: World, client: aiohttp.ClientSession, error: Exception
) -> None:
    """Garbage in the store is no bug of the server, and names no key to strangers."""
    world.shelf.error = error
    async with client.get(f"/v1/messages/{id_of(1)}") as answer:
        assert answer.status == 503
        text = (await answer.json())["error"]["text"]
    assert "backfill" in text
    assert "the key x" not in text


async def test_a_bug_is_500_without_its_traceback(
    client: aiohttp.ClientSession, world: World
) -> None:
    """An unexpected exception says nothing of itself to the caller."""
    world.shelf.error = ValueError("hunter2")
    status, body = await ask(client, f"/v1/messages/{id_of(1)}")
    assert status == 500
    assert body == {"error": {"code": "internal_error", "text": "internal error; see the log"}}


async def test_requests_beyond_the_limit_are_sent_away(
    client: aiohttp.ClientSession, world: World
) -> None:
    """A crowd waiting on a slow store cannot pile up, and room comes back; probes have own ones."""
    world.shelf.stalled = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        crowd = [
            group.create_task(ask(client, f"/v1/messages/{id_of(1)}")) for _ in range(MAX_AT_ONCE)
        ]
        async with asyncio.timeout(10):
            await world.shelf.crowded.wait()
        status, body = await ask(client, f"/v1/messages/{id_of(1)}")
        probed = [(await ask(client, path))[0] for path in ("/healthz", "/readyz")]
        async with client.get("/metrics") as answer:
            probed.append(answer.status)
        world.shelf.stalled.set()
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert probed == [200, 200, 200]
    assert {task.result()[0] for task in crowd} == {404}
    assert (await ask(client, f"/v1/messages/{id_of(1)}"))[0] == 404


async def test_a_taken_port_is_a_clear_configuration_error(world: World) -> None:
    """The error names the address and the way out."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        api = dapp_api(world.shelf, world.metrics)
        app = build_app(api=api, metrics=world.metrics, readiness=world.probe)
        server = WebServer(app, section="http", host="127.0.0.1", port=port)
        with pytest.raises(ConfigInvalid, match=rf"127\.0\.0\.1:{port}.*http\.port"):
            await server.start()


async def test_serve_ends_when_cancelled(world: World) -> None:
    """The form the service uses: the port is free again afterwards."""
    world.chains["scroll"] = Readiness(False)
    listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(
            At(),
            dapp_api(world.shelf, world.metrics),
            world.metrics,
            world.probe,
            on_listening=listening.set_result,
        )
    )
    async with asyncio.timeout(10):
        port = await listening
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            _, body = await ask(session, "/readyz")
    assert body["chains"]["scroll"] == {"ready": False, "detail": ""}
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
