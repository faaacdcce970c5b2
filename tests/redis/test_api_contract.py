"""The API holds what its document says, whatever it is asked, and keeps its secrets."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from relayer.chains import ChainClient
from relayer.early import EarlyLook
from relayer.errors import EndpointDown
from relayer.message import (
    Address,
    BridgeName,
    ChainId,
    MessageId,
    Reason,
    Record,
    Route,
    Status,
    TxHash,
)
from relayer.ops import logs
from relayer.ops.api import EarlyAnswer
from relayer.self_relay import SelfRelay
from relayer.serving import LiveNetwork
from relayer.serving import Served as Configured
from relayer.settings import ChainSettings, EndpointSettings
from relayer.store import Store
from tests.redis.api_world import ROUTE, Served, fill, proving, reports, serving
from tests.redis.conftest import Leases
from tests.redis.hostile_requests import requests
from tests.redis.sample_facts import message
from tests.redis.servers import Server
from tests.unit.sample_records import record_of

pytestmark = pytest.mark.redis

EXAMPLE_ID = MessageId("0x" + "ab" * 32)
"""The id in the document's examples: it must exist, or only 404 would be looked at."""
ODD_CURSORS = """
[[operations]]
include-name = "GET /v1/messages"
# A cursor is opaque: one that nobody made has the right form and is refused all the same.
checks.positive_data_acceptance.enabled = false
"""
PLANTED = "planted-0123456789abcdef"
EXPECTED = {200, 204, 304, 400, 404, 405, 413}


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here: answers do not depend on where keys are."""
    return redis_server


@pytest.mark.timeout(300)
async def test_schemathesis_finds_nothing(store: Store, leases: Leases, tmp_path: Path) -> None:
    """No 5xx, no undocumented status, content type or shape; valid requests are accepted."""
    await fill(store, leases)
    example = message(11)
    same = replace(example, message=replace(example.message, id=EXAMPLE_ID))
    await store.save_facts(leases.follower, [same])
    (tmp_path / "schemathesis.toml").write_text(ODD_CURSORS)

    async def early(tx: TxHash) -> EarlyAnswer:
        seen = record_of(status=Status.SEEN, reason=Reason.AWAITING_FINALITY)
        return EarlyAnswer([seen] * (int(tx, 16) % 3), is_complete=tx.endswith("0"))

    async with serving(store, network=reports(), prove=proving, early=early) as api:
        program = Path(sys.executable).with_name("schemathesis")
        process = await asyncio.create_subprocess_exec(
            program,
            "run",
            f"{api.url}/v1/openapi.json",
            "--exclude-path=/v1/events",  # an answer without an end; it has tests of its own
            "--max-examples=100",
            "--seed=1",
            "--no-color",
            "--generation-database=none",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        text = output.decode()
        assert process.returncode == 0, text[-6000:]
        assert "Unresolvable" not in text
        assert (api.value("http_requests_total", path="/v1/messages", status="2xx") or 0) > 20
        assert not api.value("http_requests_total", path="/v1/messages", status="5xx")


class Babbler:
    """An adapter whose chain's errors would give its secrets away."""

    def routes(self) -> Sequence[Route]:
        return [ROUTE, Route(ROUTE.bridge, ROUTE.destination, ROUTE.origin)]

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Any]:
        raise EndpointDown(f"http://{PLANTED}@rpc", f"refused {PLANTED}")


@pytest.mark.timeout(300)
async def test_ten_thousand_hostile_requests(store: Store, leases: Leases) -> None:
    """No 5xx but an honest 503 of a chain that is down, no odd answer, and no secret anywhere."""
    await fill(store, leases)
    endpoint = EndpointSettings(url=SecretStr(f"http://127.0.0.1:1/{PLANTED}"))
    chain = ChainClient("ten", ChainSettings(id=10, endpoints=[endpoint]))
    configured = Configured(
        {"ten": chain},
        {BridgeName("hyper"): Babbler()},  # type: ignore[dict-item]
        {ChainId(10): [Address("0x" + "5a" * 20)]},
    )
    said = io.StringIO()
    logs.configure(level="debug", stream=said)
    clock = asyncio.get_running_loop().time
    network = LiveNetwork(store, lambda: configured, clock)
    prover = SelfRelay(lambda: configured.adapters, clock)
    look = EarlyLook(
        store,
        lambda: configured.chains,
        lambda: configured.adapters,
        clock=clock,
        now=store.now,
    )
    try:
        async with serving(store, network=network, prove=prover.prove, early=look.ask) as api:
            answers = await _all_answers(api, seed=7, count=10_000)
            _, shown = await api.ask("/v1/chains")
    finally:
        await chain.aclose()
        structlog.reset_defaults()
    assert shown["chains"][0]["head"] is None
    statuses = Counter(answer.status for answer in answers)
    assert all(answer.path.endswith("/proof") for answer in answers if answer.status == 503)
    # Sixteen at once are more than one client's lists may be.
    assert {answer.path for answer in answers if answer.status == 429} <= {"/v1/messages"}
    assert set(statuses) - {429, 503} <= EXPECTED
    assert statuses[200] > 500
    for answer in answers:
        assert PLANTED.encode() not in answer.head + answer.body
        if answer.status < 400 or not answer.body:
            continue
        if b"application/json" in answer.head:
            assert set(json.loads(answer.body)["error"]) <= {"code", "text", "field", "value"}
        else:  # bytes that are no HTTP are refused before there is a request
            assert answer.status == 400
            assert b"text/plain" in answer.head
    assert PLANTED not in said.getvalue()
    assert not api.value("http_requests_total", path="/v1/messages", status="5xx")


@dataclass(frozen=True)
class Answer:
    """What one hostile request was answered."""

    path: str
    status: int
    head: bytes
    body: bytes


async def _all_answers(api: Served, *, seed: int, count: int) -> list[Answer]:
    """Each request on a connection of its own, a few at a time."""
    waiting = list(requests(seed, count))
    found: list[Answer] = []

    async def client() -> None:
        while waiting:
            method, request = waiting.pop()
            found.append(await _answer(api, method, request))

    async with asyncio.TaskGroup() as group:
        for _ in range(16):
            group.create_task(client())
    return found


async def _answer(api: Served, method: str, request: bytes) -> Answer:
    host, port = api.url.removeprefix("http://").split(":")
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 100"):
                head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            lengths = [
                int(line.partition(b":")[2])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ]
            has_body = method != "HEAD" and status not in (204, 304)
            body = await reader.readexactly(lengths[0]) if lengths and has_body else b""
            path = request.split(b" ")[1].decode().partition("?")[0]
            return Answer(path, status, head=head, body=body)
        finally:
            writer.close()
