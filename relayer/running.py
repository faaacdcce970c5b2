"""One generation of agents at work: what runs for each chain, and how it is doing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from relayer.chains import ChainClient
from relayer.errors import RelayerError
from relayer.ops.http import Health, Readiness
from relayer.ops.pulse import ask_store
from relayer.parts import Parts
from relayer.pipeline.lane import ChainBells, run_follower, run_lane
from relayer.pipeline.loop import Bell, run_agent
from relayer.pipeline.notifier import refresh_webhooks, run_notifiers
from relayer.pipeline.sharing import Sharer
from relayer.pipeline.tenure import Tenure
from relayer.store import Lease, Role

GAUGES_EVERY_S = 2.0
BALANCES_EVERY_S = 60.0
BEATS_PER_LEASE = 3


async def work(owner: str, parts: Parts) -> None:
    """Every chain's agents, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(parts.engine.pauses.watch())
        await parts.engine.pauses.known.wait()  # nothing is sent before we know what may be
        start = partial(run_agent, on_failure=parts.metrics.agent_failed)
        group.create_task(start(Vitals(parts), Bell(), idle_s=GAUGES_EVERY_S))
        for chain in parts.chains.values():
            group.create_task(_watch_heads(chain, parts.bells[chain.chain_id]))
            parts.tenures.extend(_tenures_of(parts, chain, owner))
            roster = parts.rosters.get(chain.name)
            if roster is not None and roster.missing:
                group.create_task(start(roster, Bell(), idle_s=GAUGES_EVERY_S))
        for tenure in parts.tenures:
            group.create_task(tenure.run())
        group.create_task(_share(parts, owner))


async def readiness(parts: Parts) -> Health:
    """Which parts of the service do their work."""
    chains = {name: _chain_readiness(parts, chain) for name, chain in parts.chains.items()}
    return Health(await ask_store(parts.store, parts.metrics), chains)


class Vitals:
    """An agent that writes down how everything is doing, for /metrics."""

    name = "vitals"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._balances_at = 0.0
        metrics = parts.metrics
        for adapter in parts.engine.adapters.values():
            for route in adapter.routes():
                metrics.declare_route(route)
            for spec in adapter.trees():
                metrics.declare_tree(spec.id)
        for chain in parts.chains.values():
            metrics.declare_chain(
                chain.name,
                endpoints=[one.name for one in chain.health()],
                signers=parts.signers_of(chain.name),
            )
        parts.api_metrics.declare_webhooks(parts.webhooks)

    async def tick(self) -> bool:
        """Counts, ages, health and, now and then, balances."""
        parts, metrics = self._parts, self._parts.metrics
        for chain in parts.chains.values():
            for one in chain.health():
                metrics.endpoint(
                    chain.name, one.name, healthy=one.healthy, lag_blocks=one.lag_blocks
                )
        metrics.paused((one.target.kind, one.target.name) for one in parts.engine.pauses.all())
        await self._weigh_signers()
        await ask_store(parts.store, metrics)
        metrics.messages(await parts.store.counts())
        await refresh_webhooks(parts.settings.webhooks, parts.store, parts.api_metrics)
        for chain in parts.chains.values():
            oldest = await parts.store.oldest_pending(chain.chain_id)
            age_s = None if oldest is None else parts.engine.now() - oldest
            metrics.oldest_pending(chain.name, age_s)
        return False

    async def _weigh_signers(self) -> None:
        """An idle wallet's balance must be known, too: it may be empty when it is needed."""
        if self._parts.engine.now() < self._balances_at:
            return
        self._balances_at = self._parts.engine.now() + BALANCES_EVERY_S
        for name, chain in self._parts.chains.items():
            signers = sorted(self._parts.signers_of(name))
            for signer in signers:  # it may have been opened after we began
                self._parts.metrics.declare_signer(name, signer)
            with contextlib.suppress(RelayerError):  # a chain that is down has its own metric
                for address, account in zip(signers, await chain.accounts(signers), strict=True):
                    self._parts.metrics.balance(name, address, account.balance)


def _chain_readiness(parts: Parts, chain: ChainClient) -> Readiness:
    if trouble := chain.trouble():
        return Readiness(False, trouble)
    stopped = [one.trouble for one in parts.tenures if one.place[0] == chain.chain_id]
    return Readiness(not any(stopped), "; ".join(filter(None, stopped)))


async def _share(parts: Parts, owner: str) -> None:
    """Share places out with other replicas until cancelled, then take nothing more."""
    sharer = Sharer(parts.store, owner, parts.tenures)
    beat_s = parts.settings.redis.lease_s / BEATS_PER_LEASE
    try:
        await run_agent(sharer, Bell(), idle_s=beat_s, on_failure=parts.metrics.agent_failed)
    finally:
        with contextlib.suppress(RelayerError):
            await asyncio.shield(parts.store.withdraw(owner))


def _tenures_of(parts: Parts, chain: ChainClient, owner: str) -> list[Tenure]:
    """One for each role that this configuration has for the chain."""
    bells, poll_s = parts.bells[chain.chain_id], chain.settings.poll_s
    roles: dict[Role, Callable[[Lease], Awaitable[None]]] = {
        Role.FOLLOWER: partial(run_follower, parts.engine, chain, bells, poll_s=poll_s)
    }
    if parts.settings.webhooks:
        parts.metrics.lease(chain.name, Role.WEBHOOKS.value, False)
        roles[Role.WEBHOOKS] = _notifiers(parts)
    roster = parts.rosters.get(chain.name)
    if roster is not None:
        roles[Role.LANE] = partial(run_lane, parts.engine, chain, roster, bells, poll_s=poll_s)
    return [
        Tenure(
            store=parts.store,
            chain=chain.chain_id,
            role=role,
            owner=owner,
            lease_s=parts.settings.redis.lease_s,
            work=duty,
            on_change=partial(parts.metrics.lease, chain.name, role.value),
            can_work=partial(_can_work, parts, chain, role),
        )
        for role, duty in roles.items()
    ]


def _notifiers(parts: Parts) -> Callable[[Lease], Awaitable[None]]:
    return partial(
        run_notifiers,
        webhooks=parts.settings.webhooks,
        store=parts.store,
        metrics=parts.metrics,
        api_metrics=parts.api_metrics,
        now=parts.engine.now,
        rng=parts.engine.rng,
    )


def _can_work(parts: Parts, chain: ChainClient, role: Role) -> bool:
    has_signer = role is not Role.LANE or bool(parts.signers_of(chain.name))
    return has_signer and any(endpoint.healthy for endpoint in chain.health())


async def _watch_heads(chain: ChainClient, bells: ChainBells) -> None:
    async for _ in chain.heads():
        bells.on_head()
