"""What stands beside the operator API: the page and the reads are open, nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import aiohttp
import pytest
from yarl import URL

from relayer.ops.api import RouteReport
from relayer.ops.metrics import Metrics
from relayer.ops.operator.beside import READS_AT_ONCE, Beside
from relayer.ops.operator.door import Door
from relayer.ops.operator.pages import build_app
from relayer.ops.operator.tokens import Tokens
from relayer.ops.page import POLICY
from relayer.ops.web import WebServer
from relayer.store import Store
from tests.api_fakes import StillNetwork, dapp_api
from tests.redis.operator_world import NEW_TOKEN, Process
from tests.unit.sample_records import id_of


class SlowNetwork(StillNetwork):
    """Answers nobody until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def routes(self) -> Sequence[RouteReport]:
        await self.go.wait()
        return []


@pytest.fixture
def network() -> SlowNetwork:
    return SlowNetwork()


@pytest.fixture
async def client(store: Store, network: SlowNetwork) -> AsyncIterator[aiohttp.ClientSession]:
    metrics = Metrics()
    door = Door(Tokens({"new": NEW_TOKEN}), store, metrics, now=store.now)
    api = dapp_api(store, metrics, network=network)
    app = build_app(store=store, running=Process(), door=door, now=store.now, beside=Beside(api))
    server = WebServer(app, section="operator", host="127.0.0.1", port=0)
    port = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
    finally:
        await server.aclose()


async def test_the_page_and_the_reads_need_no_token(
    client: aiohttp.ClientSession, network: SlowNetwork
) -> None:
    """A person must see something before being asked for a token."""
    network.go.set()
    async with client.get("/messages/0x1") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert 'data-address="operator"' in await answer.text()
    for path in ("/", "/page/page.js", "/v1/chains", "/v1/routes", "/v1/openapi.json"):
        async with client.get(path) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/operator/pauses"),
        ("GET", "/v1/%6fperator/pauses"),
        ("GET", "/v1/operator/config"),
        ("POST", f"/v1/operator/messages/{id_of(1)}/retry"),
        ("POST", "/v1/operator/pause"),
        ("POST", "/"),
        ("POST", "/v1/chains"),
        ("PUT", "/page/page.js"),
        ("GET", "/nowhere"),
        ("GET", "/page/../v1/operator/pauses"),
    ],
)
async def test_everything_else_needs_one(
    client: aiohttp.ClientSession, method: str, path: str
) -> None:
    """Acts, operators' reads, and whatever nobody thought of, however it is spelled."""
    async with client.request(method, URL(path, encoded=True)) as answer:
        assert answer.status == 401


async def test_readers_keep_no_operator_out(
    client: aiohttp.ClientSession, network: SlowNetwork
) -> None:
    """When so many readers wait that the next is sent away, an operator still gets in."""
    async with asyncio.TaskGroup() as group:
        crowd = [group.create_task(_status(client, "/v1/routes")) for _ in range(READS_AT_ONCE)]
        async with asyncio.timeout(4):
            while await _status(client, "/v1/openapi.json") != 503:
                pass  # the crowd is still on its way
        assert await _status(client, "/v1/operator/pauses", token=NEW_TOKEN) == 200
        network.go.set()
    assert {one.result() for one in crowd} == {200}


async def _status(client: aiohttp.ClientSession, path: str, *, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with client.get(path, headers=headers) as answer:
        return answer.status
