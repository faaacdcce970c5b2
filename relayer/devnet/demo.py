"""The demo: real contracts on local chains, and the relayer run as a user would run it.

Everything it reports is read from the chains afterwards, not from the relayer's own word, apart
from the numbers of RPC requests, which are the relayer's own counters.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from relayer.devnet.anvil import free_port
from relayer.devnet.bridges import left_out, make_bridges
from relayer.devnet.ground import Delivery, Ground, GroundPlan, LocalBridge, Sent
from relayer.devnet.keeping import keep
from relayer.devnet.ledger import wasted_calls
from relayer.devnet.patience import allowed_s
from relayer.devnet.service import RelayerProcess

REPORT = Path("build/demo.json")
LOG = Path("build/demo-relayer.log")
DELIVER_TIMEOUT_S = 240.0
"""And more for each message; what is late is told in the report."""
USUAL = ("hyperlane",)
"""What is shown when nobody says what: a first run must be short."""
ONE_BRIDGE_MESSAGES = 300
"""Sent by default when there is one bridge; several send what each has for it."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to show."""

    protocols: tuple[str, ...] = USUAL
    messages: int | None = None
    """Per protocol; None: as many as each protocol's local deployment has for it."""
    kills: int = 0
    """How often the relayer is killed (-9) and started again while messages are on their way."""
    keep: bool = False


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One line of the table."""

    bridge: str
    route: str
    sent: int
    delivered: int
    p50_s: float
    p95_s: float
    gas_per_message: float
    rpc_per_message: float


@dataclass(frozen=True, slots=True)
class Run:
    """What was sent, and what the relayer spent on it."""

    sent: Mapping[str, Sequence[Sent]]
    """By bridge."""
    wall_s: float
    requests: Mapping[str, float]
    """JSON-RPC requests by chain."""

    @property
    def all_sent(self) -> list[Sent]:
        return [one for group in self.sent.values() for one in group]


def main(plan: DemoPlan, *, as_json: bool) -> int:
    """Run the demo; 0 when every message was delivered exactly once with the right body."""
    console = Console(stderr=True)
    REPORT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="relayer-demo-") as directory:
        log = Path(directory) / "relayer.log"  # of its own: another demo may be kept beside it
        try:
            report = asyncio.run(demonstrate(Path(directory), log, plan, console))
        finally:
            if log.exists():
                shutil.copyfile(log, LOG)
                console.print(f"The relayer's log is in {LOG}.")
    REPORT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        Console(soft_wrap=True).print_json(json.dumps(report))
    return 0 if report["ok"] else 1


async def demonstrate(
    directory: Path, log: Path, plan: DemoPlan, console: Console
) -> dict[str, Any]:
    """Boot, relay, measure, and take everything down again; the answer is the report."""
    port, token_file = free_port(), directory / "operator-token"
    settings: dict[str, Any] = {
        "development": True,
        "http": {"host": "127.0.0.1", "port": port},
        "operator": {"host": "127.0.0.1", "port": free_port(), "token_files": [str(token_file)]},
    }
    token_file.touch(mode=0o600)
    token_file.write_text(secrets.token_urlsafe(32), encoding="ascii")
    ground = Ground(directory, make_bridges(plan.protocols), GroundPlan(more_settings=settings))
    for name, reason in left_out(plan.protocols).items():
        console.print(f"Left out: {name}. {reason}", style="yellow")
    names = ", ".join(ground.bridges)
    console.print(f"Starting local chains with the real contracts of {names} ...")
    async with ground:
        console.print(f"Configuration of this run ({ground.config_path}):", style="bold")
        console.print(ground.config_path.read_text(encoding="utf-8"), style="dim", highlight=False)
        relayer = RelayerProcess(ground.config_path, port, log)
        await relayer.start()
        try:
            run = await _relay(ground, relayer, plan, console)
            report = await _report(ground, run, console)
            if plan.keep:
                await keep(ground, relayer, run.sent, console)
        finally:
            await relayer.stop()
    return report


async def _relay(ground: Ground, relayer: RelayerProcess, plan: DemoPlan, console: Console) -> Run:
    started = time.monotonic()
    counts = _counts(ground.bridges, plan)
    groups = await asyncio.gather(
        *(bridge.spread(counts[name]) for name, bridge in ground.bridges.items())
    )
    sent = dict(zip(ground.bridges, groups, strict=True))
    routes = {(name, one.origin, one.destination) for name, group in sent.items() for one in group}
    total = sum(len(group) for group in sent.values())
    console.print(f"{total} messages sent over {len(routes)} routes from two senders each.")
    before = await _watch(ground, relayer, sent, plan.kills, console)
    wall_s = time.monotonic() - started
    after = await _requests(ground, relayer)
    return Run(sent, wall_s, {name: before.get(name, 0.0) + after[name] for name in after})


def _counts(bridges: Mapping[str, LocalBridge], plan: DemoPlan) -> dict[str, int]:
    """How many messages each bridge sends."""
    if plan.messages is not None:
        return dict.fromkeys(bridges, plan.messages)
    most = ONE_BRIDGE_MESSAGES if len(bridges) == 1 else None
    return {
        name: min(one.demo_messages, most or one.demo_messages) for name, one in bridges.items()
    }


async def _watch(
    ground: Ground,
    relayer: RelayerProcess,
    sent: Mapping[str, Sequence[Sent]],
    kills: int,
    console: Console,
) -> dict[str, float]:
    """Show progress until all is delivered on chain, or time is up (the report tells).

    The relayer dies `kills` times on the way; the answer is what the dead ones had requested.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    requests: dict[str, float] = {}
    total = sum(len(group) for group in sent.values())
    deadline = time.monotonic() + allowed_s(DELIVER_TIMEOUT_S, total)
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        tasks = {name: progress.add_task(name, total=len(group)) for name, group in sent.items()}
        waiting = {name: list(group) for name, group in sent.items()}
        killed = 0
        while any(waiting.values()) and time.monotonic() < deadline:
            for name, group in waiting.items():
                waiting[name] = await ground.bridges[name].undelivered(group)
                progress.update(tasks[name], completed=len(sent[name]) - len(waiting[name]))
            left = sum(len(group) for group in waiting.values())
            if killed < kills and left * (kills + 1) <= total * (kills - killed):
                killed += 1
                for name, count in (await _requests(ground, relayer)).items():
                    requests[name] = requests.get(name, 0.0) + count
                await relayer.kill()
                await relayer.start()
                console.print(f"Killed the relayer with {left} to go, and started it again.")
            await asyncio.sleep(0.25)
    return requests


async def _requests(ground: Ground, relayer: RelayerProcess) -> dict[str, float]:
    return {name: await relayer.rpc_requests(chain=name) for name in ground.nodes}


async def _report(ground: Ground, run: Run, console: Console) -> dict[str, Any]:
    rows: list[RouteRow] = []
    found: list[Delivery] = []
    shares = _rpc_shares(run)
    for name, group in run.sent.items():
        deliveries = await ground.bridges[name].deliveries(group)
        found += [deliveries[one.id] for one in group]
        for route, members in sorted(_by_route(group).items()):
            share = sum(shares[end] for end in route)
            rows.append(_row(name, route, [deliveries[one.id] for one in members], share))
    outcomes = {one for bridge in ground.bridges.values() for one in bridge.outcomes}
    wasted = await wasted_calls([node.rpc for node in ground.nodes.values()], outcomes)
    report = _figures(run, found, wasted)
    _print_table(rows, console)
    console.print(
        "{delivered} of {sent} delivered, {duplicates} twice, {wrong_bodies} with a wrong body,"
        " {wasted_calls} calls in vain; {messages_per_s} messages/s"
        " over {wall_s} s including sending.".format(**report),
        style="green" if report["ok"] else "red",
    )
    return {**report, "routes": [asdict(row) for row in rows]}


def _figures(run: Run, found: Sequence[Delivery], wasted: int) -> dict[str, Any]:
    latencies = [one.latency_s for one in found if one.count]
    sent = len(found)
    delivered = sum(1 for one in found if one.count)
    duplicates = sum(max(0, one.count - 1) for one in found)
    wrong = sum(1 for one in found if one.count and not one.body_arrived)
    return {
        "ok": delivered == sent and not duplicates and not wrong,
        "sent": sent,
        "delivered": delivered,
        "duplicates": duplicates,
        "wrong_bodies": wrong,
        "wasted_calls": wasted,
        "p50_s": _quantile(latencies, 0.5),
        "p95_s": _quantile(latencies, 0.95),
        "rpc_per_message": round(sum(run.requests.values()) / max(1, sent), 3),
        "messages_per_s": round(sent / run.wall_s, 2),
        "wall_s": round(run.wall_s, 1),
    }


def _rpc_shares(run: Run) -> dict[str, float]:
    """Each chain's requests, spread over the messages that leave it or arrive there."""
    touches: dict[str, int] = {}
    for one in run.all_sent:
        for chain in (one.origin, one.destination):
            touches[chain] = touches.get(chain, 0) + 1
    return {chain: run.requests.get(chain, 0.0) / count for chain, count in touches.items()}


def _by_route(sent: Sequence[Sent]) -> dict[tuple[str, str], list[Sent]]:
    groups: dict[tuple[str, str], list[Sent]] = {}
    for one in sent:
        groups.setdefault((one.origin, one.destination), []).append(one)
    return groups


def _row(
    bridge: str, route: tuple[str, str], group: Sequence[Delivery], rpc_per_message: float
) -> RouteRow:
    found = [one for one in group if one.count]
    latencies = [one.latency_s for one in found]
    return RouteRow(
        bridge=bridge,
        route=" > ".join(route),
        sent=len(group),
        delivered=len(found),
        p50_s=_quantile(latencies, 0.5),
        p95_s=_quantile(latencies, 0.95),
        gas_per_message=round(sum(one.gas for one in found) / max(1, len(found))),
        rpc_per_message=round(rpc_per_message, 3),
    )


def _print_table(rows: Sequence[RouteRow], console: Console) -> None:
    table = Table(title="Deliveries, read from the chains")
    table.add_column("route", no_wrap=True)
    for name in ("sent", "delivered", "p50 s", "p95 s", "gas/msg", "RPC/msg"):
        table.add_column(name, justify="right", no_wrap=True)
    for bridge, group in groupby(rows, key=lambda row: row.bridge):
        table.add_section()
        table.add_row(bridge, style="bold")
        for row in group:
            table.add_row(
                f"  {row.route}",
                str(row.sent),
                str(row.delivered),
                f"{row.p50_s:.2f}",
                f"{row.p95_s:.2f}",
                f"{row.gas_per_message:,.0f}",
                f"{row.rpc_per_message:.2f}",
            )
    console.print(table)
    console.print(
        "p50/p95: from the moment a message's root could be proved against (the quorum's last"
        " signature, or the root's acceptance on the destination) to the delivery's block time;"
        " blocks carry whole seconds. RPC: the relayer's requests to both chains, each"
        " chain's spread over the messages that leave it or arrive there.",
        style="dim",
    )


def _quantile(values: Sequence[float], q: float) -> float:
    """The value below which the fraction q lies (nearest rank), 0 for none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3)
