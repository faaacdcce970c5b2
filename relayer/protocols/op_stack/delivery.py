"""What each withdrawal needs next: over already? proved well? both clocks run out? a new proof?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from relayer.adapter import Call, ChainReader, Done, Refuse, Step, View, Wait
from relayer.errors import BadChainData, Permanent, Transient
from relayer.message import Address, MessageId, Reason, Record, Route
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import read_flag
from relayer.protocols.op_stack.doubts import Doubts
from relayer.protocols.op_stack.finishing import Finishing
from relayer.protocols.op_stack.outcomes import Outcome, Outcomes
from relayer.protocols.op_stack.parcels import Parcel, Steps, Unproved, open_record
from relayer.protocols.op_stack.portal import Misfit, Portal, Rules
from relayer.protocols.op_stack.proven import PROOF_CLOCK, Proof, best_of, read_proofs
from relayer.protocols.op_stack.proving import Proving

SICK_RECHECK_S = 15.0
PAUSED_RECHECK_S = 30.0
OUTCOME_RECHECK_S = 60.0


@dataclass(frozen=True, slots=True)
class Ends:
    """What a bridge is between."""

    route: Route
    messengers: tuple[Address, Address]
    """Of the rollup and of layer 1."""
    l1: ChainReader


@dataclass(frozen=True, slots=True)
class _Standing:
    """How far layer 1 says a withdrawal has come."""

    is_finalized: bool
    is_relayed: bool = False
    """The messenger has called the target, and it took it."""
    is_replayable: bool = False
    """The messenger has called the target in vain."""


class Deliveries:
    """Finds the next steps of one bridge's withdrawals."""

    def __init__(
        self,
        ends: Ends,
        portal: Portal,
        outcomes: Outcomes,
        *,
        doubts: Doubts,
        proving: Proving,
        finishing: Finishing,
    ) -> None:
        self._ends = ends
        self._portal = portal
        self._outcomes = outcomes
        self._doubts = doubts
        self._proving = proving
        self._finishing = finishing

    async def next_steps(self, records: Sequence[Record]) -> Steps:
        """The next step of every record; raises `Transient` when layer 1 cannot be read."""
        steps: Steps = {}
        opened: list[Parcel] = []
        for record in records:
            one = open_record(record, self._ends.messengers)
            if isinstance(one, Parcel):
                opened.append(one)
            else:
                steps[record.id] = one
        if opened:
            try:
                await self._add_steps(opened, steps)
            except BadChainData as error:
                sick = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=SICK_RECHECK_S)
                steps.update((one.id, sick) for one in opened if one.id not in steps)
        return steps

    async def _add_steps(self, opened: Sequence[Parcel], steps: Steps) -> None:
        rules = await self._portal.rules()
        if isinstance(rules, Misfit):
            refusal = Refuse(Reason.UNSUPPORTED, rules.detail)
            steps.update((one.id, refusal) for one in opened)
            return
        left, replays = await self._unfinished(rules, opened, steps)
        rollup = self._ends.route.origin
        asked = [one.withdrawal for one in left]
        proofs = await read_proofs(self._ends.l1, rules, asked, rollup=rollup)
        latest = (await self._ends.l1.header("latest")).timestamp
        proofs = await self._doubts.judge(proofs, latest)
        unproved: list[Unproved] = []
        doubted: dict[MessageId, Wait] = {}
        finals: list[tuple[Parcel, Proof]] = []
        for one in left:
            mine = proofs[one.withdrawal.hash]
            proof = best_of(mine)
            bar = next((other.bar for other in mine if other.bar), "")
            if proof is None and bar:
                steps[one.id] = Wait(Reason.AWAITING_ROOT, bar)
                continue
            if proof is None or _was_put_off(one.record, proof):
                unproved.append(Unproved(one, _lost(mine)))
                continue
            wait = self._finishing.wait_for(proof, latest)
            if wait is not None and proof.doubt:
                unproved.append(Unproved(one, newer_than=proof.newer_than))
                doubted[one.id] = replace(wait, detail=f"{wait.detail}; {proof.doubt}")
            elif wait is None:
                finals.append((one, proof))
            else:
                steps[one.id] = wait
        await self._finishing.add_steps(rules, finals, replays, steps)
        await self._prove(rules, unproved, steps)
        for message_id, wait in doubted.items():
            if not isinstance(steps[message_id], Call):
                steps[message_id] = wait

    async def _prove(self, rules: Rules, unproved: Sequence[Unproved], steps: Steps) -> None:
        """Proofs need the rollup; one that is down stops no withdrawal that is proved already."""
        try:
            await self._proving.add_steps(rules, unproved, steps)
        except (Transient, Permanent) as error:
            sick = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=SICK_RECHECK_S)
            ids = (one.parcel.id for one in unproved)
            steps.update((one, sick) for one in ids if one not in steps)

    async def _unfinished(
        self, rules: Rules, opened: Sequence[Parcel], steps: Steps
    ) -> tuple[list[Parcel], list[Parcel]]:
        """What is not finalised yet, and what is but was called in vain and can be replayed."""
        paused, standings = await self._standings(rules, opened)
        left: list[Parcel] = []
        replays: list[Parcel] = []
        over: list[Parcel] = []
        for one in opened:
            standing = standings[one.id]
            if standing.is_relayed:
                steps[one.id] = Done("the messenger has called the target, which took it")
            elif paused:
                said = "the portal is paused"
                steps[one.id] = Wait(Reason.PAUSED, said, recheck_s=PAUSED_RECHECK_S)
            elif standing.is_replayable:
                replays.append(one)
            elif standing.is_finalized:
                over.append(one)
            else:
                left.append(one)
        if over:
            last = (await self._ends.l1.header("latest")).number
            found = await self._outcomes.of({one.id for one in over}, last)
            steps.update((one.id, _ended(one, found.get(one.id))) for one in over)
        return left, replays

    async def _standings(
        self, rules: Rules, opened: Sequence[Parcel]
    ) -> tuple[bool, dict[MessageId, _Standing]]:
        """Whether the portal is paused, and where each withdrawal stands, in one read."""
        messenger = self._ends.messengers[1]
        views = [View(rules.portal, contracts.PAUSED)]
        for one in opened:
            views.append(View(rules.portal, contracts.FINALIZED + one.withdrawal.hash))
            if one.relay is not None:
                views.append(View(messenger, contracts.SUCCESSFUL_MESSAGES + one.relay.hash))
                views.append(View(messenger, contracts.FAILED_MESSAGES + one.relay.hash))
        answers = iter(await self._ends.l1.read(views))
        paused = read_flag(next(answers), "OptimismPortal.paused")
        standings: dict[MessageId, _Standing] = {}
        for one in opened:
            is_final = read_flag(next(answers), "OptimismPortal.finalizedWithdrawals")
            if one.relay is None:
                standings[one.id] = _Standing(is_final)
                continue
            flags = [read_flag(next(answers), "L1CrossDomainMessenger") for _ in range(2)]
            standings[one.id] = _Standing(is_final, *flags)
        return paused, standings


def _ended(parcel: Parcel, outcome: Outcome | None) -> Step:
    """What a finalised withdrawal has come to that the messenger knows nothing of."""
    if outcome is None:
        if parcel.relay is None:
            return Done("the portal has finalised it, in blocks too old to look for its event")
        said = "finalised at the portal, but the messenger knows nothing of it"
        return Wait(Reason.SOURCE_UNREACHABLE, said, recheck_s=OUTCOME_RECHECK_S)
    if not outcome.success:
        detail = (
            f"finalised in {outcome.tx} with success=false: the one call of the withdrawal failed"
            " and the portal makes no other"
        )
        return Refuse(Reason.UNDELIVERABLE, detail, dead=True)
    if parcel.relay is None:
        return Done(f"the portal has finalised it in {outcome.tx}")
    said = f"finalised in {outcome.tx}, but the messenger does not show it: an endpoint lags"
    return Wait(Reason.SOURCE_UNREACHABLE, said, recheck_s=OUTCOME_RECHECK_S)


def _lost(proofs: Sequence[Proof]) -> str:
    """What became of the proofs that there are, for people; empty when there are none."""
    flawed = [proof for proof in proofs if proof.flaw]
    if not flawed:
        return ""
    return f"proved against {flawed[-1].against}, which is {flawed[-1].flaw}; "


def _was_put_off(record: Record, proof: Proof) -> bool:
    """Whether the clock of the proof that we wait for was started anew.

    A submitter may prove again at any time and so hold back a withdrawal that relies on them; then
    a proof of our own is made, which runs out whatever they do.
    """
    told = record.evidence.get(f"clock:{PROOF_CLOCK}")
    if proof.submitter is None or told is None:
        return False
    restarted = next(clock.at for clock in proof.clocks if clock.name == PROOF_CLOCK)
    return restarted > float(told)
