"""supersim's own autorelayer and ours on the same bursts between its two chains.

Both see the source's newest block (safety `unsafe`, finality depth 0). Each run has chains of its
own; half of a burst goes each way, from two senders a chain.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from relayer.devnet.accounts import ACCOUNTS, RELAYERS, Account
from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Ground, GroundPlan, Sent
from relayer.devnet.ledger import logs_of
from relayer.devnet.op_interop import MESSENGER, RELAYED, InteropPlan, OpInteropLocal
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.service import RelayerProcess
from relayer.devnet.supersim import L2_BLOCK_TIME_S, SupersimOptions, supersim_obstacle

BURSTS = (200, 1000)
ROUNDS = 3
"""Runs of each kind, one after the other in turn; the median one is reported."""
AUTORELAYER = ACCOUNTS[9]
WITHIN_S = 240.0
LOOK_S = 0.25


async def measure(log: Path) -> dict[str, Any]:
    """Figures by burst and relayer; the reason why not where supersim cannot run."""
    obstacle = supersim_obstacle()
    if obstacle is not None:
        return {"left_out": obstacle}
    report: dict[str, Any] = {}
    for count in BURSTS:
        runs: dict[str, list[dict[str, Any]]] = {"supersim": [], "ours": []}
        for _ in range(ROUNDS):
            for who, done in runs.items():
                done.append(await _run(count, log if who == "ours" else None))
        report[str(count)] = {who: _median(done) for who, done in runs.items()}
    return report


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    by_speed = sorted(runs, key=lambda run: float(run["wall_s"]))
    walls = [run["wall_s"] for run in by_speed]
    return {**by_speed[len(by_speed) // 2], "all_walls_s": walls}


async def _run(count: int, log: Path | None) -> dict[str, Any]:
    """One burst; with a `log` our relayer carries it, else supersim's."""
    with tempfile.TemporaryDirectory(prefix="relayer-bench-") as directory:
        port = free_port()
        settings = {"http": {"host": "127.0.0.1", "port": port}}
        bridge = OpInteropLocal(InteropPlan(SupersimOptions(autorelay=log is None)))
        plan = GroundPlan(finality={"depth": 0}, more_settings=settings)
        async with Ground(Path(directory), [bridge], plan) as ground, _ours(ground, port, log):
            began = time.monotonic()
            sent = await bridge.spread(count)
            sent_s = time.monotonic() - began
            wall_s = await _until_delivered(bridge, sent, began)
            figures = await _figures(ground, sent, AUTORELAYER if log is None else None)
    return {
        "delivered": figures.pop("delivered"),
        "messages_per_s": round(count / wall_s, 1),
        "wall_s": round(wall_s, 2),
        "sending_s": round(sent_s, 2),
        **figures,
    }


@asynccontextmanager
async def _ours(ground: Ground, port: int, log: Path | None) -> AsyncIterator[None]:
    if log is None:
        yield
        return
    relayer = RelayerProcess(ground.config_path, port, log)
    await relayer.start()
    try:
        yield
    finally:
        await relayer.stop()


async def _until_delivered(bridge: OpInteropLocal, sent: Sequence[Sent], began: float) -> float:
    """Seconds until the last is delivered, or until we give up."""
    while await bridge.undelivered(sent):
        if time.monotonic() - began > WITHIN_S:
            break
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


async def _figures(
    ground: Ground, sent: Sequence[Sent], stranger: Account | None
) -> dict[str, Any]:
    """Latency in block times of the destination, and all gas that the relayer's accounts used."""
    payers = {str(one.address).lower() for one in ([stranger] if stranger else RELAYERS)}
    blocks = {name: await _blocks(node.rpc) for name, node in ground.nodes.items()}
    waited: list[float] = []
    duplicates = 0
    for name, node in ground.nodes.items():
        found: dict[str, int] = {}
        for log in await logs_of(node.rpc, RELAYED, str(MESSENGER)):
            duplicates += log["topics"][3] in found
            found[log["topics"][3]] = int(log["blockNumber"], 16)
        for one in sent:
            if one.destination == name and one.id in found:
                said_at = int(blocks[one.origin][one.block]["timestamp"], 16)
                done_at = int(blocks[name][found[one.id]]["timestamp"], 16)
                waited.append((done_at - said_at) / L2_BLOCK_TIME_S)
    gas = [await _gas(node.rpc, blocks[name], payers) for name, node in ground.nodes.items()]
    waited.sort()
    return {
        "delivered": len(waited),
        "duplicates": duplicates,
        "blocks_p50": waited[len(waited) // 2] if waited else None,
        "blocks_p95": waited[int(len(waited) * 0.95)] if waited else None,
        "blocks_max": waited[-1] if waited else None,
        "gas_per_message": round(sum(gas) / max(1, len(waited))),
    }


async def _blocks(rpc: NodeRpc) -> list[Mapping[str, Any]]:
    """Every block with its transactions, in order."""
    head = int(await rpc.call("eth_blockNumber"), 16)
    numbers = range(head + 1)
    return await rpc.batch([("eth_getBlockByNumber", [hex(one), True]) for one in numbers])


async def _gas(rpc: NodeRpc, blocks: Sequence[Mapping[str, Any]], payers: set[str]) -> int:
    """All gas that `payers` used on one chain, for what failed too."""
    mine = [tx["hash"] for block in blocks for tx in block["transactions"] if tx["from"] in payers]
    receipts = await rpc.batch([("eth_getTransactionReceipt", [one]) for one in mine])
    return sum(int(receipt["gasUsed"], 16) for receipt in receipts)
