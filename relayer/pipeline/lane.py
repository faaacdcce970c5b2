"""Puts one chain's agents together: the follower's side and the lane's side, each under a lease."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from relayer.adapter import Adapter
from relayer.chains import ChainClient
from relayer.chains.signers import Signer
from relayer.message import Address, BridgeName, Fact, Timestamp
from relayer.ops.metrics import Metrics
from relayer.ops.traces import Traces
from relayer.pipeline.auditor import Auditor
from relayer.pipeline.follower import Follower
from relayer.pipeline.forest import Forest
from relayer.pipeline.inbox import Inbox
from relayer.pipeline.loop import Bell, run_agent
from relayer.pipeline.nonces import SignerLane
from relayer.pipeline.pauses import PausableAgent, PauseBoard
from relayer.pipeline.policy import Policy
from relayer.pipeline.prover import Prover
from relayer.pipeline.roster import Roster
from relayer.pipeline.second_look import SecondLook
from relayer.pipeline.submitter import Submitter
from relayer.pipeline.sweep import Sweep
from relayer.store import Lease, Store

AUDIT_EVERY_S = 30.0
LOOK_EVERY_S = 30.0
INBOX_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Engine:
    """What every chain's agents share."""

    store: Store
    forest: Forest
    adapters: Mapping[BridgeName, Adapter]
    policy: Policy
    pauses: PauseBoard
    metrics: Metrics
    now: Callable[[], Timestamp]
    rng: random.Random
    dry_run: bool
    on_facts: Callable[[Sequence[Fact]], None]
    traces: Traces | None = None


@dataclass(frozen=True, slots=True)
class ChainBells:
    """One bell per loop of a chain, so that an event wakes just who it concerns."""

    follower: Bell
    prover: Bell
    submitter: Bell

    def on_head(self) -> None:
        """A new block: the follower reads it, the submitter looks at what was mined."""
        self.follower.ring()
        self.submitter.ring()


def make_follower(engine: Engine, chain: ChainClient, lease: Lease) -> Follower:
    """The follower of one chain under its lease."""
    return Follower(
        chain=chain,
        adapters=list(engine.adapters.values()),
        store=engine.store,
        forest=engine.forest,
        lease=lease,
        metrics=engine.metrics,
        on_facts=engine.on_facts,
        traces=engine.traces,
        now=engine.now,
    )


async def run_follower(
    engine: Engine, chain: ChainClient, bells: ChainBells, lease: Lease, *, poll_s: float
) -> None:
    """Follow and audit one chain until cancelled or until the lease is lost."""
    follower = make_follower(engine, chain, lease)
    sweep = Sweep(
        chain=chain,
        store=engine.store,
        follower=follower,
        metrics=engine.metrics,
        now=engine.now,
    )
    auditor = Auditor(
        chain=chain.chain_id,
        adapters=list(engine.adapters.values()),
        store=engine.store,
        forest=engine.forest,
        follower=follower,
        sweep=sweep,
        metrics=engine.metrics,
        now=engine.now,
    )
    async with asyncio.TaskGroup() as group:
        start = partial(run_agent, on_failure=engine.metrics.agent_failed)
        pausable = partial(PausableAgent, chain=chain.chain_id, pauses=engine.pauses)
        group.create_task(start(pausable(follower), bells.follower, idle_s=poll_s))
        group.create_task(start(pausable(auditor), Bell(), idle_s=AUDIT_EVERY_S))


async def run_lane(
    engine: Engine,
    chain: ChainClient,
    roster: Roster,
    bells: ChainBells,
    lease: Lease,
    *,
    poll_s: float,
) -> None:
    """Prove and submit for one destination until cancelled or until the lease is lost.

    Returns, to be started anew, when a signer that was missing has been opened.
    """
    signers = roster.signers
    inbox = Inbox(chain.settings.lane.claim * INBOX_BATCHES)
    prover = Prover(
        chain=chain,
        adapters=engine.adapters,
        store=engine.store,
        lease=lease,
        policy=engine.policy,
        pauses=engine.pauses,
        metrics=engine.metrics,
        out=inbox,
        on_ready=bells.submitter.ring,
        now=engine.now,
    )
    submitter = Submitter(
        chain=chain,
        adapters=engine.adapters,
        signers=await _signer_lanes(engine, chain, signers, lease),
        store=engine.store,
        lease=lease,
        policy=engine.policy,
        pauses=engine.pauses,
        metrics=engine.metrics,
        inbox=inbox,
        now=engine.now,
        rng=engine.rng,
        dry_run=engine.dry_run,
        lacks_signers=roster.missing > 0,
    )
    second_look = SecondLook(
        chain=chain,
        ask=prover.steps,
        store=engine.store,
        lease=lease,
        metrics=engine.metrics,
        now=engine.now,
    )
    async with asyncio.TaskGroup() as group:
        start = partial(run_agent, on_failure=engine.metrics.agent_failed)
        agents = [
            group.create_task(start(prover, bells.prover, idle_s=poll_s)),
            group.create_task(start(submitter, bells.submitter, idle_s=poll_s)),
            group.create_task(start(second_look, Bell(), idle_s=LOOK_EVERY_S)),
        ]
        await roster.grown(beyond=len(signers))
        for agent in agents:
            agent.cancel()


async def _signer_lanes(
    engine: Engine, chain: ChainClient, signers: Sequence[Signer], lease: Lease
) -> list[SignerLane]:
    """One for each signer, and one without a key for each former one with unsettled intents."""
    keys: dict[Address, Signer | None] = {one.address: one for one in signers}
    for address in await engine.store.signers(chain.chain_id):
        keys.setdefault(address, None)
    return [
        SignerLane(
            chain=chain,
            address=address,
            signer=signer,
            store=engine.store,
            lease=lease,
            pauses=engine.pauses,
            metrics=engine.metrics,
            now=engine.now,
        )
        for address, signer in keys.items()
    ]
