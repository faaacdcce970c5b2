"""What the public API is told about routes and chains, gathered from the store and the chains."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relayer.adapter import Adapter
from relayer.chains import ChainClient
from relayer.chains.queries import Account
from relayer.errors import RelayerError
from relayer.message import (
    Address,
    BlockNumber,
    BridgeName,
    ChainId,
    Gas,
    Reason,
    Route,
    Status,
    Wei,
)
from relayer.ops.api import ChainReport, RouteReport, SignerReport
from relayer.ops.fresh import Fresh
from relayer.store import CostTotal, RouteState, Store

ASK_WITHIN_S = 2.0
"""A chain that takes longer is shown as unknown; the others are not kept waiting."""
ACCOUNT_FOR_S = 15.0
"""Seconds a signer's balance and nonce are shown before they are asked for again."""

T = TypeVar("T")
NOTHING_SPENT = CostTotal(Wei(0), Gas(0), 0)
IDLE = RouteState(None, ())


@dataclass(frozen=True, slots=True)
class Served:
    """What is configured now; asked for each time, because a reload may change it."""

    chains: Mapping[str, ChainClient]
    adapters: Mapping[BridgeName, Adapter]
    signers: Mapping[ChainId, Sequence[Address]]


class LiveNetwork:
    """`ops.api.ports.Network` of a running service."""

    def __init__(
        self, store: Store, served: Callable[[], Served], clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._served = served
        self._clock = clock
        self._accounts: dict[tuple[ChainId, Address], Fresh[Account | None]] = {}

    async def routes(self) -> list[RouteReport]:
        """Every configured route."""
        served = self._served()
        routes = sorted({r for adapter in served.adapters.values() for r in adapter.routes()})
        ends = {route.destination for route in routes}
        counts: dict[Route, dict[tuple[Status, Reason], int]] = {}
        for key, count in (await self._store.counts()).items():
            counts.setdefault(key.route, {})[key.status, key.reason] = count
        states = await self._of_all(ends, self._store.route_states)
        costs = await self._of_all(ends, self._store.cost_totals)
        incomes = await self._of_all(ends, self._store.income_totals)
        problems = {chain.chain_id: _problems(chain) for chain in served.chains.values()}
        return [
            RouteReport(
                route=route,
                counts=counts.get(route, {}),
                oldest_pending=states.get(route, IDLE).oldest_pending,
                times_s=states.get(route, IDLE).times_s,
                cost_wei=costs.get(route, NOTHING_SPENT).wei,
                gas=costs.get(route, NOTHING_SPENT).gas,
                transactions=costs.get(route, NOTHING_SPENT).txs,
                income_wei=incomes.get(route, Wei(0)),
                problems=[
                    problem
                    for end in (route.origin, route.destination)
                    for problem in problems.get(end, [])
                ],
            )
            for route in routes
        ]

    async def times(self) -> Mapping[Route, Sequence[float]]:
        """How long our latest deliveries took, by route."""
        states = await self._of_all(await self._store.chains(), self._store.route_states)
        return {route: state.times_s for route, state in states.items()}

    async def chains(self) -> list[ChainReport]:
        """Every configured chain; what does not answer in time is unknown."""
        served = self._served()
        reports = (
            self._chain(chain, served.signers.get(chain.chain_id, ()))
            for chain in served.chains.values()
        )
        return list(await asyncio.gather(*reports))

    async def _chain(self, chain: ChainClient, signers: Sequence[Address]) -> ChainReport:
        tip = await _within(chain.tip())
        cursor = await self._store.cursor(chain.chain_id)
        health = chain.health()
        return ChainReport(
            name=chain.name,
            id=chain.chain_id,
            head=tip[0].number if tip else None,
            final=tip[1].number if tip else None,
            cursor=BlockNumber(cursor.block) if cursor else None,
            endpoints=len(health),
            endpoints_healthy=sum(endpoint.healthy for endpoint in health),
            explorer=chain.settings.explorer,
            signers=[await self._signer(chain, address) for address in signers],
        )

    async def _signer(self, chain: ChainClient, address: Address) -> SignerReport:
        key = chain.chain_id, address

        async def ask() -> Account | None:
            found = await _within(chain.accounts([address]))
            return None if found is None else found[0]

        asked = self._accounts.setdefault(key, Fresh(ask, self._clock, for_s=ACCOUNT_FOR_S))
        intents = await self._store.intents(chain.chain_id, address)
        account = await asked.read()
        return SignerReport(
            address,
            None if account is None else account.balance,
            None if account is None else account.nonce,
            in_flight=len(intents),
        )

    async def _of_all(
        self, chains: Iterable[ChainId], ask: Callable[[ChainId], Awaitable[Mapping[Route, T]]]
    ) -> dict[Route, T]:
        answers = await asyncio.gather(*(ask(chain) for chain in chains))
        return {route: one for answer in answers for route, one in answer.items()}


def _problems(chain: ChainClient) -> list[str]:
    if any(endpoint.healthy for endpoint in chain.health()):
        return []
    return [f"no endpoint of {chain.name} answers"]


async def _within(call: Awaitable[T]) -> T | None:
    """The answer, None when there is none in time."""
    with contextlib.suppress(RelayerError, TimeoutError):
        async with asyncio.timeout(ASK_WITHIN_S):
            return await call
    return None
