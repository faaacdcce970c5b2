"""Reads block headers from JSON-RPC answers, and only those that answer the question asked."""

from __future__ import annotations

import re

from relayer.adapter import Header
from relayer.chains.wire import hex_text, mapping, octets, quantity
from relayer.errors import BadChainData, StaleEndpoint
from relayer.message import BlockHash, BlockNumber, Gas, Timestamp, Wei

TAGS = frozenset({"latest", "safe", "finalized", "earliest", "pending"})

_MAX_BLOCK = 2**63 - 1
_MAX_TIME = 2**40
"""The year 36812: a timestamp beyond it is in another unit, or a lie."""
_BULKY = frozenset({"transactions", "uncles", "withdrawals"})


def block_param(block: BlockNumber | str) -> str:
    """The JSON-RPC form of a number, a tag or a block hash; ValueError for anything else."""
    if isinstance(block, int):
        return hex(block)
    if block in TAGS or re.fullmatch(r"0x[0-9a-f]{64}", block):
        return block
    raise ValueError(f"not a block: {block!r}")


def header_request(block: BlockNumber | str) -> tuple[str, list[object]]:
    """(method, params) that ask for a header without its transactions."""
    param = block_param(block)
    by_hash = isinstance(block, str) and block not in TAGS
    return ("eth_getBlockByHash" if by_hash else "eth_getBlockByNumber", [param, False])


def parse_header(answer: object, asked: BlockNumber | str) -> Header:
    """Check the answer to `header_request(asked)`; StaleEndpoint when there is no such block."""
    if answer is None:
        raise StaleEndpoint(f"block {asked} is not known")
    raw = mapping(answer, "block")
    fee = raw.get("baseFeePerGas")
    header = Header(
        number=BlockNumber(quantity(raw.get("number"), "block number", most=_MAX_BLOCK)),
        hash=BlockHash(hex_text(raw.get("hash"), "block hash", size=32)),
        parent_hash=BlockHash(hex_text(raw.get("parentHash"), "parent hash", size=32)),
        timestamp=Timestamp(quantity(raw.get("timestamp"), "block timestamp", most=_MAX_TIME)),
        state_root=octets(raw.get("stateRoot"), "state root", size=32),
        base_fee=None if fee is None else Wei(quantity(fee, "base fee")),
        gas_limit=Gas(quantity(raw.get("gasLimit"), "gas limit")),
        raw={key: value for key, value in raw.items() if key not in _BULKY},
    )
    if isinstance(asked, int) and header.number != asked:
        raise BadChainData(f"asked for block {asked}, got {header.number}")
    if isinstance(asked, str) and asked not in TAGS and header.hash != asked:
        raise BadChainData(f"asked for block {asked}, got {header.hash}")
    return header
