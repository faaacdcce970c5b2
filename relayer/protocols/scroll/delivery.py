"""What each message needs next: delivered already? a root that covers it? a willing target?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relayer.abi import word
from relayer.adapter import (
    Call,
    ChainReader,
    Done,
    Refuse,
    Step,
    TreeReader,
    View,
    ViewResult,
    Wait,
)
from relayer.errors import BadChainData, Transient
from relayer.keccak import keccak256
from relayer.message import Address, Gas, Gate, MessageId, Reason, Record, Route, Timestamp, TreeId
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.contracts import Withdrawal, decode_withdrawal
from relayer.protocols.scroll.roots import Accepted, AcceptedRoots, Missing
from relayer.protocols.scroll.trials import Delivery, Trial, Trials
from relayer.trees.append_only import root_from_proof

ROOT_RECHECK_S = 300.0
"""The gate wakes what waits for a root; this is for the case that we missed it."""
LEAF_RECHECK_S = 10.0
SICK_RECHECK_S = 30.0
TARGET_SOONEST_S = 10.0
TARGET_LATEST_S = 3600.0
"""Bounds of the pause before a target that refused a message is tried out again."""
INTRINSIC_GAS = 21_000
CALLDATA_GAS_PER_BYTE = 16
COLD_GAS = 30_000
"""Slots and accounts that an earlier delivery of the same trial had warmed up, rounded up."""

Steps = dict[MessageId, Step]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A stored message that is what its id says."""

    record: Record
    withdrawal: Withdrawal
    leaf: bytes

    @property
    def id(self) -> MessageId:
        return self.record.id

    @property
    def index(self) -> int:
        return self.withdrawal.nonce


@dataclass(frozen=True, slots=True)
class _Proved:
    opened: _Opened
    siblings: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Outpost:
    """The contracts and readers that the steps are found with."""

    route: Route
    tree: TreeId
    leaves: Gate
    """Opens for a message when the newest accepted root covers its leaf."""
    l1: ChainReader
    l1_messenger: Address
    scroll_chain: Address
    l2: ChainReader
    queue: Address
    trees: Callable[[], TreeReader]
    now: Callable[[], Timestamp]


class Deliveries:
    """Finds the next steps of one bridge's messages."""

    def __init__(self, outpost: Outpost, roots: AcceptedRoots, trials: Trials) -> None:
        self._at = outpost
        self._roots = roots
        self._trials = trials

    async def next_steps(self, records: Sequence[Record]) -> Steps:
        """The next step of every record; raises `Transient` when layer 1 cannot be read."""
        steps: Steps = {}
        opened: list[_Opened] = []
        for record in records:
            one = self._open(record)
            if isinstance(one, _Opened):
                opened.append(one)
            else:
                steps[record.id] = one
        if opened:
            accepted, missing = await self._roots.newest()
            left = await self._undelivered(opened, accepted, steps)
            left = await self._covered(left, accepted, missing, steps)
            if accepted is not None:
                await self._carry(await self._proved(left, accepted, steps), accepted, steps)
        return steps

    def _open(self, record: Record) -> _Opened | Refuse:
        """Check that the stored message is what its id says and belongs here."""
        try:
            withdrawal = decode_withdrawal(record.message.payload)
        except BadChainData as error:
            return Refuse(Reason.INVALID_MESSAGE, str(error), dead=True)
        leaf = keccak256(record.message.payload)
        if "0x" + leaf.hex() != record.id:
            return Refuse(Reason.INVALID_MESSAGE, "payload does not hash to the id", dead=True)
        return _Opened(record, withdrawal, leaf)

    async def _undelivered(
        self, opened: Sequence[_Opened], accepted: Accepted | None, steps: Steps
    ) -> list[_Opened]:
        """What the messenger has not executed, while the accepted root still stands on chain."""
        at = self._at
        views = [View(at.l1_messenger, contracts.IS_EXECUTED + one.leaf) for one in opened]
        if accepted is not None:
            stored = contracts.WITHDRAW_ROOTS + word(accepted.batch)
            views.append(View(at.scroll_chain, stored))
        answers = await at.l1.read(views)
        obstacle = None if accepted is None else _root_gone(accepted, answers[-1])
        left: list[_Opened] = []
        for one, answer in zip(opened, answers, strict=False):
            step = _executed(answer) or obstacle
            if step is None:
                left.append(one)
            else:
                steps[one.id] = step
        return left

    async def _covered(
        self,
        opened: Sequence[_Opened],
        accepted: Accepted | None,
        missing: Missing | None,
        steps: Steps,
    ) -> list[_Opened]:
        """Those whose leaf the accepted root covers; the others wait at the gate."""
        size = 0 if accepted is None else accepted.size
        beyond = [one for one in opened if one.index >= size]
        if beyond:
            reason, why, recheck_s = await self._obstacle(accepted, missing)
            for one in beyond:
                detail = f"leaf {one.index}: {why}"
                gate, value = self._at.leaves, one.index + 1
                steps[one.id] = Wait(reason, detail, gate, value, recheck_s=recheck_s)
        return [one for one in opened if one.index < size]

    async def _obstacle(
        self, accepted: Accepted | None, missing: Missing | None
    ) -> tuple[Reason, str, float]:
        """Why leaves beyond the accepted root cannot be proved yet."""
        if missing is None:
            why = "no finalized batch has messages"
            if accepted is not None:
                why = f"finalized batch {accepted.batch} covers {accepted.size} leaves"
            return Reason.AWAITING_ROOT, why, ROOT_RECHECK_S
        root = f"the root of batch {missing.batch}"
        ours = missing.tree_size
        if not missing.searched:
            return Reason.AWAITING_ROOT, f"{root} is being looked up in {ours} leaves", 1.0
        count = await self._queue_count()
        if count is None or count > ours:
            told = "an unknown number of" if count is None else str(count)
            why = f"{root} is not in our tree, which has {ours} of {told} leaves"
            return Reason.AWAITING_LEAF, why, LEAF_RECHECK_S
        return Reason.ROOT_MISMATCH, f"{root} is no root of our {ours} leaves", LEAF_RECHECK_S

    async def _queue_count(self) -> int | None:
        """Messages in the queue now; None when the rollup cannot be read."""
        try:
            (answer,) = await self._at.l2.read([View(self._at.queue, contracts.NEXT_MESSAGE_INDEX)])
            return int.from_bytes(contracts.answer_word(answer, "L2MessageQueue"), "big")
        except (Transient, BadChainData):
            return None

    async def _proved(
        self, opened: Sequence[_Opened], accepted: Accepted, steps: Steps
    ) -> list[_Proved]:
        """Proofs in one read; each must lead from the message's own hash to the accepted root."""
        if not opened:
            return []
        wanted = [(one.index, accepted.size) for one in opened]
        proofs = await self._at.trees().proofs(self._at.tree, wanted)
        height = (accepted.size - 1).bit_length()
        proved: list[_Proved] = []
        for one, siblings in zip(opened, proofs, strict=True):
            is_true = len(siblings) == height and (
                root_from_proof(one.leaf, one.index, siblings) == accepted.root
            )
            if is_true:
                data = one.withdrawal.delivery_call(accepted.batch, siblings)
                proved.append(_Proved(one, tuple(siblings), data))
                continue
            detail = f"our tree holds another leaf {one.index} than this message"
            steps[one.id] = Wait(Reason.ROOT_MISMATCH, detail, recheck_s=LEAF_RECHECK_S)
        return proved

    async def _carry(self, proved: Sequence[_Proved], accepted: Accepted, steps: Steps) -> None:
        """Try out what is proved, and hand out the calls that deliver."""
        due: list[_Proved] = []
        for one in proved:
            pause_s = self._pause_left_s(one.opened.record)
            if pause_s > 0:
                record = one.opened.record
                steps[record.id] = Wait(record.reason, record.detail, recheck_s=pause_s)
            else:
                due.append(one)
        trials = await self._trials.run([Delivery(one.opened.leaf, one.data) for one in due])
        for one, trial in zip(due, trials, strict=True):
            steps[one.opened.id] = self._step(one, accepted, trial)

    def _pause_left_s(self, record: Record) -> float:
        """Seconds that a message whose target failed on chain is still left alone.

        The log of that failure wakes it, so the pause after it is kept here.
        """
        if record.reason is not Reason.TARGET_FAILED or record.attempts == 0:
            return 0.0
        pause_s = min(TARGET_LATEST_S, TARGET_SOONEST_S * 2.0 ** min(record.attempts - 1, 10))
        return pause_s - (self._at.now() - record.since)

    def _step(self, proved: _Proved, accepted: Accepted, trial: Trial | None) -> Step:
        opened = proved.opened
        if trial is not None and trial.accepted and not trial.executed:
            return self._target_failed(opened, trial)
        evidence = {
            "batch": str(accepted.batch),
            "root": "0x" + accepted.root.hex(),
            "tree_size": str(accepted.size),
            "index": str(opened.index),
            "proof": "0x" + b"".join(proved.siblings).hex(),
            "trial": _told(trial),
        }
        return Call(
            message_id=opened.id,
            to=self._at.l1_messenger,
            data=proved.data,
            gas_floor=self._gas_floor(proved, trial),
            shareable=trial is not None,
            evidence=evidence,
        )

    def _target_failed(self, opened: _Opened, trial: Trial) -> Wait:
        """Nothing is spent on it, so it is tried out for as long as it takes, ever more rarely."""
        age_s = self._at.now() - opened.record.seen_at
        detail = f"a trial fails: {opened.withdrawal.target} reverts or needs too much gas"
        if trial.funds < opened.withdrawal.value:
            detail = (
                f"the messenger is to pay out {opened.withdrawal.value} wei and has {trial.funds}"
            )
        pause_s = min(TARGET_LATEST_S, max(TARGET_SOONEST_S, age_s / 4))
        return Wait(Reason.TARGET_FAILED, detail, recheck_s=pause_s)

    def _gas_floor(self, proved: _Proved, trial: Trial | None) -> Gas:
        """Enough for the target: with less the messenger would book a failure, not revert.

        The target gets 63/64 of what is left, so a 63rd is added to what was used.
        """
        intrinsic = INTRINSIC_GAS + CALLDATA_GAS_PER_BYTE * len(proved.data)
        if trial is None:
            return Gas(intrinsic + self._trials.target_gas)
        if not trial.accepted:
            return Gas(0)
        return Gas(intrinsic + COLD_GAS + trial.gas + trial.gas // 63)


def _executed(answer: ViewResult) -> Step | None:
    """What `isL2MessageExecuted(hash)` says, None when it says no."""
    if not answer.ok or len(answer.data) != 32:
        why = "L1ScrollMessenger does not answer"
        return Wait(Reason.SOURCE_UNREACHABLE, why, recheck_s=SICK_RECHECK_S)
    return Done("the messenger has executed it") if any(answer.data) else None


def _root_gone(accepted: Accepted, answer: ViewResult) -> Wait | None:
    """Why the root cannot be used although a final block stored it, None when it can."""
    if not answer.ok or len(answer.data) != 32:
        return Wait(
            Reason.SOURCE_UNREACHABLE, "ScrollChain does not answer", recheck_s=SICK_RECHECK_S
        )
    if answer.data == accepted.root:
        return None
    why = f"ScrollChain does not hold the root of batch {accepted.batch}: an endpoint lags, or lies"
    return Wait(Reason.ROOT_MISMATCH, why, recheck_s=LEAF_RECHECK_S)


def _told(trial: Trial | None) -> str:
    if trial is None:
        return "not possible"
    if trial.accepted:
        return f"delivered with {trial.gas} gas"
    return "the messenger reverted"
