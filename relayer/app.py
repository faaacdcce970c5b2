"""Builds everything from settings, runs it in one TaskGroup, and stops it in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from relayer import __version__, protocols
from relayer.adapter import Adapter, ChainReader, Step, carrier_of
from relayer.chains import ChainClient
from relayer.chains.signers import openers_of
from relayer.checkup import check_bridge, check_chain, check_protocols, check_store
from relayer.desk import Desk, Sources
from relayer.early import EarlyLook
from relayer.errors import ConfigInvalid, RelayerError, UnknownRecord
from relayer.generations import Generations
from relayer.hangup import Hangup
from relayer.message import BlockNumber, BridgeName, ChainId, Fact, MessageId, Timestamp, TxHash
from relayer.ops.api import ApiMetrics, DappApi, Limits
from relayer.ops.api.tail import POLL_S
from relayer.ops.connections import Room, allow_more_files
from relayer.ops.http import serve
from relayer.ops.logs import Logging
from relayer.ops.metrics import Metrics
from relayer.ops.operator.beside import Beside
from relayer.ops.operator.door import Door
from relayer.ops.operator.pages import build_app
from relayer.ops.traces import Traces
from relayer.ops.views import Finding
from relayer.ops.web import WebServer
from relayer.parts import Parts
from relayer.pipeline.follower import destinations
from relayer.pipeline.forest import Forest
from relayer.pipeline.lane import ChainBells, Engine
from relayer.pipeline.loop import Bell, run_agent
from relayer.pipeline.pauses import PauseBoard
from relayer.pipeline.policy import Policy
from relayer.pipeline.roster import Roster
from relayer.rereading import ask_again, block_of, chain_named, see_through
from relayer.running import readiness, work
from relayer.self_relay import SelfRelay
from relayer.serving import LiveNetwork, Served
from relayer.settings import Settings, parse_section
from relayer.store import Store
from relayer.twins import refuse_twins

DRAIN_S = 30.0
OPERATORS = Room(connections=128, per_client=64)
"""Connections of the operator API and the page beside it."""
GAUGES_EVERY_S = 2.0


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


@contextlib.asynccontextmanager
async def build(settings: Settings, *, attach: bool = False) -> AsyncIterator[Parts]:
    """Open store, chains and adapters; close them in reverse order.

    `attach` shares the embedded store of a running relayer instead of being refused.
    """
    metrics = Metrics(version=__version__)
    api_metrics = ApiMetrics(metrics.registry)
    async with (
        _opened_store(settings, attach=attach) as store,
        _assembled(store, settings, metrics=metrics, api_metrics=api_metrics) as parts,
    ):
        yield parts


@contextlib.asynccontextmanager
async def _opened_store(settings: Settings, *, attach: bool = False) -> AsyncIterator[Store]:
    store = await Store.open(
        settings.redis,
        settings.data_dir,
        clock=now,
        attach=attach,
        retention_s=settings.retention_s,
    )
    try:
        yield store
    finally:
        await store.aclose()


@contextlib.asynccontextmanager
async def _assembled(
    store: Store, settings: Settings, *, metrics: Metrics, api_metrics: ApiMetrics
) -> AsyncIterator[Parts]:
    """Everything but the store, which outlives a configuration."""
    async with contextlib.AsyncExitStack() as stack:
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
        refuse_twins(adapters.values(), {chain.chain_id: one for one, chain in chains.items()})
        for adapter in adapters.values():
            for spec in adapter.trees():
                forest.add(spec)
        bells = {chain.chain_id: ChainBells(Bell(), Bell(), Bell()) for chain in chains.values()}
        engine = Engine(
            store=store,
            forest=forest,
            adapters=adapters,
            policy=Policy(settings.policy),
            pauses=PauseBoard(
                store,
                names={chain.chain_id: name for name, chain in chains.items()},
                on_change=partial(_wake_all, bells),
            ),
            metrics=metrics,
            now=now,
            rng=random.Random(),  # noqa: S311 - jitter, not a secret
            dry_run=settings.dry_run,
            on_facts=partial(_wake_lanes, bells),
            traces=_traces(settings, stack),
        )
        yield Parts(settings, store, chains, engine, bells, metrics, api_metrics)


def _adapters(settings: Settings, context: Context) -> dict[BridgeName, Adapter]:
    adapters: dict[BridgeName, Adapter] = {}
    for name, raw in settings.bridges.items():
        plugin = protocols.load(str(raw.get("protocol", "")))
        fields = {key: value for key, value in raw.items() if key != "protocol"}
        chosen = parse_section(plugin.settings, fields, f"bridges.{name}")
        adapters[BridgeName(name)] = plugin.build(BridgeName(name), chosen, context)
    return adapters


def _traces(settings: Settings, stack: contextlib.AsyncExitStack) -> Traces | None:
    if settings.traces is None:
        return None
    url = settings.traces.url.get_secret_value()
    traces = Traces(url, sample=settings.traces.sample, version=__version__)
    stack.push_async_callback(traces.aclose)
    return traces


def _wake_lanes(bells: Mapping[ChainId, ChainBells], facts: Sequence[Fact]) -> None:
    for chain in destinations(facts):
        if chain in bells:
            bells[chain].prover.ring()


def _wake_all(bells: Mapping[ChainId, ChainBells]) -> None:
    for chain in bells.values():
        for bell in (chain.follower, chain.prover, chain.submitter):
            bell.ring()


async def run(
    settings: Settings,
    *,
    hangup: Hangup,
    on_ready: Callable[[], None] | None = None,
    reread: Callable[[], Settings] | None = None,
    logging: Logging | None = None,
) -> None:
    """Relay until SIGTERM or SIGINT; stops within 35 s, in the reverse order of its start.

    SIGHUP, or an operator, has it take up what `reread` returns then, without a restart.
    `logging` is what can be changed of this process's logs, `hangup` what was sent before now.
    """
    allow_more_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    owner = settings.instance or f"{socket.gethostname()}:{os.getpid()}"
    log = structlog.get_logger("relayer").bind(instance=owner)
    sources = Sources(reread or (lambda: settings), logging or Logging(settings.log.level), owner)
    metrics = Metrics(version=__version__)
    api_metrics = ApiMetrics(metrics.registry)
    async with _opened_store(settings) as store:
        opened = partial(_opened_generation, store, metrics=metrics, api_metrics=api_metrics)
        generations = Generations(opened, partial(work, owner), stop=_stopped)
        desk = Desk(generations, sources, now)
        hangup.tell(desk.reload_soon)
        await generations.start(settings)
        service = asyncio.create_task(_serve_all(generations, desk, on_ready))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({service, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not service.done():
            log.info("stopping")
        failed = service.done()
        ended = await _stopped(service)
        await generations.aclose()
    if not ended or generations.is_stuck:
        log.error("stop_timed_out", seconds=DRAIN_S)
        os._exit(1)  # the store is closed; what a stuck task holds is in Redis
    if failed:
        service.result()
    log.info("stopped")


async def _stopped(task: asyncio.Task[None]) -> bool:
    """Cancel a task and wait for its end, but not for ever; whether it has ended."""
    task.cancel()
    _, stuck = await asyncio.wait({task}, timeout=DRAIN_S)
    return not stuck


@contextlib.asynccontextmanager
async def _opened_generation(
    store: Store, settings: Settings, *, metrics: Metrics, api_metrics: ApiMetrics
) -> AsyncIterator[Parts]:
    """What agents work with; keys are opened now, so that a bad one stops nothing that works."""
    async with (
        _assembled(store, settings, metrics=metrics, api_metrics=api_metrics) as parts,
        _rosters(parts) as rosters,
    ):
        yield replace(parts, rosters=rosters)


@contextlib.asynccontextmanager
async def _rosters(parts: Parts) -> AsyncIterator[Mapping[str, Roster]]:
    """The signers of every chain that has any, opened once; closed after everything else."""
    rosters = {
        name: Roster(name, openers_of(parts.settings, name, os.environ))
        for name, chain in parts.settings.chains.items()
        if chain.signers
    }
    async with contextlib.AsyncExitStack() as stack:
        for roster in rosters.values():
            stack.push_async_callback(roster.aclose)
        await asyncio.gather(*(roster.open() for roster in rosters.values()))
        yield rosters


async def _serve_all(
    generations: Generations[Parts], desk: Desk, on_ready: Callable[[], None] | None
) -> None:
    """The servers, and behind them one generation of agents after another."""
    parts = generations.present
    desk.take_up(parts.settings)
    listening = asyncio.Event()
    api = _dapp_api(generations)
    async with contextlib.AsyncExitStack() as servers, asyncio.TaskGroup() as group:
        await _serve_operators(servers, parts, desk, beside=Beside(api))
        tailing = run_agent(api.tail, Bell(), idle_s=POLL_S, on_failure=parts.metrics.agent_failed)
        group.create_task(tailing)
        group.create_task(
            serve(
                parts.settings.http,
                api,
                parts.metrics,
                lambda: readiness(generations.present),
                version=__version__,
                on_listening=lambda _port: listening.set(),
            )
        )
        await listening.wait()  # a taken port must end us before we hold any lease
        if on_ready is not None:
            on_ready()
        group.create_task(parts.store.guard())
        group.create_task(desk.run())
        group.create_task(generations.run())


async def _serve_operators(
    servers: contextlib.AsyncExitStack, parts: Parts, desk: Desk, *, beside: Beside
) -> None:
    at = parts.settings.operator
    if at is None:
        return
    door = Door(desk.tokens, parts.store, parts.metrics, now=now, hide=desk.hide)
    app = build_app(store=parts.store, running=desk, door=door, now=now, beside=beside)
    server = WebServer(app, section="operator", host=at.host, port=at.port, room=OPERATORS)
    port = await server.start()
    servers.push_async_callback(server.aclose)
    structlog.get_logger("relayer").info("operator_listening", host=at.host, port=port)


def _dapp_api(generations: Generations[Parts]) -> DappApi:
    """The reading API; it tells of the generation that is at work when it is asked."""

    def served() -> Served:
        parts = generations.present
        addresses = {
            chain.chain_id: sorted(parts.signers_of(name)) for name, chain in parts.chains.items()
        }
        return Served(parts.chains, parts.engine.adapters, addresses, parts.engine.pauses.all())

    parts = generations.present
    http = parts.settings.http
    early = EarlyLook(
        parts.store,
        lambda: generations.present.chains,
        lambda: generations.present.engine.adapters,
        clock=time.monotonic,
        now=now,
    )
    return DappApi(
        store=parts.store,
        network=LiveNetwork(parts.store, served, time.monotonic),
        prove=SelfRelay(lambda: generations.present.engine.adapters, time.monotonic).prove,
        early=early.ask if http.early else None,
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


async def prove(settings: Settings, message_id: MessageId) -> Step:
    """What the message needs now, freshly computed: for anybody who wants to claim by hand."""
    async with build(settings, attach=True) as parts:
        record = await parts.store.get(message_id)
        if record is None:
            raise UnknownRecord(f"message {message_id} is not known")
        adapter = carrier_of(parts.engine.adapters, record.route)
        if adapter is None:
            raise ConfigInvalid(f"bridges: none carries {record.route}, the message's route")
        return (await adapter.next_steps([record]))[record.id]


async def backfill(
    settings: Settings,
    chain_name: str,
    blocks: tuple[BlockNumber, BlockNumber] | TxHash,
    progress: Callable[[int, int, str], None],
) -> tuple[BlockNumber, BlockNumber]:
    """Have a range of blocks, or the block of a transaction, read again through the live code path.

    A running relayer does it when there is one, else we do; when we are cut off, it stays asked
    for. What is stored already stays as it is, and the cursor does not move. Returns the range.
    """
    async with build(settings, attach=True) as parts:
        chain = chain_named(parts, chain_name)
        if isinstance(blocks, str):
            block = await block_of(chain, blocks)
            blocks = block, block
        asked = await ask_again(parts, chain, *blocks)
        await see_through(parts, chain, asked, progress)
    return asked.first, asked.last


async def check_online(settings: Settings) -> list[Finding]:
    """Hold the configuration against the world: chains, contracts, signers' balances, Redis."""
    findings = check_protocols(settings)
    for name in settings.chains:
        findings += await check_chain(name, settings)
    findings.append(await check_store(settings))
    try:
        findings += await _check_bridges(settings)
    except RelayerError as error:
        findings.append(Finding("bridges", False, f"could not be checked: {error}"))
    return findings


async def _check_bridges(settings: Settings) -> list[Finding]:
    async with build(settings, attach=True) as parts:
        return [
            finding
            for adapter in parts.engine.adapters.values()
            for chain in parts.chains.values()
            for finding in await check_bridge(chain, adapter)
        ]
