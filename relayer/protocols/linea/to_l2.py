"""What messages to L2 need next: to be anchored there by Linea's coordinator, then a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relayer.adapter import Call, ChainReader, Done, Step, View, Wait
from relayer.message import Address, Gate, Reason, Record, Timestamp, Wei
from relayer.protocols.linea.contracts import (
    INBOX_STATUS,
    LAST_ANCHORED,
    PAUSE_L1_L2,
    pause_views,
    read_number_or,
)
from relayer.protocols.linea.fees import incomes
from relayer.protocols.linea.parcels import Parcel, Steps, open_parcels, pause_s, unanswered
from relayer.protocols.linea.settings import ZERO_ADDRESS

UNKNOWN, RECEIVED, CLAIMED = 0, 1, 2
"""`INBOX_STATUS_*` of `L2MessageManagerV1.sol`."""
GATE_RECHECK_S = 600.0
PAUSED_RECHECK_S = 30.0


class ToL2:
    """Delivery by `L2MessageService.claimMessage`, which wants no proof."""

    def __init__(
        self,
        *,
        service: Address,
        reader: ChainReader,
        gate: Gate,
        fee_recipient: Address | None,
        now: Callable[[], Timestamp],
    ) -> None:
        self._service = service
        self._reader = reader
        self._gate = gate
        self._fee_recipient = fee_recipient
        self._now = now

    async def level(self) -> int:
        """The last message number that is anchored on L2; -1 when the contract cannot say."""
        (answer,) = await self._reader.read([View(self._service, LAST_ANCHORED)])
        return read_number_or(answer, -1)

    async def next_steps(self, records: Sequence[Record]) -> Steps:
        """The next step of every record; raises `Transient` when L2 cannot be read."""
        steps: Steps = {}
        parcels = open_parcels(records, steps)
        if not parcels:
            return steps
        views = [View(self._service, INBOX_STATUS + parcel.digest) for parcel in parcels]
        views += [View(self._service, LAST_ANCHORED), *pause_views(self._service, PAUSE_L1_L2)]
        answers = await self._reader.read(views)
        last, *pauses = answers[len(parcels) :]
        anchored = read_number_or(last, -1)
        is_paused = any(read_number_or(answer, 0) for answer in pauses)
        claimable: list[Parcel] = []
        for parcel, answer in zip(parcels, answers, strict=False):
            status = read_number_or(answer, -1)
            step = self._obstacle(parcel, status, anchored=anchored, is_paused=is_paused)
            if step is None:
                claimable.append(parcel)
            else:
                steps[parcel.id] = step
        paid = await incomes(self._reader, claimable)
        return steps | {parcel.id: self._call(parcel, paid[parcel.id]) for parcel in claimable}

    def _obstacle(
        self, parcel: Parcel, status: int, *, anchored: int, is_paused: bool
    ) -> Step | None:
        if status == CLAIMED:
            return Done("the message service has it claimed")
        if status == UNKNOWN:
            return self._unanchored(parcel, anchored)
        if status != RECEIVED:
            return unanswered("message service")
        if is_paused:
            return Wait(Reason.PAUSED, "claims on L2 are paused", recheck_s=PAUSED_RECHECK_S)
        return None

    def _unanchored(self, parcel: Parcel, anchored: int) -> Wait:
        """At the gate only while it is shut, or it would open at once, over and over."""
        number = parcel.message.number
        if anchored < 0:
            detail, gate = f"message {number} is not anchored on L2 yet", None
        elif number > anchored:
            detail, gate = f"message {number} is not anchored yet; {anchored} is", self._gate
        else:
            detail = f"L2 has anchored up to message {anchored}, but does not know this one (yet)"
            gate = None
        recheck_s = GATE_RECHECK_S if gate else pause_s(parcel.record, self._now())
        return Wait(Reason.AWAITING_ROOT, detail, gate=gate, gate_value=number, recheck_s=recheck_s)

    def _call(self, parcel: Parcel, income: Wei) -> Call:
        message = parcel.message
        return Call(
            message_id=parcel.id,
            to=self._service,
            data=message.claim_call(self._fee_recipient or ZERO_ADDRESS),
            income=income,
            shareable=self._fee_recipient is not None or not message.fee,
            evidence={"message_number": str(message.number)},
        )
