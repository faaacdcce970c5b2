"""Fakes of the API's ports: a network that stands still, and an API around any store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relayer.message import ChainId, EventPage, MessageId, Record, Route, Timestamp, TxHash
from relayer.ops.api import ApiMetrics, ChainReport, DappApi, Native, Outlook, RouteReport
from relayer.ops.api.models import MAX_PAGE
from relayer.ops.api.ports import ApiStore
from relayer.ops.metrics import Metrics


@dataclass
class StillNetwork:
    """`ops.api.ports.Network` that says what a test puts in it."""

    route_reports: list[RouteReport] = field(default_factory=list)
    chain_reports: list[ChainReport] = field(default_factory=list)
    times_s: dict[Route, Sequence[float]] = field(default_factory=dict)
    coins: dict[ChainId, Native] = field(default_factory=dict)
    rules: dict[Route, Outlook] = field(default_factory=dict)
    asked: int = 0

    async def routes(self) -> Sequence[RouteReport]:
        self.asked += 1
        return self.route_reports

    async def chains(self) -> Sequence[ChainReport]:
        self.asked += 1
        return self.chain_reports

    def natives(self) -> Mapping[ChainId, Native]:
        return self.coins

    async def outlooks(self) -> Mapping[Route, Outlook]:
        return self.rules

    async def times(self) -> Mapping[Route, Sequence[float]]:
        return self.times_s


@dataclass(frozen=True)
class WholePage:
    """One page that holds all."""

    records: Sequence[Record] = ()
    after: str | None = None


class EmptyStore:
    """`ops.api.ports.ApiStore` without messages and events."""

    async def get(self, message_id: MessageId, /) -> Record | None:
        return None

    async def by_tx(self, tx: TxHash, /) -> Sequence[Record]:
        return ()

    async def list(self, **filters: Any) -> WholePage:
        assert filters["limit"] <= MAX_PAGE
        return WholePage()

    async def chains(self) -> Sequence[ChainId]:
        return ()

    async def events(self, chain: ChainId, after: int | None, /, *, limit: int) -> EventPage:
        raise AssertionError(f"there is no chain {chain}")


async def no_proof(record: Record) -> Mapping[str, Any]:
    """A prover for messages that are all delivered already."""
    return {"step": "done", "detail": f"{record.id} was delivered"}


def dapp_api(store: ApiStore, metrics: Metrics, **changes: Any) -> DappApi:
    """An API with a network that has nothing to say; `changes` are arguments of `DappApi`."""
    usual: dict[str, Any] = {
        "network": StillNetwork(),
        "prove": no_proof,
        "metrics": ApiMetrics(metrics.registry),
        "now": lambda: Timestamp(1_700_000_100.0),
        "version": "9.9",
    }
    return DappApi(store=store, **{**usual, **changes})
