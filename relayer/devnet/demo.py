"""The demo: real contracts on three local chains, and the relayer run as a user would run it.

Everything it reports is read from the chains afterwards, not from the relayer's own word, apart
from the number of RPC requests, which is the relayer's own counter.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Delivery, Sent
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet, WorldPlan
from relayer.message import MessageId

REPORT = Path("build/demo.json")
LOG = Path("build/demo-relayer.log")
DELIVER_TIMEOUT_S = 240.0


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One line of the table."""

    route: str
    sent: int
    delivered: int
    p50_s: float
    p95_s: float
    gas_per_message: float


def main(messages: int, as_json: bool, keep: bool) -> int:
    """Run the demo; 0 when every message was delivered exactly once with the right body."""
    console = Console(stderr=True)
    log = LOG.resolve()
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="relayer-demo-") as directory:
        report = asyncio.run(
            demonstrate(Path(directory), log, messages, keep=keep, console=console)
        )
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        Console(soft_wrap=True).print_json(json.dumps(report))
    return 0 if report["ok"] else 1


async def demonstrate(
    directory: Path, log: Path, messages: int, *, keep: bool, console: Console
) -> dict[str, Any]:
    port = free_port()
    plan = WorldPlan(more_settings={"http": {"host": "127.0.0.1", "port": port}})
    console.print("Starting three local chains with the real Hyperlane contracts ...")
    async with Devnet(directory, plan) as world:
        console.print(f"Configuration of this run ({world.config_path}):", style="bold")
        console.print(world.config_path.read_text(encoding="utf-8"), style="dim", highlight=False)
        relayer = RelayerProcess(world.config_path, port, log)
        await relayer.start()
        try:
            report = await _measure(world, relayer, messages, console)
            if keep:
                await _keep(world, relayer, console)
        finally:
            await relayer.stop()
    return report


async def _measure(
    world: Devnet, relayer: RelayerProcess, messages: int, console: Console
) -> dict[str, Any]:
    started = time.monotonic()
    sent = await world.traffic.spread(messages)
    console.print(f"{len(sent)} messages sent over 6 routes from two senders.")
    await _watch(world, sent, console)
    wall_s = time.monotonic() - started
    return await _report(world, sent, wall_s, await relayer.rpc_requests(), console)


async def _watch(world: Devnet, sent: Sequence[Sent], console: Console) -> None:
    """Show progress until all is delivered on chain, or time is up (the report tells)."""
    columns = (TextColumn("delivering"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    deadline = time.monotonic() + DELIVER_TIMEOUT_S
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("delivering", total=len(sent))
        waiting = list(sent)
        while waiting and time.monotonic() < deadline:
            waiting = await world.traffic.undelivered(waiting)
            progress.update(task, completed=len(sent) - len(waiting))
            await asyncio.sleep(0.25)


async def _report(
    world: Devnet,
    sent: Sequence[Sent],
    wall_s: float,
    requests: float,
    console: Console,
) -> dict[str, Any]:
    ledger = await world.hyperlane.deliveries(sent)
    rows = [_row(route, group, ledger) for route, group in sorted(_by_route(sent).items())]
    latencies = [one.latency_s for one in ledger.values() if one.count]
    delivered = sum(1 for one in ledger.values() if one.count)
    duplicates = sum(max(0, one.count - 1) for one in ledger.values())
    wrong = sum(1 for one in ledger.values() if one.count and not one.body_arrived)
    per_message = requests / max(1, len(sent))
    _print_table(rows, per_message, console)
    ok = delivered == len(sent) and not duplicates and not wrong
    console.print(
        f"{delivered} of {len(sent)} delivered, {duplicates} twice, {wrong} with a wrong body;"
        f" {len(sent) / wall_s:.1f} messages/s over {wall_s:.1f} s including sending.",
        style="green" if ok else "red",
    )
    return {
        "ok": ok,
        "sent": len(sent),
        "delivered": delivered,
        "duplicates": duplicates,
        "wrong_bodies": wrong,
        "p50_s": _quantile(latencies, 0.5),
        "p95_s": _quantile(latencies, 0.95),
        "rpc_per_message": round(per_message, 3),
        "messages_per_s": round(len(sent) / wall_s, 2),
        "routes": [
            {
                "route": row.route,
                "sent": row.sent,
                "delivered": row.delivered,
                "p50_s": row.p50_s,
                "p95_s": row.p95_s,
                "gas_per_message": row.gas_per_message,
            }
            for row in rows
        ],
    }


def _by_route(sent: Sequence[Sent]) -> dict[str, list[Sent]]:
    groups: dict[str, list[Sent]] = {}
    for one in sent:
        groups.setdefault(f"{one.origin} > {one.destination}", []).append(one)
    return groups


def _row(route: str, group: Sequence[Sent], ledger: Mapping[MessageId, Delivery]) -> RouteRow:
    found = [ledger[one.id] for one in group if ledger[one.id].count]
    latencies = [one.latency_s for one in found]
    gas = sum(one.gas for one in found) / max(1, len(found))
    return RouteRow(
        route=route,
        sent=len(group),
        delivered=len(found),
        p50_s=_quantile(latencies, 0.5),
        p95_s=_quantile(latencies, 0.95),
        gas_per_message=round(gas),
    )


def _print_table(rows: Sequence[RouteRow], rpc_per_message: float, console: Console) -> None:
    table = Table(title="Deliveries, read from the chains")
    for name in ("route", "sent", "delivered", "p50 s", "p95 s", "gas/message", "RPC/message"):
        table.add_column(name, justify="left" if name == "route" else "right")
    for row in rows:
        table.add_row(
            row.route,
            str(row.sent),
            str(row.delivered),
            f"{row.p50_s:.2f}",
            f"{row.p95_s:.2f}",
            f"{row.gas_per_message:,.0f}",
            f"{rpc_per_message:.2f}",
        )
    console.print(table)
    console.print(
        "p50/p95: from the second validator's signature on the root to the delivery's block time"
        " (blocks carry whole seconds). RPC/message: all requests of the run, over all messages.",
        style="dim",
    )


async def _keep(world: Devnet, relayer: RelayerProcess, console: Console) -> None:
    """Leave everything up until Ctrl-C, with all the addresses a person needs."""
    console.print(f"Relayer: {relayer.url}, pid {relayer.pid}, log {relayer.log}")
    for name, site in world.sites.items():
        console.print(f"{name}: {world.nodes[name].url} chain id {site.chain_id}")
        console.print(f"  {site.hyperlane}", style="dim", highlight=False)
    console.print("Ctrl-C ends it all.")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _quantile(values: Sequence[float], q: float) -> float:
    """The value below which the fraction q lies (nearest rank), 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3)
