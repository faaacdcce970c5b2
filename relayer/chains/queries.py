"""Typed questions to one endpoint that are batches: scans, views, accounts, receipts."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from relayer.adapter import Header, Log, View, ViewResult
from relayer.chains.endpoint import Endpoint, Request
from relayer.chains.headers import header_request, parse_header
from relayer.chains.logs import Topics, check_asked, logs_request, parse_logs
from relayer.chains.multicall import chunks, decode_aggregate3, encode_aggregate3
from relayer.chains.wire import hex_text, mapping, octets, quantity
from relayer.errors import (
    BadChainData,
    CallReverted,
    RangeTooWide,
    RelayerError,
    RpcRefused,
    StaleEndpoint,
)
from relayer.message import Address, BlockNumber, ChainId, TxHash, Wei

MUTE = ViewResult(False, b"")
RECEIPT_FIELDS = ("transactionHash", "blockHash", "blockNumber", "status", "gasUsed")
LOG_FIELDS = ("address", "topics", "data", "logIndex", "blockHash", "blockNumber")


async def scan(
    endpoint: Endpoint,
    chain: ChainId,
    blocks: tuple[BlockNumber, BlockNumber],
    *,
    addresses: Sequence[Address],
    topics: Topics,
) -> tuple[list[Log], Header]:
    """Logs of an inclusive range and the header of its last block, from one batch.

    A node that lacks the last block answers `[]` without a word (go-ethereum issue 24078), so the
    header must be there and logs of that block must carry its hash; else `StaleEndpoint`. Asking
    for no address and no topic asks for no logs.
    """
    try:
        return await _scan(endpoint, chain, blocks, addresses=addresses, topics=topics)
    except RangeTooWide as error:
        if blocks[0] < blocks[1]:
            raise
        raise endpoint.blame(f"refuses the logs of one block: {error}") from None


async def _scan(
    endpoint: Endpoint,
    chain: ChainId,
    blocks: tuple[BlockNumber, BlockNumber],
    *,
    addresses: Sequence[Address],
    topics: Topics,
) -> tuple[list[Log], Header]:
    first, last = blocks
    if not addresses and not any(topics):
        header = parse_header(value((await endpoint.batch([header_request(last)]))[0]), last)
        return [], header
    wanted = logs_request(first, last, addresses=addresses, topics=topics)
    raw_header, raw_logs = await endpoint.batch([header_request(last), wanted])
    header = parse_header(value(raw_header), last)
    if isinstance(raw_logs, RpcRefused) and first < last:
        # whatever the wording: any refusal of many blocks may be about their number
        raise RangeTooWide(str(raw_logs))
    logs = parse_logs(chain, value(raw_logs))
    check_asked(logs, first, last, addresses=addresses, topics=topics)
    for log in reversed(logs):
        if log.at.block != last:
            break
        if log.at.block_hash != header.hash:
            raise StaleEndpoint(
                f"endpoint {endpoint.name}: logs and header of block {last} are of two forks"
            )
    return logs, header


async def read_views(
    endpoint: Endpoint, views: Sequence[View], block: str, *, multicall: Address | None
) -> list[ViewResult]:
    """Answers of views in order, packed through Multicall3 where it answers, else one by one.

    Packed or not, a view answers what it answers alone.
    """
    if multicall is None or len(views) < 2:
        return await _read_apart(endpoint, views, block)
    parts = chunks(views)
    answers = await endpoint.batch(
        [_call(multicall, encode_aggregate3(part), block) for part in parts]
    )
    results: list[ViewResult] = []
    for part, answer in zip(parts, answers, strict=True):
        packed = b"" if _is_refused(answer) else octets(value(answer), "Multicall3 answer")
        results += decode_aggregate3(packed, len(part)) if packed else [MUTE] * len(part)
    # A failure without a word may be want of gas that another view of the pack has burned.
    mute = [place for place, result in enumerate(results) if result == MUTE]
    alone = await _read_apart(endpoint, [views[place] for place in mute], block)
    for place, result in zip(mute, alone, strict=True):
        results[place] = result
    return results


async def _read_apart(endpoint: Endpoint, views: Sequence[View], block: str) -> list[ViewResult]:
    answers = await endpoint.batch([_call(view.to, view.data, block) for view in views])
    return [
        ViewResult(False, answer.revert)
        if isinstance(answer, CallReverted)
        else ViewResult(True, octets(value(answer), "eth_call answer"))
        for answer in answers
    ]


@dataclass(frozen=True, slots=True)
class Account:
    """An account as one block has it."""

    nonce: int
    """Transactions it has sent."""
    balance: Wei


async def read_accounts(
    endpoint: Endpoint, addresses: Sequence[Address], block: str
) -> list[Account]:
    """Accounts in order, from one batch.

    Should a block come between the answers, the balance is the later one: what a transaction has
    cost is missing from it before its nonce shows that it was mined, never the other way round.
    """
    asked = ("eth_getTransactionCount", "eth_getBalance")
    answers = await endpoint.batch([(how, [who, block]) for who in addresses for how in asked])
    numbers = [quantity(value(answer), "an account's answer") for answer in answers]
    return [
        Account(nonce, Wei(balance))
        for nonce, balance in zip(numbers[::2], numbers[1::2], strict=True)
    ]


async def read_receipts(
    endpoint: Endpoint, hashes: Sequence[TxHash]
) -> list[dict[str, Any] | None]:
    """Receipts in order, checked for shape; None for what the endpoint does not know as mined."""
    answers = await endpoint.batch([("eth_getTransactionReceipt", [one]) for one in hashes])
    return [_receipt(value(answer), asked) for asked, answer in zip(hashes, answers, strict=True)]


def receipt_key(receipt: Mapping[str, Any]) -> Hashable:
    """What two endpoints must tell alike of one transaction: where it is, and what it did."""
    logs = [[log.get(name) for name in LOG_FIELDS] for log in receipt["logs"]]
    told = [receipt[name] for name in RECEIPT_FIELDS]
    return json.dumps([told, logs]).lower()


def value(answer: Any) -> Any:
    """The result of one batch item, or its refusal raised."""
    if isinstance(answer, RelayerError):
        raise answer
    return answer


def _receipt(answer: object, asked: TxHash) -> dict[str, Any] | None:
    """A mined receipt of the transaction asked for, or None."""
    if answer is None:
        return None
    raw = mapping(answer, "receipt")
    if raw.get("blockNumber") is None:
        return None
    if hex_text(raw.get("transactionHash"), "receipt transaction", size=32) != asked:
        raise BadChainData("got the receipt of another transaction")
    hex_text(raw.get("blockHash"), "receipt block hash", size=32)
    for name in ("blockNumber", "status", "gasUsed"):
        quantity(raw.get(name), f"receipt {name}")
    price = raw.get("effectiveGasPrice")
    quantity("0x0" if price is None else price, "receipt effectiveGasPrice")
    logs = raw.get("logs")
    if not isinstance(logs, list) or not all(_is_of(log, raw) for log in logs):
        raise BadChainData("receipt logs are not a list of this transaction's logs")
    return {**raw, "effectiveGasPrice": "0x0" if price is None else price}


def _is_of(log: object, receipt: Mapping[str, Any]) -> bool:
    """Whether a log says of itself that it is final part of its receipt's transaction."""
    if not isinstance(log, dict) or log.get("removed"):
        return False
    said, known = log.get("transactionHash"), receipt["transactionHash"]
    return isinstance(said, str) and said.lower() == known.lower()


def _call(to: Address, payload: bytes, block: str) -> Request:
    return "eth_call", [{"to": to, "data": "0x" + payload.hex()}, block]


def _is_refused(answer: Any) -> bool:
    """The whole pack was refused: out of gas, too long, or no such contract."""
    return isinstance(answer, (CallReverted, RpcRefused))
