"""Facts of a small world: chain 1 sends to chain 10 (and 20) over one bridge."""

from __future__ import annotations

from relayer.message import (
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    DeliverySeen,
    Gas,
    LogRef,
    Message,
    MessageId,
    MessageSeen,
    PaymentSeen,
    Route,
    TxHash,
    Wei,
)
from relayer.store import Cursor

BRIDGE = BridgeName("hyper")
ONE, TEN, TWENTY = ChainId(1), ChainId(10), ChainId(20)


def id_of(number: int) -> MessageId:
    return MessageId(f"0x{number:064x}")


def tx_of(number: int) -> TxHash:
    return TxHash(f"0xee{number:062x}")


def hash_of(block: int, fork: str = "a") -> BlockHash:
    return BlockHash(f"0x{fork * 4}{block:060x}")


def at(chain: int, block: int, *, tx: int = 1, index: int = 0, fork: str = "a") -> LogRef:
    number = BlockNumber(block)
    return LogRef(ChainId(chain), number, hash_of(block, fork), tx_of(tx), index)


def cursor(block: int, fork: str = "a") -> Cursor:
    return Cursor(BlockNumber(block), hash_of(block, fork))


def message(
    number: int,
    *,
    block: int = 100,
    origin: int = 1,
    to: int = 10,
    bridge: str = BRIDGE,
    fork: str = "a",
) -> MessageSeen:
    """A message; its transaction has the message's number."""
    body = f"body {number}".encode().ljust(96, b".")
    return MessageSeen(
        Message(
            id=id_of(number),
            route=Route(BridgeName(bridge), ChainId(origin), ChainId(to)),
            sender="0x" + "aa" * 20,
            recipient="0x" + "bb" * 32,
            nonce=2**70 + number,
            body=body,
            payload=bytes(range(77)) + body,
            at=at(origin, block, tx=number, index=number, fork=fork),
            extra={"note": "ünï"},
        )
    )


def delivery(
    number: int, *, block: int = 500, chain: int = 10, tx: int = 900, fork: str = "a"
) -> DeliverySeen:
    return DeliverySeen(id_of(number), at(chain, block, tx=tx, index=number, fork=fork))


def payment(number: int, *, block: int = 100, tx: int = 1, index: int = 7) -> PaymentSeen:
    return PaymentSeen(
        id_of(number), TEN, Gas(50_000), Wei(2**80 + 1), at(1, block, tx=tx, index=index)
    )
