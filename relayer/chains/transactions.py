"""Envelopes, their signed bytes, and what a node means when it refuses one.

Sources: EIP-155 (legacy), EIP-2930 (type 1), EIP-1559 (type 2), EIP-2718 (typed envelopes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from relayer.chains.fees import FeeQuote as FeeQuote
from relayer.message import Address, ChainId, Gas, TxHash, Wei

AccessList: TypeAlias = tuple[tuple[Address, tuple[bytes, ...]], ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """One transaction to sign; a legacy price in `fees` makes it legacy (or type 1)."""

    chain_id: ChainId
    nonce: int
    to: Address
    value: Wei
    data: bytes
    gas: Gas
    fees: FeeQuote
    access_list: AccessList = ()


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """The bytes to broadcast and the hash the chain will know them by."""

    raw: bytes
    hash: TxHash


class SendProblem(StrEnum):
    """Why a node did not take a transaction."""

    NONCE_TOO_LOW = "nonce_too_low"
    ALREADY_KNOWN = "already_known"
    UNDERPRICED = "underpriced"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    NONCE_TOO_HIGH = "nonce_too_high"
    GAS_LIMIT = "gas_limit"
    OTHER = "other"


_WORDING: tuple[tuple[SendProblem, str], ...] = (
    (SendProblem.ALREADY_KNOWN, r"already (known|imported|exists|in)|known transaction|duplicate"),
    (
        SendProblem.NONCE_TOO_LOW,
        r"nonce.{0,20}(too low|expired|already)|old nonce|invalid transaction nonce",
    ),
    (
        SendProblem.NONCE_TOO_HIGH,
        r"nonce.{0,20}(too high|gap|too far)|queued.*(full|limit)|gapped|future transaction",
    ),
    (
        SendProblem.UNDERPRICED,
        r"underpriced|(fee|price).{0,40}(too low|less than|below|lower than)|fee cap.{0,30}less"
        r"|fee too low|price too low",
    ),
    (
        SendProblem.INSUFFICIENT_FUNDS,
        r"insufficient (funds|balance|max fee)|not enough (funds|balance)|upfront cost",
    ),
    (
        SendProblem.GAS_LIMIT,
        r"exceeds block gas limit|gas limit|intrinsic gas|gas.{0,10}(too (high|low|large))"
        r"|exceeds.{0,20}gas cap",
    ),
)
"""In order: geth, erigon, reth, nethermind, besu, op-geth, nitro and zksync-os word it."""


def classify_send_error(text: str) -> SendProblem:
    """Say what a refusal of `eth_sendRawTransaction` means, whoever's node it was."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]", " ", text)
    for problem, wording in _WORDING:
        if re.search(wording, words, re.IGNORECASE):
            return problem
    return SendProblem.OTHER


# --- bytes -----------------------------------------------------------------------------------


def signing_payload(envelope: Envelope) -> bytes:
    """The bytes whose keccak-256 is signed."""
    kind, fields = _fields(envelope)
    if kind:
        return bytes([kind]) + rlp_list(fields)
    return rlp_list([*fields, rlp(envelope.chain_id), rlp(0), rlp(0)])


def signed_bytes(envelope: Envelope, *, parity: int, r: int, s: int) -> bytes:
    """The bytes to broadcast, with the signature in its place."""
    kind, fields = _fields(envelope)
    if kind:
        return bytes([kind]) + rlp_list([*fields, rlp(parity), rlp(r), rlp(s)])
    return rlp_list([*fields, rlp(envelope.chain_id * 2 + 35 + parity), rlp(r), rlp(s)])


def rlp(item: int | bytes) -> bytes:
    """RLP of a number (big-endian, no leading zeros) or a byte string (Yellow Paper, B)."""
    text = item if isinstance(item, bytes) else item.to_bytes((item.bit_length() + 7) // 8, "big")
    if len(text) == 1 and text[0] < 0x80:
        return text
    return _length(len(text), 0x80) + text


def rlp_list(items: Sequence[bytes]) -> bytes:
    """RLP of a list of items that are RLP already."""
    body = b"".join(items)
    return _length(len(body), 0xC0) + body


def _fields(envelope: Envelope) -> tuple[int, list[bytes]]:
    """Transaction type and its unsigned fields, each RLP already."""
    fees = envelope.fees
    tail = [
        rlp(envelope.gas),
        rlp(bytes.fromhex(envelope.to[2:])),
        rlp(envelope.value),
        rlp(envelope.data),
    ]
    if fees.gas_price is None:
        head = [rlp(envelope.chain_id), rlp(envelope.nonce), rlp(fees.tip), rlp(fees.max_fee)]
        return 2, [*head, *tail, _access_list(envelope.access_list)]
    head = [rlp(envelope.nonce), rlp(fees.gas_price)]
    if envelope.access_list:
        return 1, [rlp(envelope.chain_id), *head, *tail, _access_list(envelope.access_list)]
    return 0, [*head, *tail]


def _access_list(entries: AccessList) -> bytes:
    return rlp_list(
        [
            rlp_list([rlp(bytes.fromhex(address[2:])), rlp_list([rlp(key) for key in keys])])
            for address, keys in entries
        ]
    )


def _length(size: int, offset: int) -> bytes:
    if size < 56:
        return bytes([offset + size])
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(digits)]) + digits
