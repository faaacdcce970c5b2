"""Pages about the whole: how routes and chains are doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from relayer.message import ChainId, Status, Timestamp
from relayer.ops.api.asking import asked
from relayer.ops.api.caching import kept_for, tagged
from relayer.ops.api.estimates import quantile
from relayer.ops.api.models import Nothing
from relayer.ops.api.ports import ChainReport, Native, Network, RouteReport, SignerReport
from relayer.ops.fresh import Fresh
from relayer.ops.views import printable

FRESH_FOR_S = 2.0
"""Seconds the same answer is given to everybody."""


class NetworkPages:
    """The handlers, one per path."""

    def __init__(
        self, network: Network, *, now: Callable[[], Timestamp], clock: Callable[[], float]
    ) -> None:
        self._now = now
        self._natives = network.natives
        self._routes = Fresh(network.routes, clock, for_s=FRESH_FOR_S)
        self._chains = Fresh(network.chains, clock, for_s=FRESH_FOR_S)

    async def routes(self, request: web.Request) -> web.Response:
        """Every configured route."""
        asked(request, Nothing)
        now, natives = self._now(), self._natives()
        views = [_route_view(report, now, natives) for report in await self._routes.read()]
        return tagged(request, {"routes": views}, kept_for(int(FRESH_FOR_S)))

    async def chains(self, request: web.Request) -> web.Response:
        """Every configured chain."""
        asked(request, Nothing)
        views = [_chain_view(report) for report in await self._chains.read()]
        return tagged(request, {"chains": views}, kept_for(int(FRESH_FOR_S)))


def native_view(native: Native | None) -> dict[str, Any] | None:
    """A coin as JSON."""
    return None if native is None else {"symbol": native.symbol, "decimals": native.decimals}


def _route_view(
    report: RouteReport, now: Timestamp, natives: Mapping[ChainId, Native]
) -> dict[str, Any]:
    route, oldest = report.route, report.oldest_pending
    totals = dict.fromkeys((status.value for status in Status), 0)
    for (status, _), count in report.counts.items():
        totals[status.value] += count
    return {
        "route": str(route),
        "bridge": route.bridge,
        "origin": route.origin,
        "destination": route.destination,
        "health": "degraded" if report.problems else "ok",
        "problems": [printable(problem, 300) for problem in report.problems],
        "messages": totals,
        "reasons": [
            {"status": status.value, "reason": reason.value, "count": count}
            for (status, reason), count in sorted(report.counts.items())
            if status is not Status.DELIVERED
        ],
        "oldest_pending_s": None if oldest is None else round(max(0.0, now - oldest), 3),
        "delivery": _times_view(report.times_s),
        "cost_wei": str(report.cost_wei),
        "gas": str(report.gas),
        "transactions": report.transactions,
        "income_wei": str(report.income_wei),
        "paid_wei": str(report.paid_wei),
        "native": {
            "origin": native_view(natives.get(route.origin)),
            "destination": native_view(natives.get(route.destination)),
        },
    }


def _times_view(times_s: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(times_s)
    return {
        "samples": len(ordered),
        "p50_s": quantile(ordered, 0.5) if ordered else None,
        "p95_s": quantile(ordered, 0.95) if ordered else None,
    }


def _chain_view(report: ChainReport) -> dict[str, Any]:
    final, cursor = report.final, report.cursor
    return {
        "name": report.name,
        "id": report.id,
        "head": report.head,
        "final": final,
        "finality": {
            "tag": report.finality.tag,
            "depth": report.finality.depth,
            "behind_s": report.final_behind_s,
        },
        "cursor": cursor,
        "lag_blocks": None if final is None or cursor is None else max(0, final - cursor),
        "endpoints": {"total": report.endpoints, "healthy": report.endpoints_healthy},
        "explorer": report.explorer,
        "native": native_view(report.native),
        "health": "degraded" if report.problems else "ok",
        "problems": [printable(problem, 300) for problem in report.problems],
        "signers": [_signer_view(signer) for signer in report.signers],
    }


def _signer_view(signer: SignerReport) -> dict[str, Any]:
    return {
        "address": signer.address,
        "balance_wei": None if signer.balance is None else str(signer.balance),
        "nonce": signer.nonce,
        "in_flight": signer.in_flight,
        "paused": signer.is_paused,
    }
