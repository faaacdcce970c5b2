"""What becomes of a call that failed before it was sent, or that was mined in vain.

An adapter says what a failure means, from words that the recipient may have chosen. They may put
its own message off, longer each time; only the inbox's own answer makes a message delivered.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import structlog

from relayer.adapter import Action, Adapter, Done, Outcome, Refuse, Verdict, Wait
from relayer.chains import ChainClient
from relayer.chains.transactions import SendProblem, classify_send_error
from relayer.errors import CallReverted, RelayerError, RpcRefused
from relayer.message import BridgeName, Reason, Record, Timestamp
from relayer.ops.metrics import Metrics
from relayer.pipeline.inbox import ReadyCall
from relayer.pipeline.packing import Failed, revert_of
from relayer.pipeline.retry import RetryPolicy
from relayer.store import Failure, Lease, Store

POOR_RECHECK_S = 30.0
UNSIMULATED_RECHECK_S = 5.0
SOONEST_S, LATEST_S = 15.0, 3600.0
"""A wait that a failed simulation asks for is looked at again after a quarter of the time since it
was first refused, within these bounds: anybody can say `paused`."""


class Judge:
    """Writes down what failures mean for their messages; one for each lane."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        adapters: Mapping[BridgeName, Adapter],
        store: Store,
        lease: Lease,
        metrics: Metrics,
        now: Callable[[], Timestamp],
        rng: random.Random,
    ) -> None:
        self._chain = chain
        self._adapters = adapters
        self._store = store
        self._lease = lease
        self._metrics = metrics
        self._now = now
        self._rng = rng
        self._retry = RetryPolicy(chain.settings.lane.max_attempts)
        self._log = structlog.get_logger("relayer").bind(agent=f"submitter:{chain.name}")

    async def note(self, failed: Failed) -> None:
        """A call that was not sent: a limit of ours, a revert, or a node's trouble."""
        record, error = failed.item.record, failed.error
        if error is None and failed.dead:
            await self._refuse(record, Refuse(failed.reason, failed.detail, dead=True), {})
        elif error is None:
            await self._spend(record, self.failure(record, failed.reason, failed.detail, {}))
        elif isinstance(error, CallReverted):
            await self.judge(failed.item, error)
        else:
            await self._wait(record, _trouble(error))

    async def judge(self, item: ReadyCall, error: RelayerError) -> None:
        """Let the adapter say what a failed simulation means, and write that down."""
        record, revert = item.record, revert_of(error)
        outcome = Outcome(revert=revert, text=str(error)[:500], mined=False)
        verdict = self.verdict(item, outcome)
        evidence = {"revert": "0x" + revert.hex(), "text": str(error)[:500]}
        self._metrics.reason(record.route, verdict.reason)
        match verdict.action:
            case Action.DONE:
                await self._look(record, verdict, evidence)
            case Action.WAIT:
                await self._be_patient(record, verdict, evidence)
            case Action.RETRY:
                failure = self.failure(record, verdict.reason, verdict.detail, evidence)
                await self._spend(record, failure)
            case Action.HOLD | Action.DEAD:
                dead = verdict.action is Action.DEAD
                refuse = Refuse(verdict.reason, verdict.detail, dead=dead)
                await self._refuse(record, refuse, evidence)

    def verdict(self, item: ReadyCall, outcome: Outcome) -> Verdict:
        """The adapter's word on a failure; its bug costs the message an attempt, nobody else."""
        adapter = self._adapters[item.record.route.bridge]
        try:
            return adapter.classify(item.record, item.call, outcome)
        except Exception:  # noqa: BLE001 - one poisonous message must not stop the others
            self._log.exception("adapter_crashed", message_id=item.record.id)
            return Verdict(Action.RETRY, Reason.INTERNAL_ERROR, "see the log")

    def failure(
        self, record: Record, reason: Reason, detail: str, evidence: Mapping[str, str]
    ) -> Failure:
        """One attempt spent: back off, or the dead letters when attempts run out."""
        delay = self._retry.delay_s(record.attempts + 1, self._rng)
        wake_at = None if delay is None else Timestamp(self._now() + delay)
        return Failure(record.id, reason, detail, evidence, wake_at)

    def report(self, record: Record, failure: Failure) -> None:
        """Count a failure that has been written down, and tell of the last one."""
        self._metrics.reason(record.route, failure.reason)
        if failure.wake_at is None:
            self._log.error(
                "message_dead", message_id=record.id, reason=failure.reason, detail=failure.detail
            )

    async def _look(self, record: Record, verdict: Verdict, evidence: Mapping[str, str]) -> None:
        """Delivered already, the failure says: only the inbox's own answer counts."""
        adapter = self._adapters[record.route.bridge]
        try:
            step = (await adapter.next_steps([record])).get(record.id)
        except RelayerError as error:
            await self._wait(record, _trouble(error))
            return
        if isinstance(step, Done):
            block = (await self._chain.header("latest")).number
            included = (record.id, block, None, False, step.detail or verdict.detail)
            await self._store.note_included(self._lease, [included])
            return
        detail = f"says {verdict.detail!r}, but the inbox has it not"
        await self._spend(record, self.failure(record, Reason.TARGET_FAILED, detail, evidence))

    async def _be_patient(
        self, record: Record, verdict: Verdict, evidence: Mapping[str, str]
    ) -> None:
        """Wait longer each time, and not for ever: the words may be the recipient's own."""
        since = self._now() if record.refused_since is None else record.refused_since
        refused_s, most_s = self._now() - since, self._chain.settings.lane.max_refused_s
        if refused_s >= most_s:
            detail = f"{verdict.detail}; so it was for {most_s:.0f} s (lane.max_refused_s)"
            refuse = Refuse(Reason.RETRIES_EXHAUSTED, detail, dead=True)
            await self._refuse(record, refuse, evidence)
            return
        pause_s = min(LATEST_S, max(SOONEST_S, refused_s / 4))
        wait = Wait(verdict.reason, verdict.detail, recheck_s=pause_s)
        await self._store.note_waits(self._lease, [(record.id, wait)], refused=True)

    async def _spend(self, record: Record, failure: Failure) -> None:
        await self._store.note_failures(self._lease, [failure])
        self.report(record, failure)

    async def _refuse(self, record: Record, refuse: Refuse, evidence: Mapping[str, str]) -> None:
        await self._store.note_refused(self._lease, [(record.id, refuse, evidence)])

    async def _wait(self, record: Record, wait: Wait) -> None:
        await self._store.note_waits(self._lease, [(record.id, wait)])


def _trouble(error: RelayerError) -> Wait:
    """A simulation that failed for a reason that is not the message's: it only waits."""
    detail = str(error)[:300]
    refused = isinstance(error, RpcRefused) and classify_send_error(error.text)
    if refused is SendProblem.INSUFFICIENT_FUNDS:
        return Wait(Reason.INSUFFICIENT_BALANCE, detail, recheck_s=POOR_RECHECK_S)
    return Wait(Reason.SOURCE_UNREACHABLE, detail, recheck_s=UNSIMULATED_RECHECK_S)
