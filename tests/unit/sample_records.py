"""Records as the store would give them, for tests of what shows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from relayer.message import (
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    Gas,
    LogRef,
    Message,
    MessageId,
    Moment,
    Payment,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    TxHash,
    Wei,
)

ROUTE = Route(BridgeName("hyper"), ChainId(1), ChainId(10))
NOON = Timestamp(1_700_000_000.25)
NOON_TEXT = "2023-11-14T22:13:20.250Z"


def id_of(number: int) -> MessageId:
    """A well-formed message id."""
    return MessageId(f"0x{number:064x}")


def tx_of(number: int) -> TxHash:
    """A well-formed transaction hash that is no `id_of`."""
    return TxHash(f"0xee{number:062x}")


def record_of(number: int = 1, **changes: Any) -> Record:
    """A waiting message; `changes` are fields of the record."""
    message = Message(
        id=id_of(number),
        route=ROUTE,
        sender="0x" + "aa" * 20,
        recipient="0x" + "bb" * 20,
        nonce=number,
        body=b"hello",
        payload=b"payload",
        at=LogRef(
            ChainId(1), BlockNumber(100), BlockHash("0x" + "0b" * 32), tx_of(number), 3, NOON
        ),
    )
    record = Record(
        message=message,
        status=Status.WAITING,
        reason=Reason.AWAITING_QUORUM,
        detail="1 of 2 signatures",
        since=NOON,
        seen_at=NOON,
        wake_at=None,
        gate=None,
        gate_value=None,
        attempts=0,
        alone=False,
        payment=Payment(Gas(125_000), Wei(2**80), 1),
        timeline=(Moment(NOON, Status.WAITING, Reason.NEW),),
        evidence={},
        tx=None,
    )
    return replace(record, **changes)
