"""The operator API on a real store, asked by a real client over loopback."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from relayer.acts import Nameable, chain_name_of
from relayer.errors import RelayerError, UnknownRecord
from relayer.message import Address, ChainId, Route
from relayer.ops.logs import Redactor
from relayer.ops.metrics import Metrics
from relayer.ops.operator.door import Door
from relayer.ops.operator.pages import build_app
from relayer.ops.operator.tokens import Tokens
from relayer.ops.web import SECURITY_HEADERS, WebServer
from relayer.store import Store
from tests.redis.conftest import Clock
from tests.redis.sample_facts import BRIDGE, ONE, TEN

OLD_TOKEN = "old-" + "0123456789abcdef" * 2
NEW_TOKEN = "new-" + "fedcba9876543210" * 2
QUOTED_TOKEN = 'quo"ted\\-' + "0123456789abcdef" * 2
ROUTE = Route(BRIDGE, ONE, TEN)
SIGNER = Address("0x" + "ab" * 20)


@dataclass
class Process:
    """A running process that does what a test wants."""

    level: str = "info"
    replica: str = "host:1"
    refusal: RelayerError | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0
    unread: tuple[str, ...] = ()

    @property
    def chain_ids(self) -> Mapping[str, ChainId]:
        return {"one": ONE, "ten": TEN}

    def set_level(self, level: str) -> None:
        self.level = level

    def config(self) -> dict[str, Any]:
        return {"chains": ["one", "ten"]}

    @property
    def webhooks(self) -> Sequence[str]:
        return ("shop",)

    @property
    def bridges(self) -> Sequence[str]:
        return (BRIDGE,)

    @property
    def nameable(self) -> Nameable:
        return Nameable(self.chain_ids, {ROUTE}, {SIGNER}, self.unread)

    async def look_at_pauses(self) -> None:
        self.looks += 1

    async def ask_backfill(self, chain: str, **blocks: Any) -> dict[str, Any]:
        chain = chain_name_of("chain", chain, self.chain_ids)
        self.asked.append({"chain": chain, **blocks})
        return {"chain": chain, "first": blocks["first"], "last": blocks["last"]}

    async def backfills(self) -> Sequence[dict[str, Any]]:
        return self.asked

    async def cancel_backfill(self, chain: str, *, first: int, last: int) -> dict[str, Any]:
        chain = chain_name_of("chain", chain, self.chain_ids)
        found = {"chain": chain, "first": first, "last": last, "tx": None}
        if found not in self.asked:
            raise UnknownRecord(f"{chain} has no open range {first} to {last}")
        self.asked.remove(found)
        return {"chain": chain, "first": first, "last": last, "cancelled": True}

    async def reload(self) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        return {"reloaded": True, "changes": ["policy"]}


class OperatorWorld:
    """The server's surroundings, in the hands of the test."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.process = Process()
        self.metrics = Metrics()
        self.seconds = 0.0
        self.tokens = Tokens({"old": OLD_TOKEN, "new": NEW_TOKEN})
        door = Door(
            self.tokens,
            store,
            self.metrics,
            now=store.now,
            clock=lambda: self.seconds,
            hide=Redactor((OLD_TOKEN, NEW_TOKEN, QUOTED_TOKEN)).without_known,
        )
        self.app = build_app(store=store, running=self.process, door=door, now=store.now)
        self.session: aiohttp.ClientSession

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[OperatorWorld]:
        server = WebServer(self.app, section="operator", host="127.0.0.1", port=0)
        port = await server.start()
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as self.session:
                yield self
        finally:
            await server.aclose()

    async def ask(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one answer to an operator; time passes, so no limit is met."""
        self.seconds += 1.0
        headers = options.pop("headers", [("Authorization", f"Bearer {NEW_TOKEN}")])
        if body is not None:
            options["json"] = body
        path = path if path.startswith("/v1/") else f"/v1/operator/{path}"
        async with self.session.request(method, path, headers=headers, **options) as answer:
            for name, value in SECURITY_HEADERS.items():
                assert answer.headers.getall(name) == [value]
            assert "Access-Control-Allow-Origin" not in answer.headers
            return answer.status, await answer.json()

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that carry `labels`."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics.render().decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
