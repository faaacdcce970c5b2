"""The API on a real store and a real port, with messages in every state."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from relayer.adapter import Refuse, Wait
from relayer.message import (
    Address,
    BlockNumber,
    ChainId,
    Gas,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    Wei,
)
from relayer.ops.api import ChainReport, Finality, Limits, Native, RouteReport, SignerReport
from relayer.ops.http import Health, Readiness, build_app
from relayer.ops.metrics import Metrics
from relayer.ops.web import WebServer
from relayer.pipeline.loop import Bell, run_agent
from relayer.store import Store
from tests.api_fakes import StillNetwork, dapp_api
from tests.redis.conftest import Leases
from tests.redis.sample_facts import BRIDGE, ONE, TEN, delivery, id_of, message, tx_of

NO_LIMIT = Limits(rate_per_s=1e6, burst=10**6)
ROUTE = Route(BRIDGE, ONE, TEN)


@dataclass
class Served:
    """A running API and what it counts."""

    session: aiohttp.ClientSession
    url: str
    metrics: Metrics
    network: StillNetwork

    async def ask(self, path: str, **headers: str) -> tuple[int, Any]:
        """Status and JSON of one answer."""
        async with self.session.get(path, headers=headers) as answer:
            return answer.status, await answer.json()

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"relayer_{name}", labels)


@contextlib.asynccontextmanager
async def serving(store: Store, **changes: Any) -> AsyncIterator[Served]:
    """Serve `store`; `changes` are arguments of `DappApi`."""
    metrics = Metrics()
    network = changes.setdefault("network", StillNetwork())
    api = dapp_api(store, metrics, **{"limits": NO_LIMIT, "now": store.now, **changes})

    async def healthy() -> Health:
        return Health(Readiness(True), {"ten": Readiness(True)})

    app = build_app(api=api, metrics=metrics, readiness=healthy)
    server = WebServer(app, section="http", host="127.0.0.1", port=0)
    url = f"http://127.0.0.1:{await server.start()}"
    tail = asyncio.create_task(
        run_agent(api.tail, Bell(), idle_s=0.01, on_failure=metrics.agent_failed)
    )
    try:
        async with aiohttp.ClientSession(url) as session:
            yield Served(session, url, metrics, network)
    finally:
        tail.cancel()
        await asyncio.wait({tail})
        await server.aclose()


async def fill(store: Store, leases: Leases) -> None:
    """Messages 0 to 9: delivered, included, waiting with a clock, dead, held, and plain ones."""
    lane = leases.lane
    await store.save_facts(leases.follower, [message(n) for n in range(10)])
    await store.note_ready(lane, [id_of(0), id_of(1)])
    await store.note_included(lane, [(id_of(n), 500, tx_of(7), True, "") for n in (0, 1)])
    await store.save_facts(leases.far, [delivery(0, tx=7)])
    await store.note_waits(lane, [(id_of(2), Wait(Reason.AWAITING_ROOT, "\u202e<b>hostile</b>"))])
    refuse = Refuse(Reason.UNDELIVERABLE, "never", dead=True)
    await store.note_refused(lane, [(id_of(3), refuse, {"revert": "<script>"})])
    await store.hold(id_of(4))


def reports() -> StillNetwork:
    """A network with one route and one chain."""
    counts = {
        (Status.DELIVERED, Reason.DELIVERED_BY_US): 1,
        (Status.WAITING, Reason.AWAITING_ROOT): 2,
    }
    route = RouteReport(
        route=ROUTE,
        counts=counts,
        oldest_pending=Timestamp(1_699_999_990.0),
        times_s=[1.0, 2.0, 3.0, 40.0],
        cost_wei=Wei(2**70),
        gas=Gas(21_000),
        transactions=1,
        income_wei=Wei(0),
        paid_wei=Wei(5),
        problems=[],
    )
    chain = ChainReport(
        name="ten",
        id=ChainId(10),
        head=BlockNumber(12),
        final=BlockNumber(10),
        final_behind_s=24.0,
        finality=Finality(None, 2),
        cursor=BlockNumber(7),
        endpoints=2,
        endpoints_healthy=1,
        explorer="https://explorer.example",
        native=Native("ETH", 18),
        signers=[SignerReport(Address("0x" + "5a" * 20), Wei(2**80), 7, None, is_paused=False)],
        problems=[],
    )
    return StillNetwork([route], [chain], coins={ChainId(10): Native("ETH", 18)})


async def proving(record: Record) -> dict[str, Any]:
    """What an adapter would say of each message, by its number."""
    turn = int(record.id, 16) % 4
    wait = {
        "step": "wait",
        "reason": "awaiting_root",
        "detail": "",
        "gate": None,
        "gate_value": "0",
        "recheck_s": 60.0,
        "clocks": [{"name": "challenge", "at": 1.5}],
    }
    call = {
        "step": "call",
        "what": "deliver",
        "chain": 10,
        "to": "0x" + "11" * 20,
        "data": "0xabcdef",
        "value_wei": "0",
        "gas_floor": 0,
        "access_list": [{"address": "0x" + "22" * 20, "storageKeys": ["0x" + "00" * 32]}],
        "shareable": True,
        "final": True,
        "evidence": {"root": "0x00"},
    }
    refuse = {"step": "refuse", "reason": "unsupported", "detail": "", "dead": False}
    return [call, wait, refuse, {"step": "done", "detail": ""}][turn]
