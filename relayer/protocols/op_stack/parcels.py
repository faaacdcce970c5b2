"""A stored withdrawal, opened: what it is, and how far layer 1 says it has come."""

from __future__ import annotations

from dataclasses import dataclass

from relayer.adapter import Refuse, Step
from relayer.errors import BadChainData
from relayer.message import Address, MessageId, Reason, Record
from relayer.protocols.op_stack.contracts import Relay, Withdrawal, decode_withdrawal, read_relay

Steps = dict[MessageId, Step]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A stored message that is what its id says."""

    record: Record
    withdrawal: Withdrawal
    relay: Relay | None
    """The cross-domain message that it carries, if it does."""

    @property
    def id(self) -> MessageId:
        return self.record.id

    @property
    def block(self) -> int:
        """The rollup's block that it was sent in."""
        return self.record.message.at.block


@dataclass(frozen=True, slots=True)
class Unproved:
    """A parcel that needs a proof of our own."""

    parcel: Parcel
    before: str = ""
    """What happened to its former proof, for people."""
    newer_than: int = 0
    """Only games created after this second will do."""


def open_record(record: Record, messengers: tuple[Address, Address]) -> Parcel | Refuse:
    """Check that the stored message is what its id says and belongs here."""
    try:
        withdrawal = decode_withdrawal(record.message.payload)
    except BadChainData as error:
        return Refuse(Reason.INVALID_MESSAGE, str(error), dead=True)
    if "0x" + withdrawal.hash.hex() != record.id:
        return Refuse(Reason.INVALID_MESSAGE, "payload does not hash to the id", dead=True)
    return Parcel(record, withdrawal, read_relay(withdrawal, messengers))
