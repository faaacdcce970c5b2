"""JSON-RPC requests per delivered message at about 100 messages a second, protocol by protocol.

A batch is one request of several calls; `calls` tells by method what they were.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from relayer.devnet.anvil import free_port
from relayer.devnet.bridges import make_bridges
from relayer.devnet.ground import Ground, GroundPlan, LocalBridge, Sent
from relayer.devnet.service import RelayerProcess

PROTOCOLS = ("hyperlane", "arbitrum", "scroll", "linea", "op_stack")
RATE = 100
SECONDS = 10
DELIVER_TIMEOUT_S = 240.0


async def measure(log: Path) -> dict[str, Any]:
    """One protocol after another, each on chains of its own."""
    return {name: await _measure_one(name, log) for name in PROTOCOLS}


async def _measure_one(protocol: str, log: Path) -> dict[str, Any]:
    port = free_port()
    plan = GroundPlan(more_settings={"http": {"host": "127.0.0.1", "port": port}})
    bridge = make_bridges([protocol])[0]  # of the OP Stack the one without supersim
    with tempfile.TemporaryDirectory(prefix="relayer-bench-") as directory:
        async with Ground(Path(directory), [bridge], plan) as ground:
            relayer = RelayerProcess(ground.config_path, port, log)
            await relayer.start()
            try:
                return await _steady(bridge, relayer)
            finally:
                await relayer.stop()


async def _steady(bridge: LocalBridge, relayer: RelayerProcess) -> dict[str, Any]:
    before, called = await relayer.rpc_requests(), await relayer.rpc_calls()
    started = time.monotonic()
    sent: list[Sent] = []
    for second in range(SECONDS):
        sent += await bridge.spread(RATE, label=f"second {second}")
        await asyncio.sleep(max(0.0, started + second + 1 - time.monotonic()))
    sending_s = time.monotonic() - started
    async with asyncio.timeout(DELIVER_TIMEOUT_S):
        left = list(sent)
        while left := await bridge.undelivered(left):  # noqa: ASYNC110 - chains ring no bell
            await asyncio.sleep(0.2)
    requests = await relayer.rpc_requests() - before
    calls = await relayer.rpc_calls() - called
    deliveries = await bridge.deliveries(sent)
    latencies = sorted(one.latency_s for one in deliveries.values())
    return {
        "sent": len(sent),
        "duplicates": sum(max(0, one.count - 1) for one in deliveries.values()),
        "sent_per_s": round(len(sent) / sending_s, 1),
        "rpc_per_message": round(requests / len(sent), 3),
        "calls_per_message": round(calls.total() / len(sent), 3),
        "p50_s": round(latencies[len(latencies) // 2], 2),
        "p95_s": round(latencies[int(len(latencies) * 0.95)], 2),
        "gas_per_message": round(sum(one.gas for one in deliveries.values()) / len(sent)),
        "calls": dict(calls.most_common()),
    }
