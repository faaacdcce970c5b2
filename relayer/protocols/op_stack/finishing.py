"""Finalises what is proved, and replays what the messenger has called in vain.

A plain withdrawal has one call for ever, whether it succeeds or not: it is tried out for free
first, and sent alone, where no neighbour can burn its gas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relayer.adapter import Call, Step, Wait
from relayer.message import Address, Gas, Gate, Reason, Record, Timestamp
from relayer.protocols.op_stack.parcels import Parcel, Steps
from relayer.protocols.op_stack.portal import Rules
from relayer.protocols.op_stack.proven import Proof
from relayer.protocols.op_stack.trials import Trial, Trials

CLOCK_RECHECK_S = 3600.0
UNTRIED_RECHECK_S = 60.0
"""The gate wakes what waits for a time; this is for the case that we missed it."""
TARGET_SOONEST_S, TARGET_LATEST_S = 10.0, 3600.0
"""Bounds of the pause before a target that refused is tried out again."""
UNDECIDED_SOONEST_S, UNDECIDED_LATEST_S = 5.0, 600.0
"""Bounds of the pause before a game that is overdue is looked at again."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A call that would be made now if the target takes it."""

    parcel: Parcel
    to: Address
    data: bytes
    what: str
    shareable: bool
    evidence: dict[str, str]


class Finishing:
    """Finds the last steps of one bridge's withdrawals."""

    def __init__(
        self,
        trials: Trials,
        *,
        messenger: Address,
        clock: Gate,
        now: Callable[[], Timestamp],
    ) -> None:
        self._trials = trials
        self._messenger = messenger
        self._clock = clock
        self._now = now

    def wait_for(self, proof: Proof, latest: float) -> Wait | None:
        """What a proof waits for at the latest block's time; None when it can be used."""
        if proof.due > latest:
            clocks = ", ".join(f"{clock.name} {clock.at:.0f}" for clock in proof.clocks)
            return Wait(
                Reason.AWAITING_TIME,
                f"proved against {proof.against}; {clocks}",
                self._clock,
                proof.due,
                recheck_s=CLOCK_RECHECK_S,
                clocks=proof.clocks,
            )
        if not proof.is_open:
            return None
        overdue_s = latest - proof.due
        pause_s = min(UNDECIDED_LATEST_S, max(UNDECIDED_SOONEST_S, overdue_s / 10))
        detail = f"proved against {proof.against}, which nobody has resolved for {overdue_s:.0f} s"
        return Wait(Reason.AWAITING_TIME, detail, recheck_s=pause_s, clocks=proof.clocks)

    async def add_steps(
        self,
        rules: Rules,
        finals: Sequence[tuple[Parcel, Proof]],
        replays: Sequence[Parcel],
        steps: Steps,
    ) -> None:
        """A call for each whose target takes it, a wait for each other."""
        ready = [_finalize(rules, parcel, proof) for parcel, proof in finals]
        ready += [self._replay(parcel) for parcel in replays]
        due: list[_Ready] = []
        for one in ready:
            pause_s = self._pause_left_s(one.parcel.record)
            if pause_s > 0:
                record = one.parcel.record
                steps[record.id] = Wait(record.reason, record.detail, recheck_s=pause_s)
            else:
                due.append(one)
        trials = await self._trials.run([(one.to, one.data) for one in due])
        for one, trial in zip(due, trials, strict=True):
            steps[one.parcel.id] = self._step(one, trial)

    def _replay(self, parcel: Parcel) -> _Ready:
        assert parcel.relay is not None  # only cross-domain messages can be replayed
        data = parcel.relay.encode()
        evidence = {"message_hash": "0x" + parcel.relay.hash.hex()}
        return _Ready(parcel, self._messenger, data, "replay", True, evidence)

    def _pause_left_s(self, record: Record) -> float:
        """Seconds that a message whose target failed on chain is still left alone.

        The log of that failure wakes it, so the pause after it is kept here.
        """
        if record.reason is not Reason.TARGET_FAILED or record.attempts == 0:
            return 0.0
        pause_s = min(TARGET_LATEST_S, TARGET_SOONEST_S * 2.0 ** min(record.attempts - 1, 10))
        return pause_s - (self._now() - record.since)

    def _step(self, ready: _Ready, trial: Trial) -> Step:
        parcel = ready.parcel
        if trial.is_target_failing:
            recipient = parcel.record.message.recipient
            detail = f"a trial fails: {recipient} reverts, or there is too little money to pay out"
            age_s = self._now() - parcel.record.seen_at
            pause_s = min(TARGET_LATEST_S, max(TARGET_SOONEST_S, age_s / 4))
            return Wait(Reason.TARGET_FAILED, detail, recheck_s=pause_s)
        if not trial.is_known and not ready.shareable:
            detail = "its only call is not made untried, and no endpoint can try it out"
            return Wait(Reason.SOURCE_UNREACHABLE, detail, recheck_s=UNTRIED_RECHECK_S)
        return Call(
            message_id=parcel.id,
            to=ready.to,
            data=ready.data,
            gas_floor=Gas(0) if trial.gas is None else trial.gas,
            shareable=ready.shareable and trial.gas is not None,
            what=ready.what,
            evidence={**ready.evidence, "trial": trial.detail},
        )


def _finalize(rules: Rules, parcel: Parcel, proof: Proof) -> _Ready:
    evidence = {"against": proof.against}
    if proof.submitter is not None:
        evidence["submitter"] = proof.submitter
    data = parcel.withdrawal.finalize_call(proof.submitter)
    is_replayable = parcel.relay is not None
    return _Ready(parcel, rules.portal, data, "finalize", is_replayable, evidence)
