"""What the public API is told about routes and chains, gathered from the store and the chains."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relayer.acts import Pause, Target
from relayer.adapter import Adapter, Delay, Foreseeable, Header
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
from relayer.ops.api import (
    ChainReport,
    Finality,
    Native,
    Outlook,
    RouteReport,
    SignerReport,
)
from relayer.ops.fresh import Fresh
from relayer.ops.views import iso
from relayer.store import CostTotal, RouteState, Store

ASK_WITHIN_S = 2.0
"""A chain that takes longer is shown as unknown; the others are not kept waiting."""
CARRIED_WITHIN_S = 120.0
"""Room for the delivery itself: to be noticed, priced, sent and mined."""
ACCOUNT_FOR_S = 15.0
"""Seconds a signer's balance and nonce are shown before they are asked for again."""

T = TypeVar("T")
NO_SIGNER = "no signer for the destination: nothing is delivered there from here"
NOTHING_SPENT = CostTotal(Wei(0), Gas(0), 0)
IDLE = RouteState(None, ())


@dataclass(frozen=True, slots=True)
class Served:
    """What is configured now; asked for each time, because a reload may change it."""

    chains: Mapping[str, ChainClient]
    adapters: Mapping[BridgeName, Adapter]
    signers: Mapping[ChainId, Sequence[Address]]
    pauses: Sequence[Pause] = ()

    @property
    def paused(self) -> Mapping[Target, Pause]:
        return {one.target: one for one in self.pauses}


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
        paid = await self._of_all(ends, self._store.paid_totals)
        problems = {
            chain.chain_id: chain_problems(chain, served) for chain in served.chains.values()
        }
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
                paid_wei=paid.get(route, Wei(0)),
                problems=[
                    *_paused(served, Target.route(route), f"route {route}"),
                    *problems.get(route.origin, ()),
                    *problems.get(route.destination, ()),
                    *_lane_problems(route.destination, served),
                    *(() if served.signers.get(route.destination) else [NO_SIGNER]),
                ],
            )
            for route in routes
        ]

    async def times(self) -> Mapping[Route, Sequence[float]]:
        """How long our latest deliveries took, by route."""
        states = await self._of_all(await self._store.chains(), self._store.route_states)
        return {route: state.times_s for route, state in states.items()}

    def natives(self) -> dict[ChainId, Native]:
        """The coin of every configured chain."""
        return {chain.chain_id: _native(chain) for chain in self._served().chains.values()}

    async def outlooks(self) -> dict[Route, Outlook]:
        """By the bridges' rules and how far behind final blocks are now, at both ends."""
        served = self._served()
        adapters = [one for one in served.adapters.values() if isinstance(one, Foreseeable)]
        found = await asyncio.gather(*(_within(one.delays()) for one in adapters))
        behind = dict(
            zip(
                (chain.chain_id for chain in served.chains.values()),
                await asyncio.gather(*(_final_behind_s(one) for one in served.chains.values())),
                strict=True,
            )
        )
        return {
            route: outlook_of(delay, behind.get(route.origin), behind.get(route.destination))
            for delays in found
            for route, delay in (delays or {}).items()
        }

    async def chains(self) -> list[ChainReport]:
        """Every configured chain; what does not answer in time is unknown."""
        served = self._served()
        reports = (self._chain(chain, served) for chain in served.chains.values())
        return list(await asyncio.gather(*reports))

    async def _chain(self, chain: ChainClient, served: Served) -> ChainReport:
        tip = await _within(chain.tip())
        cursor = await self._store.cursor(chain.chain_id)
        signers = [
            await self._signer(chain, address, is_paused=Target.signer(address) in served.paused)
            for address in served.signers.get(chain.chain_id, ())
        ]
        # All at one moment from here on: what answers and what is wrong must not contradict.
        health, rule = chain.health(), chain.settings.finality
        return ChainReport(
            name=chain.name,
            id=chain.chain_id,
            head=tip[0].number if tip else None,
            final=tip[1].number if tip else None,
            final_behind_s=_behind_s(tip),
            finality=Finality(rule.tag, rule.depth),
            cursor=BlockNumber(cursor.block) if cursor else None,
            endpoints=len(health),
            endpoints_healthy=sum(endpoint.healthy for endpoint in health),
            explorer=chain.settings.explorer,
            native=_native(chain),
            signers=signers,
            problems=[*chain_problems(chain, served), *_lane_problems(chain.chain_id, served)],
        )

    async def _signer(
        self, chain: ChainClient, address: Address, *, is_paused: bool
    ) -> SignerReport:
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
            is_paused=is_paused,
        )

    async def _of_all(
        self, chains: Iterable[ChainId], ask: Callable[[ChainId], Awaitable[Mapping[Route, T]]]
    ) -> dict[Route, T]:
        answers = await asyncio.gather(*(ask(chain) for chain in chains))
        return {route: one for answer in answers for route, one in answer.items()}


def outlook_of(
    delay: Delay, origin_behind_s: float | None, destination_behind_s: float | None
) -> Outlook:
    """A bridge's delay between two waits for final blocks; the last may be as long again."""
    behind_s = (origin_behind_s or 0.0) + (destination_behind_s or 0.0)
    latest_s = None if delay.latest_s is None else delay.latest_s + 2 * behind_s + CARRIED_WITHIN_S
    said = f"{delay.rests_on}; final blocks at both ends, {behind_s:.0f} s now"
    return Outlook(delay.earliest_s + behind_s, latest_s, said, destination_behind_s)


def chain_problems(chain: ChainClient, served: Served) -> list[str]:
    """What stops a chain, in words for everybody: who paused it and why is for operators."""
    found = _paused(served, Target.chain(chain.chain_id), f"chain {chain.name}")
    trouble = chain.trouble()
    return [*found, f"chain {chain.name}: {trouble}"] if trouble else found


def _lane_problems(chain: ChainId, served: Served) -> list[str]:
    name = next((one.name for one in served.chains.values() if one.chain_id == chain), str(chain))
    found = _paused(served, Target.lane(chain), f"lane to {name}")
    signers = served.signers.get(chain, ())
    stopped = sum(Target.signer(address) in served.paused for address in signers)
    if stopped:
        found.append(f"{stopped} of {len(signers)} signers for {name} paused by an operator")
    return found


def _paused(served: Served, target: Target, what: str) -> list[str]:
    pause = served.paused.get(target)
    return [] if pause is None else [f"{what} paused by an operator since {iso(pause.since)}"]


def _native(chain: ChainClient) -> Native:
    native = chain.settings.native
    return Native(native.symbol, native.decimals)


def _behind_s(tip: tuple[Header, Header] | None) -> float | None:
    return None if tip is None else max(0.0, tip[0].timestamp - tip[1].timestamp)


async def _final_behind_s(chain: ChainClient) -> float | None:
    return _behind_s(await _within(chain.tip()))


async def _within(call: Awaitable[T]) -> T | None:
    """The answer, None when there is none in time."""
    with contextlib.suppress(RelayerError, TimeoutError):
        async with asyncio.timeout(ASK_WITHIN_S):
            return await call
    return None
