"""What each message needs next: relayed already? safe? still where it was? let through?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from relayer.abi import version_of
from relayer.adapter import Call, ChainReader, Clock, Done, Refuse, Step, View, ViewResult, Wait
from relayer.errors import BadChainData, Transient
from relayer.message import ChainId, MessageId, Reason, Record, Route, Timestamp
from relayer.protocols.op_interop import contracts
from relayer.protocols.op_interop.contracts import MESSENGER, decode_message
from relayer.protocols.op_interop.identifier import Identifier
from relayer.protocols.op_interop.origin import Missing, Opened, Origin
from relayer.protocols.op_interop.reverts import classify_words
from relayer.protocols.op_interop.safety import SafeBlocks
from relayer.protocols.op_interop.settings import EXPIRY_S, CodelessTargets, Safety
from relayer.protocols.op_interop.supervisor import Supervisor, is_paused
from relayer.protocols.op_interop.targets import Targets

SAFE_RECHECK_S = 60.0
"""The gate wakes what waits for a safer block; this is for the case that we missed it."""
GONE_RECHECK_S = 2.0
SICK_RECHECK_S = 10.0
PAUSED_RECHECK_S = 15.0
FILTER_RECHECK_S = 10.0
CODE_RECHECK_S = 60.0
UNSAFE_TARGETS_SINCE = (2, 0, 0)
"""Messenger version that relays nothing to `contracts.UNSAFE_TARGETS`."""

Steps = dict[MessageId, Step]


@dataclass(frozen=True, slots=True)
class Port:
    """One destination chain as the steps are found with it."""

    reader: ChainReader
    targets: Targets
    supervisor: Supervisor | None


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's rules."""

    safety: Mapping[Route, Safety]
    expiry_margin_s: float
    codeless_targets: CodelessTargets


@dataclass(frozen=True, slots=True)
class Placed:
    """A message with the identifier that the source chain has for it now."""

    opened: Opened
    identifier: Identifier

    @property
    def keys(self) -> tuple[bytes, ...]:
        return self.identifier.access_keys(self.opened.message.log_payload())


class Deliveries:
    """Finds the next steps of one bridge's messages."""

    def __init__(
        self,
        *,
        ports: Mapping[ChainId, Port],
        origins: Mapping[ChainId, Origin],
        safe_blocks: SafeBlocks,
        rules: Rules,
        now: Callable[[], Timestamp],
    ) -> None:
        self._ports = ports
        self._origins = origins
        self._safe_blocks = safe_blocks
        self._rules = rules
        self._now = now

    async def next_steps(self, records: Sequence[Record]) -> Steps:
        """The next step of every record; raises `Transient` when a destination cannot be read."""
        steps: Steps = {}
        by_destination: dict[ChainId, list[Opened]] = {}
        for record in records:
            one = self._open(record)
            if isinstance(one, Opened):
                by_destination.setdefault(record.route.destination, []).append(one)
            else:
                steps[record.id] = one
        for destination, group in by_destination.items():
            await self._to(self._ports[destination], group, steps)
        return steps

    def _open(self, record: Record) -> Opened | Refuse:
        """Check that the stored message is what its id says and belongs here."""
        route = record.route
        try:
            message = decode_message(record.message.payload)
        except BadChainData as error:
            return Refuse(Reason.INVALID_MESSAGE, str(error), dead=True)
        ends = (message.source, message.destination)
        if "0x" + message.hash.hex() != record.id or ends != (route.origin, route.destination):
            return Refuse(Reason.INVALID_MESSAGE, "payload does not hash to the id", dead=True)
        return Opened(record, message)

    async def _to(self, port: Port, opened: Sequence[Opened], steps: Steps) -> None:
        """Steps of messages to one destination."""
        left = await self._unrelayed(port, opened, steps)
        by_route: dict[Route, list[Opened]] = {}
        for one in left:
            by_route.setdefault(one.record.route, []).append(one)
        groups = await asyncio.gather(
            *(self._place(route, group, steps) for route, group in by_route.items())
        )
        placed = [one for group in groups for one in group]
        if not placed:
            return
        latest = (await port.reader.header("latest")).timestamp
        placed = self._in_time(placed, max(latest, self._now()), steps)
        placed = await self._welcome(port, placed, steps)
        for free in await self._let_through(port, placed, int(latest), steps):
            steps[free.opened.id] = self._call(free)

    async def _unrelayed(self, port: Port, opened: Sequence[Opened], steps: Steps) -> list[Opened]:
        """What the destination has not relayed, when its messenger is one that we know."""
        views = [
            View(MESSENGER, contracts.SUCCESSFUL_MESSAGES + one.message.hash) for one in opened
        ]
        answers = await port.reader.read([View(MESSENGER, contracts.VERSION), *views])
        version = version_of(answers[0].data) if answers[0].ok else None
        left: list[Opened] = []
        for one, answer in zip(opened, answers[1:], strict=True):
            step = _relayed(answer) or _unfit(one, version)
            if step is None:
                left.append(one)
            else:
                steps[one.id] = step
        return left

    async def _place(self, route: Route, opened: Sequence[Opened], steps: Steps) -> list[Placed]:
        """Those whose block is safe enough and that are still in it; a sick source only waits."""
        try:
            safe = await self._safe_enough(route, opened, steps)
            found = await self._origins[route.origin].identify(safe) if safe else {}
        except Transient as error:
            detail = f"chain {route.origin} cannot be read: {error}"[:300]
            sick = Wait(Reason.SOURCE_UNREACHABLE, detail, recheck_s=SICK_RECHECK_S)
            steps.update((one.id, sick) for one in opened if one.id not in steps)
            return []
        placed: list[Placed] = []
        for one in safe:
            where = found[one.id]
            if isinstance(where, Missing):
                steps[one.id] = Wait(
                    Reason.AWAITING_FINALITY,
                    where.detail,
                    recheck_s=GONE_RECHECK_S,
                    disproved=True,
                )
            else:
                placed.append(Placed(one, where))
        return placed

    async def _safe_enough(
        self, route: Route, opened: Sequence[Opened], steps: Steps
    ) -> list[Opened]:
        safety = self._rules.safety[route]
        if safety is Safety.UNSAFE:
            return list(opened)
        newest = await self._safe_blocks.newest(route.origin, safety)
        gate = self._safe_blocks.gate(route.origin, safety)
        for one in opened:
            if one.at.block > newest:
                detail = f"block {one.at.block}: chain {route.origin} is {safety} up to {newest}"
                steps[one.id] = Wait(
                    Reason.AWAITING_FINALITY,
                    detail,
                    gate,
                    one.at.block,
                    recheck_s=SAFE_RECHECK_S,
                )
        return [one for one in opened if one.at.block <= newest]

    def _in_time(self, placed: Sequence[Placed], now: float, steps: Steps) -> list[Placed]:
        """Those that no node will find too old, or from the future."""
        left: list[Placed] = []
        for one in placed:
            said_at = one.identifier.timestamp
            expires_at = Timestamp(said_at + EXPIRY_S)
            if now > expires_at - self._rules.expiry_margin_s:
                detail = (
                    f"expires at {expires_at:.0f}, 7 days after it was sent, and may not be"
                    f" relayed in the last {self._rules.expiry_margin_s:.0f} s (expiry_margin_s)"
                )
                steps[one.opened.id] = Refuse(Reason.UNDELIVERABLE, detail)
            elif said_at > now:
                steps[one.opened.id] = Wait(
                    Reason.AWAITING_TIME,
                    f"sent at {said_at}, which has not come yet on the destination",
                    recheck_s=said_at - now,
                    clocks=(Clock("sent", Timestamp(said_at)),),
                )
            else:
                left.append(one)
        return left

    async def _welcome(self, port: Port, placed: Sequence[Placed], steps: Steps) -> list[Placed]:
        """Those whose target has code: without, the relay succeeds and does nothing, for ever."""
        policy = self._rules.codeless_targets
        if policy is CodelessTargets.DELIVER or not placed:
            return list(placed)
        empty = await port.targets.without_code({one.opened.message.target for one in placed})
        for one in placed:
            if one.opened.message.target not in empty:
                continue
            detail = f"target {one.opened.message.target} has no code (codeless_targets)"
            if policy is CodelessTargets.WAIT:
                steps[one.opened.id] = Wait(
                    Reason.AWAITING_TARGET, detail, recheck_s=CODE_RECHECK_S
                )
            else:
                steps[one.opened.id] = Refuse(Reason.DENIED_BY_POLICY, detail)
        return [one for one in placed if one.opened.message.target not in empty]

    async def _let_through(
        self, port: Port, placed: Sequence[Placed], timestamp: int, steps: Steps
    ) -> list[Placed]:
        """Those that the destination's supervisor has nothing against, if it has one."""
        if port.supervisor is None or not placed:
            return list(placed)
        try:
            refusals = await port.supervisor.refusals([one.keys for one in placed], timestamp)
        except Transient as error:
            sick = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=SICK_RECHECK_S)
            steps.update((one.opened.id, sick) for one in placed)
            return []
        left: list[Placed] = []
        for one, refusal in zip(placed, refusals, strict=True):
            if refusal is None:
                left.append(one)
            else:
                steps[one.opened.id] = _refused(refusal)
        return left

    def _call(self, placed: Placed) -> Call:
        opened, identifier, keys = placed.opened, placed.identifier, placed.keys
        evidence = {
            "block": str(identifier.block),
            "log_index": str(identifier.log_index),
            "timestamp": str(identifier.timestamp),
            "source": str(identifier.chain_id),
            "access_list": f"{contracts.INBOX}: " + " ".join("0x" + key.hex() for key in keys),
            "safety": self._rules.safety[opened.record.route].value,
        }
        return Call(
            message_id=opened.id,
            to=MESSENGER,
            data=opened.message.relay_call(identifier.words()),
            access_list=((contracts.INBOX, keys),),
            evidence=evidence,
        )


def _relayed(answer: ViewResult) -> Step | None:
    """What `successfulMessages(hash)` says, None when it says no."""
    if not answer.ok or len(answer.data) != 32:
        why = "L2ToL2CrossDomainMessenger does not answer: interop is not active there?"
        return Wait(Reason.SOURCE_UNREACHABLE, why, recheck_s=SICK_RECHECK_S)
    return Done("the messenger has relayed it") if any(answer.data) else None


def _unfit(one: Opened, version: tuple[int, ...] | None) -> Step | None:
    """Why this messenger cannot take this message from us, None when it can."""
    if version is None:
        why = "L2ToL2CrossDomainMessenger does not tell its version"
        return Wait(Reason.SOURCE_UNREACHABLE, why, recheck_s=SICK_RECHECK_S)
    if version[0] not in contracts.KNOWN_MAJORS:
        told = ".".join(map(str, version))
        return Refuse(Reason.UNSUPPORTED, f"L2ToL2CrossDomainMessenger {told} is new to us")
    if version >= UNSAFE_TARGETS_SINCE and one.message.target in contracts.UNSAFE_TARGETS:
        why = f"no message may call {one.message.target} (MessageTargetUnsafe)"
        return Refuse(Reason.UNDELIVERABLE, why, dead=True)
    return None


def _refused(refusal: str) -> Step:
    """What the supervisor's word means. Nothing is spent on it, so it is only asked again."""
    detail = f"supervisor: {refusal}"
    if is_paused(refusal):
        return Wait(Reason.PAUSED, detail, recheck_s=PAUSED_RECHECK_S)
    verdict = classify_words(refusal)
    reason = Reason.SOURCE_UNREACHABLE if verdict is None else verdict.reason
    return Wait(reason, detail, recheck_s=FILTER_RECHECK_S)
