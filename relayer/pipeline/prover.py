"""Asks each bridge's adapter, in batches, what the due messages of one lane need next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import structlog

from relayer.adapter import Adapter, Call, Done, Refuse, Step, Wait
from relayer.chains import ChainClient
from relayer.errors import BadChainData, RelayerError
from relayer.message import BridgeName, Gate, MessageId, Reason, Record, Status, Timestamp
from relayer.ops.metrics import Metrics
from relayer.pipeline.inbox import Inbox, ReadyCall
from relayer.pipeline.pauses import OPERATORS, PauseBoard
from relayer.pipeline.policy import Policy
from relayer.store import Lease, Store

VISIBILITY_S = 60.0
"""What is claimed, and again what is handed over, comes back by itself after this long. Long, so
that a busy submitter's messages are not proved over and over; a dead holder's are recalled."""
SICK_RECHECK_S = 10.0
UNKNOWN_ROUTE_RECHECK_S = 30.0
BELIEVED_AFTER = 2


class Prover:
    """Turns due messages of one lane into waits, refusals and ready calls."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        adapters: Mapping[BridgeName, Adapter],
        store: Store,
        lease: Lease,
        policy: Policy,
        pauses: PauseBoard,
        metrics: Metrics,
        out: Inbox,
        on_ready: Callable[[], None],
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._adapters = adapters
        self._routes = {route for one in adapters.values() for route in one.routes()}
        self._store = store
        self._lease = lease
        self._policy = policy
        self._pauses = pauses
        self._metrics = metrics
        self._out = out
        self._on_ready = on_ready
        self._now = now
        self._must_recall = True
        self._log = structlog.get_logger("relayer").bind(agent=self.name)

    @property
    def name(self) -> str:
        return f"prover:{self._chain.name}"

    async def tick(self) -> bool:
        """Open gates, claim one batch of due messages and write down what each needs.

        First of all, and after any failure, what was claimed and is in nobody's hand is recalled:
        the lane's former holder may have died with it, or an answer of the store was lost.
        """
        try:
            return await self._tick()
        except BaseException:
            self._must_recall = True
            raise

    async def _tick(self) -> bool:
        if self._must_recall:
            await self._store.recall(self._lease, self._out.ids)
            self._must_recall = False
        await self._open_gates()
        limit = min(self._chain.settings.lane.claim, self._out.room)
        if limit <= 0:
            return False
        records = await self._store.claim_due(
            self._lease, self._now(), limit=limit, visibility_s=VISIBILITY_S
        )
        if not records:
            return False
        steps = await self.steps(records)
        await self._write_down(records, steps)
        return len(records) == limit

    async def steps(self, records: Sequence[Record]) -> dict[MessageId, Step]:
        """The next step of every record: pauses and policy first, then its bridge's adapter."""
        steps: dict[MessageId, Step] = {}
        by_bridge: dict[BridgeName, list[Record]] = {}
        for record in records:
            barred = self._barred(record)
            if barred is not None:
                steps[record.id] = barred
            else:
                by_bridge.setdefault(record.route.bridge, []).append(record)
        answers = await asyncio.gather(
            *(self._ask(bridge, group) for bridge, group in by_bridge.items())
        )
        for answer in answers:
            steps.update(answer)
        return steps

    def _barred(self, record: Record) -> Step | None:
        return (
            self._policy.admit(record)
            or self._pauses.wait_of(record)
            or self._policy.unpaid(record)
            or self._uncarried(record)
        )

    def _uncarried(self, record: Record) -> Wait | None:
        """No refusal: another replica may have been told of the route before us, and a
        configuration that took it away may bring it back."""
        if record.route in self._routes:
            return None
        text = f"route {record.route} is not in the configuration of the lane's holder"
        return Wait(Reason.UNSUPPORTED, text, recheck_s=UNKNOWN_ROUTE_RECHECK_S)

    async def _ask(self, bridge: BridgeName, records: list[Record]) -> Mapping[MessageId, Step]:
        """One bridge's answers; its failure is a wait for its own messages only."""
        try:
            return await self._adapters[bridge].next_steps(records)
        except BadChainData as error:
            if len(records) == 1:
                return {records[0].id: Refuse(Reason.INVALID_MESSAGE, str(error)[:300])}
        except RelayerError as error:
            # a node's refusal is not the message's fault
            sick = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=SICK_RECHECK_S)
            return {record.id: sick for record in records}
        except Exception:  # noqa: BLE001 - one poisonous message must not stop the others
            if len(records) == 1:
                self._log.exception("adapter_crashed", bridge=bridge, message_id=records[0].id)
                return {records[0].id: Wait(Reason.INTERNAL_ERROR, "see the log", recheck_s=300.0)}
        middle = len(records) // 2
        halves = records[:middle], records[middle:]
        answers = [await self._ask(bridge, half) for half in halves]
        return {**answers[0], **answers[1]}

    async def _open_gates(self) -> None:
        gates = await self._store.waiting_gates(self._lease.chain)
        by_bridge: dict[BridgeName, list[Gate]] = {}
        for gate in gates:
            by_bridge.setdefault(gate.bridge, []).append(gate)
        for gate in by_bridge.pop(OPERATORS, ()):
            if self._pauses.has_ended(gate):
                await self._store.open_gate(self._lease, gate, None)
        for bridge, group in by_bridge.items():
            adapter = self._adapters.get(bridge)
            if adapter is None:
                continue
            try:
                levels = await adapter.levels(group)
            except Exception as error:  # noqa: BLE001 - one bridge must not starve the others
                self._log.warning("gate_levels_unknown", bridge=bridge, error=repr(error)[:300])
                continue
            for gate in group:
                await self._store.open_gate(self._lease, gate, levels.get(gate))

    async def _write_down(self, records: Sequence[Record], steps: Mapping[MessageId, Step]) -> None:
        by_id = {record.id: record for record in records}
        waits: list[tuple[MessageId, Wait]] = []
        refusals: list[tuple[MessageId, Refuse, Mapping[str, str]]] = []
        done: list[tuple[Record, Done]] = []
        ready: list[ReadyCall] = []
        for message_id, record in by_id.items():
            match steps.get(message_id, Wait(Reason.INTERNAL_ERROR, "the adapter gave no answer")):
                case Wait() as wait:
                    waits.append((message_id, wait))
                    self._metrics.reason(record.route, wait.reason)
                case Refuse() as refuse:
                    refusals.append((message_id, refuse, {}))
                    self._metrics.reason(record.route, refuse.reason)
                case Done() as finished:
                    done.append((record, finished))
                case Call() as call:
                    ready.append(ReadyCall(record, call))
        if waits:
            await self._store.note_waits(self._lease, waits)
        if refusals:
            await self._store.note_refused(self._lease, refusals)
        if done:
            await self._note_done(done)
        await self._hand_over(ready)

    async def _note_done(self, done: Sequence[tuple[Record, Done]]) -> None:
        """Delivered, says the inbox at its latest block; final once the follower says so.

        An inbox that kept saying so while final blocks passed twice without an event that we
        follow (delivered before our start block, say) is believed.
        """
        block = (await self._chain.header("latest")).number
        events_missed = {record.id for record, _ in done if _reopened(record) >= BELIEVED_AFTER}
        seen = [(record.id, block, None, False, finished.detail) for record, finished in done]
        final = [one for one in seen if one[0] in events_missed]
        fresh = [one for one in seen if one[0] not in events_missed]
        if fresh:
            await self._store.note_included(self._lease, fresh)
        if final:
            await self._store.note_delivered(self._lease, final)

    async def _hand_over(self, ready: Sequence[ReadyCall]) -> None:
        if not ready:
            return
        ids = [item.record.id for item in ready]
        moved_on = set(await self._store.note_ready(self._lease, ids, visibility_s=VISIBILITY_S))
        for item in ready:
            if item.record.id in moved_on:
                continue
            self._metrics.stage(
                item.record.route, "seen_to_ready", self._now() - item.record.seen_at
            )
        self._out.put([item for item in ready if item.record.id not in moved_on])
        self._on_ready()


def _reopened(record: Record) -> int:
    """How often an inclusion of this message passed finality without a delivery event."""
    return sum(
        seen.status is Status.INCLUDED and then.reason is Reason.REORGED
        for seen, then in pairwise(record.timeline)
    )
