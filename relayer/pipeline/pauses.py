"""What operators have paused, as the engine sees it: read from the store on a slow beat.

A replica that cannot read it goes on with what it last knew, and starts nothing before it has
read it once. What waits for a pause to end waits at a gate, so that it goes on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from relayer.acts import Pause, Target
from relayer.adapter import Wait
from relayer.errors import RelayerError
from relayer.message import Address, BridgeName, ChainId, Gate, Reason, Record, Route
from relayer.ops.views import iso
from relayer.pipeline.loop import Agent

READ_EVERY_S = 1.0
RECHECK_S = 600.0
"""The gate wakes them; this is for a gate that was lost."""
SIGNER_RECHECK_S = 15.0
"""Any signer that is resumed will do, and the gate is of one of them."""
OPERATORS = BridgeName("~operators")
"""No bridge can have this name: the gates of pauses are told from those of bridges by it."""


class PauseReader(Protocol):
    """The part of the store that knows what is paused."""

    async def pauses(self) -> Sequence[Pause]:
        """Everything that is paused."""
        ...


class PauseBoard:
    """What is paused now; `names` are the configured chains'."""

    def __init__(
        self,
        store: PauseReader,
        *,
        names: Mapping[ChainId, str],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._names = names
        self._on_change = on_change
        self._turn = asyncio.Lock()
        self._paused: dict[Target, Pause] = {}
        self._log = structlog.get_logger("relayer")
        self.known = asyncio.Event()
        """Set as soon as it has been read once."""

    async def watch(self) -> None:
        """Read it again and again, until cancelled."""
        while True:
            try:
                await self.refresh()
            except RelayerError as error:
                self._log.warning("pauses_unreadable", error=str(error)[:300])
            await asyncio.sleep(READ_EVERY_S)

    async def refresh(self) -> None:
        """Read it now; a change is logged and told."""
        async with self._turn:  # an answer that was under way must not come over a newer one
            paused = {pause.target: pause for pause in await self._store.pauses()}
            before, self._paused = self._paused, paused
        self.known.set()
        for target in paused.keys() - before.keys():
            pause = paused[target]
            self._log.warning("paused", what=str(target), by=pause.who, why=pause.why)
        for target in before.keys() - paused.keys():
            self._log.info("resumed", what=str(target))
        if before.keys() != paused.keys():
            self._on_change()

    def all(self) -> list[Pause]:
        """Everything that is paused, in order."""
        return [self._paused[target] for target in sorted(self._paused)]

    def of(self, target: Target) -> Pause | None:
        """The pause of one thing, None while it goes on."""
        return self._paused.get(target)

    def wait_of(self, record: Record) -> Wait | None:
        """Why a message may not be carried now, None when it may."""
        if not self._paused:
            return None
        for target in _targets_of(record.route):
            pause = self._paused.get(target)
            if pause is not None:
                return self._wait(pause, RECHECK_S)
        return None

    def signers_wait(self, signers: Sequence[Address]) -> Wait | None:
        """Why nothing can be sent: every one of the lane's signers is paused."""
        pauses = [self._paused.get(Target.signer(address)) for address in signers]
        if not pauses or pauses[0] is None or None in pauses:
            return None
        return self._wait(pauses[0], SIGNER_RECHECK_S)

    def has_ended(self, gate: Gate) -> bool:
        """Whether what waits at a gate of ours may go on."""
        return gate.name not in {str(target) for target in self._paused}

    def _wait(self, pause: Pause, recheck_s: float) -> Wait:
        target = pause.target
        name = self._names.get(_chain_of(target), target.name)
        detail = f"{target.kind} {name} is paused by {pause.who} since {iso(pause.since)}"
        if pause.why:
            detail += f": {pause.why}"
        gate = Gate(OPERATORS, str(target))
        return Wait(Reason.PAUSED, detail, gate=gate, recheck_s=recheck_s)


class PausableAgent:
    """An agent of a chain that rests while the chain is paused."""

    def __init__(self, agent: Agent, chain: ChainId, pauses: PauseBoard) -> None:
        self._agent = agent
        self._target = Target.chain(chain)
        self._pauses = pauses

    @property
    def name(self) -> str:
        return self._agent.name

    async def tick(self) -> bool:
        """Nothing while the chain is paused, else what the agent does."""
        if self._pauses.of(self._target) is not None:
            return False
        return await self._agent.tick()


def _targets_of(route: Route) -> tuple[Target, ...]:
    return (
        Target.route(route),
        Target.lane(route.destination),
        Target.chain(route.destination),
        Target.chain(route.origin),
    )


def _chain_of(target: Target) -> ChainId:
    return ChainId(int(target.name)) if target.name.isdecimal() else ChainId(0)
