"""Builds everything from settings, runs it in one TaskGroup, and stops it in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from relayer import __version__, protocols
from relayer.adapter import Adapter, ChainReader, Step
from relayer.chains import ChainClient
from relayer.chains.signers import Signer, load_signer
from relayer.checkup import check_chain, check_code, check_protocols, check_store
from relayer.errors import ConfigInvalid, RelayerError, UnknownRecord
from relayer.message import BlockNumber, BridgeName, ChainId, Fact, MessageId, Timestamp
from relayer.ops.api import ApiMetrics, DappApi, Limits
from relayer.ops.api.tail import POLL_S
from relayer.ops.http import Health, Readiness, serve
from relayer.ops.metrics import Metrics
from relayer.ops.pulse import ask_store
from relayer.ops.views import Finding
from relayer.pipeline.follower import destinations
from relayer.pipeline.forest import Forest
from relayer.pipeline.lane import ChainBells, Engine, make_follower, run_follower, run_lane
from relayer.pipeline.loop import Bell, run_agent
from relayer.pipeline.notifier import refresh_webhooks, run_notifiers
from relayer.pipeline.policy import Policy
from relayer.pipeline.tenure import Tenure
from relayer.self_relay import SelfRelay
from relayer.serving import LiveNetwork, Served
from relayer.settings import Settings, parse_section
from relayer.store import Lease, Rescan, Role, Store

DRAIN_S = 30.0
GAUGES_EVERY_S = 2.0
WATCH_EVERY_S = 0.5


def now() -> Timestamp:
    """The wall clock that the running service lives by."""
    return Timestamp(time.time())


@dataclass(frozen=True, slots=True)
class Context:
    """`adapter.AdapterContext` of a running service."""

    chains: Mapping[str, ChainReader]
    trees: Forest
    roots: Store
    proofs: Store
    now: Callable[[], Timestamp]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything `build` opened, for whoever runs, proves or backfills with it."""

    settings: Settings
    store: Store
    chains: Mapping[str, ChainClient]
    engine: Engine
    bells: Mapping[ChainId, ChainBells]
    metrics: Metrics
    api_metrics: ApiMetrics


@contextlib.asynccontextmanager
async def build(settings: Settings, *, attach: bool = False) -> AsyncIterator[Parts]:
    """Open store, chains and adapters; close them in reverse order.

    `attach` shares the embedded store of a running relayer instead of being refused.
    """
    async with contextlib.AsyncExitStack() as stack:
        metrics = Metrics(version=__version__)
        store = await Store.open(
            settings.redis,
            settings.data_dir,
            clock=now,
            attach=attach,
            retention_s=settings.retention_s,
        )
        stack.push_async_callback(store.aclose)
        chains: dict[str, ChainClient] = {}
        for name, chain_settings in settings.chains.items():
            chain = ChainClient(name, chain_settings, clock=time.time, observer=metrics.rpc)
            stack.push_async_callback(chain.aclose)
            chains[name] = chain
        await asyncio.gather(*(chain.start() for chain in chains.values()))
        forest = Forest(store, ())
        adapters = _adapters(
            settings, Context(chains=chains, trees=forest, roots=store, proofs=store, now=now)
        )
        for adapter in adapters.values():
            stack.push_async_callback(adapter.aclose)
            for spec in adapter.trees():
                forest.add(spec)
        bells = {chain.chain_id: ChainBells(Bell(), Bell(), Bell()) for chain in chains.values()}
        engine = Engine(
            store=store,
            forest=forest,
            adapters=adapters,
            policy=Policy(settings.policy),
            metrics=metrics,
            now=now,
            rng=random.Random(),  # noqa: S311 - jitter, not a secret
            dry_run=settings.dry_run,
            on_facts=partial(_wake_lanes, bells),
        )
        names = [webhook.name for webhook in settings.webhooks]
        api_metrics = ApiMetrics(metrics.registry, webhooks=names)
        yield Parts(settings, store, chains, engine, bells, metrics, api_metrics)


def _adapters(settings: Settings, context: Context) -> dict[BridgeName, Adapter]:
    adapters: dict[BridgeName, Adapter] = {}
    for name, raw in settings.bridges.items():
        plugin = protocols.load(str(raw.get("protocol", "")))
        fields = {key: value for key, value in raw.items() if key != "protocol"}
        chosen = parse_section(plugin.settings, fields, f"bridges.{name}")
        adapters[BridgeName(name)] = plugin.build(BridgeName(name), chosen, context)
    return adapters


def _wake_lanes(bells: Mapping[ChainId, ChainBells], facts: Sequence[Fact]) -> None:
    for chain in destinations(facts):
        if chain in bells:
            bells[chain].prover.ring()


async def run(settings: Settings, *, on_ready: Callable[[], None] | None = None) -> None:
    """Relay until SIGTERM or SIGINT; stops within 35 s, in the reverse order of its start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    owner = settings.instance or f"{socket.gethostname()}:{os.getpid()}"
    log = structlog.get_logger("relayer").bind(instance=owner)
    async with build(settings) as parts:
        service = asyncio.create_task(_serve_all(parts, owner, on_ready))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({service, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if service.done():
            await service
        log.info("stopping")
        service.cancel()
        _, stuck = await asyncio.wait({service}, timeout=DRAIN_S)
    if stuck:
        log.error("stop_timed_out", seconds=DRAIN_S)
        os._exit(1)  # the store is closed; what a stuck task holds is in Redis
    log.info("stopped")


async def _serve_all(parts: Parts, owner: str, on_ready: Callable[[], None] | None) -> None:
    signers = {chain.chain_id: _signers(chain) for chain in parts.chains.values()}
    listening = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        api = _dapp_api(parts, signers)
        tailing = run_agent(api.tail, Bell(), idle_s=POLL_S, on_failure=parts.metrics.agent_failed)
        group.create_task(tailing)
        group.create_task(
            serve(
                parts.settings.http,
                api,
                parts.metrics,
                partial(_readiness, parts),
                version=__version__,
                on_listening=lambda _port: listening.set(),
            )
        )
        await listening.wait()  # a taken port must end us before we hold any lease
        if on_ready is not None:
            on_ready()
        group.create_task(parts.store.guard())
        group.create_task(_refresh_gauges(parts))
        for chain in parts.chains.values():
            bells = parts.bells[chain.chain_id]
            group.create_task(_watch_heads(chain, bells))
            poll_s = chain.settings.poll_s
            follow = partial(run_follower, parts.engine, chain, bells, poll_s=poll_s)
            group.create_task(_tenure(parts, chain, Role.FOLLOWER, owner, follow).run())
            if parts.settings.webhooks:
                tell = _notifiers(parts)
                parts.metrics.lease(chain.name, Role.WEBHOOKS.value, False)
                group.create_task(_tenure(parts, chain, Role.WEBHOOKS, owner, tell).run())
            if signers[chain.chain_id]:
                own = signers[chain.chain_id]
                lane = partial(run_lane, parts.engine, chain, own, bells, poll_s=poll_s)
                group.create_task(_tenure(parts, chain, Role.LANE, owner, lane).run())


def _notifiers(parts: Parts) -> Callable[[Lease], Awaitable[None]]:
    return partial(
        run_notifiers,
        webhooks=parts.settings.webhooks,
        store=parts.store,
        metrics=parts.metrics,
        api_metrics=parts.api_metrics,
        now=now,
        rng=parts.engine.rng,
    )


def _dapp_api(parts: Parts, signers: Mapping[ChainId, Sequence[Signer]]) -> DappApi:
    def served() -> Served:
        addresses = {chain: [one.address for one in own] for chain, own in signers.items()}
        return Served(parts.chains, parts.engine.adapters, addresses)

    http = parts.settings.http
    return DappApi(
        store=parts.store,
        network=LiveNetwork(parts.store, served, time.monotonic),
        prove=SelfRelay(lambda: parts.engine.adapters, time.monotonic).prove,
        metrics=parts.api_metrics,
        now=now,
        limits=Limits(
            rate_per_s=http.rate_per_s,
            burst=http.burst,
            trusted_proxies=http.trusted_proxies,
            subscribers=http.subscribers,
            subscribers_per_client=http.subscribers_per_client,
            cors_origins=http.cors_origins,
        ),
        version=__version__,
    )


def _signers(chain: ChainClient) -> list[Signer]:
    found: list[Signer] = []
    for place, one in enumerate(chain.settings.signers):
        try:
            found.append(load_signer(one, os.environ))
        except ConfigInvalid as error:
            raise ConfigInvalid(f"chains.{chain.name}.signers[{place}]: {error}") from None
    return found


def _tenure(parts: Parts, chain: ChainClient, role: Role, owner: str, work) -> Tenure:  # type: ignore[no-untyped-def]
    return Tenure(
        store=parts.store,
        chain=chain.chain_id,
        role=role,
        owner=owner,
        lease_s=parts.settings.redis.lease_s,
        work=work,
        on_change=partial(parts.metrics.lease, chain.name, role.value),
    )


async def _watch_heads(chain: ChainClient, bells: ChainBells) -> None:
    async for _ in chain.heads():
        bells.on_head()


async def _refresh_gauges(parts: Parts) -> None:
    """Counts, ages and health for /metrics, on a slow beat of their own."""
    metrics, store = parts.metrics, parts.store
    for adapter in parts.engine.adapters.values():
        for route in adapter.routes():
            metrics.declare_route(route)
        for spec in adapter.trees():
            metrics.declare_tree(spec.id)
    for chain in parts.chains.values():
        metrics.declare_chain(
            chain.name,
            endpoints=[one.name for one in chain.health()],
            signers=[signer.address for signer in _signers(chain)],
        )
    while True:
        await ask_store(store, metrics)
        with contextlib.suppress(RelayerError):
            metrics.messages(await store.counts())
            await refresh_webhooks(parts.settings.webhooks, store, parts.api_metrics)
            for chain in parts.chains.values():
                oldest = await store.oldest_pending(chain.chain_id)
                age_s = None if oldest is None else now() - oldest
                metrics.oldest_pending(chain.name, age_s)
        for chain in parts.chains.values():
            for one in chain.health():
                metrics.endpoint(
                    chain.name, one.name, healthy=one.healthy, lag_blocks=one.lag_blocks
                )
        await asyncio.sleep(GAUGES_EVERY_S)


async def _readiness(parts: Parts) -> Health:
    chains = {
        name: Readiness(True)
        if any(endpoint.healthy for endpoint in chain.health())
        else Readiness(False, "no endpoint answers")
        for name, chain in parts.chains.items()
    }
    return Health(await ask_store(parts.store, parts.metrics), chains)


async def prove(settings: Settings, message_id: MessageId) -> Step:
    """What the message needs now, freshly computed: for anybody who wants to claim by hand."""
    async with build(settings, attach=True) as parts:
        record = await parts.store.get(message_id)
        if record is None:
            raise UnknownRecord(f"message {message_id} is not known")
        adapter = parts.engine.adapters.get(record.route.bridge)
        if adapter is None:
            raise ConfigInvalid(f"bridges.{record.route.bridge} is not in the configuration")
        return (await adapter.next_steps([record]))[record.id]


async def backfill(
    settings: Settings,
    chain_name: str,
    first: BlockNumber,
    last: BlockNumber,
    progress: Callable[[int, int], None],
) -> int:
    """Have an inclusive block range read again through the live code path; returns its blocks.

    A running relayer does it when there is one, else we do; when we are cut off, it stays asked
    for. What is stored already stays as it is, and the cursor does not move.
    """
    async with build(settings, attach=True) as parts:
        chain = parts.chains.get(chain_name)
        if chain is None:
            raise ConfigInvalid(f"chains.{chain_name} is not in the configuration")
        final = await chain.final_header()
        if last > final.number:
            raise ConfigInvalid(
                f"--to {last} is not final yet: the newest final block of {chain_name} is"
                f" {final.number}"
            )
        await parts.store.ask_rescan(chain.chain_id, first, last)
        await _see_through(parts, chain, Rescan(first, last, first), progress)
    return last - first + 1


async def _see_through(
    parts: Parts, chain: ChainClient, asked: Rescan, progress: Callable[[int, int], None]
) -> None:
    """Watch a range being read again; do it ourselves whenever nobody follows the chain."""
    owner = f"backfill:{socket.gethostname()}:{os.getpid()}"
    lease: Lease | None = None
    total = asked.last - asked.first + 1
    try:
        while True:
            found = await parts.store.rescans(chain.chain_id)
            left = next((one for one in found if one.name == asked.name), None)
            progress(total if left is None else left.at - asked.first, total)
            if left is None:
                return
            if lease is None or not await parts.store.renew(lease):
                lease = await parts.store.acquire(chain.chain_id, Role.FOLLOWER, owner)
            if lease is None:
                await asyncio.sleep(WATCH_EVERY_S)
            else:
                await make_follower(parts.engine, chain, lease).rescan(asked.last)
    finally:
        if lease is not None:
            await parts.store.release_lease(lease)


async def check_online(settings: Settings) -> list[Finding]:
    """Hold the configuration against the world: chains, code, signers' balances, Redis."""
    findings = check_protocols(settings)
    for name in settings.chains:
        findings += await check_chain(name, settings)
    findings.append(await check_store(settings))
    if not all(finding.ok for finding in findings):
        return findings
    async with build(settings, attach=True) as parts:
        for adapter in parts.engine.adapters.values():
            for chain in parts.chains.values():
                findings += await check_code(chain, adapter)
    return findings
