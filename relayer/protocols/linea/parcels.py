"""Opens stored messages: each must be what its id says before anything is done with it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import Refuse, Step, Wait
from relayer.errors import BadChainData
from relayer.message import MessageId, Reason, Record, Timestamp, Wei
from relayer.protocols.linea.message import LineaMessage, decode_message

SOONEST_S = 2.0
LATEST_S = 120.0
"""Bounds of the pause before a message without a gate to wait at is looked at again."""
UNANSWERED_RECHECK_S = 30.0

Steps = dict[MessageId, Step]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A stored message that is what its id says."""

    record: Record
    message: LineaMessage
    digest: bytes

    @property
    def id(self) -> MessageId:
        return self.record.id

    @property
    def block(self) -> int:
        """Where it was sent."""
        return self.record.message.at.block

    @property
    def amount(self) -> Wei:
        """What its claim takes out of the contract."""
        return Wei(self.message.fee + self.message.value)


def open_parcels(records: Sequence[Record], steps: Steps) -> list[Parcel]:
    """The records that can be carried; for the others their refusal is put into `steps`."""
    parcels: list[Parcel] = []
    for record in records:
        opened = _open(record)
        if isinstance(opened, Parcel):
            parcels.append(opened)
        else:
            steps[record.id] = opened
    return parcels


def unanswered(contract: str) -> Wait:
    """A view of ours got no answer, which is not the message's fault."""
    text = f"the {contract} does not answer; is its address right?"
    return Wait(Reason.SOURCE_UNREACHABLE, text, recheck_s=UNANSWERED_RECHECK_S)


def pause_s(record: Record, now: Timestamp) -> float:
    """How long to leave a message alone: a quarter of its age, within bounds."""
    return min(LATEST_S, max(SOONEST_S, (now - record.seen_at) / 4))


def _open(record: Record) -> Parcel | Refuse:
    try:
        message = decode_message(record.message.payload)
    except BadChainData as error:
        return Refuse(Reason.INVALID_MESSAGE, str(error), dead=True)
    digest = message.digest
    if "0x" + digest.hex() != record.id:
        return Refuse(Reason.INVALID_MESSAGE, "payload does not hash to the id", dead=True)
    return Parcel(record, message, digest)
