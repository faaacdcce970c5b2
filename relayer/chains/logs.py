"""Reads event logs from JSON-RPC answers: strict in shape, and only what was asked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from relayer.adapter import Log
from relayer.chains.wire import hex_text, mapping, octets, quantity
from relayer.errors import BadChainData
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    ChainId,
    LogRef,
    Timestamp,
    TxHash,
)

Topics = Sequence[Sequence[bytes] | None]
"""Per position: any of these words, or None for any word at all."""

_MAX_BLOCK = 2**63 - 1
_MAX_INDEX = 2**31
MAX_TIME = 2**40
"""Unix seconds; a time beyond is in another unit, or a lie."""

_RANGE_LIMIT = re.compile(
    r"block range|range (is )?too|range limit|max(imum)? range|blocks? range|ranges over"
    r"|range between|range \d+ exceeds|range of blocks|limited to (a )?[\d,]+ "
    r"|to at most [\d,]+ blo"
    r"|more than [\d,]+ (results|logs)|max(imum)? (allowed )?results|too many (results|logs|blocks)"
    r"|query (returned|exceeds|timeout)|log(s)? (response|query|matched)|smaller (block )?range"
    r"|response (size|too|is too)|too wide|request timed out|exceeds? max(imum)? (logs|block)",
    re.IGNORECASE,
)
"""How Alchemy, Infura, QuickNode, Ankr, Chainstack, Cloudflare, dRPC, BlockPI, PublicNode, 1RPC,
geth, erigon, reth and zksync-os word it; there is no common error code."""


def is_range_refusal(text: str) -> bool:
    """Whether a refusal of `eth_getLogs` asks for a smaller range."""
    return _RANGE_LIMIT.search(text) is not None


def logs_request(
    first: BlockNumber, last: BlockNumber, *, addresses: Sequence[Address], topics: Topics
) -> tuple[str, list[object]]:
    """(method, params) of `eth_getLogs` for an inclusive range."""
    query: dict[str, object] = {"fromBlock": hex(first), "toBlock": hex(last)}
    if addresses:
        query["address"] = list(addresses)
    if topics:
        query["topics"] = [
            None if words is None else ["0x" + word.hex() for word in words] for words in topics
        ]
    return "eth_getLogs", [query]


def parse_logs(chain: ChainId, answer: object) -> list[Log]:
    """Check logs of one chain and put them in chain order; BadChainData when one is misshapen."""
    if not isinstance(answer, list):
        raise BadChainData("logs are not a list")
    logs = [_parse_log(chain, raw) for raw in answer]
    logs.sort(key=lambda log: (log.at.block, log.at.log_index))
    hashes: dict[BlockNumber, BlockHash] = {}
    for before, log in zip([None, *logs], logs, strict=False):
        if hashes.setdefault(log.at.block, log.at.block_hash) != log.at.block_hash:
            raise BadChainData(f"logs of block {log.at.block} name two block hashes")
        if before and (before.at.block, before.at.log_index) == (log.at.block, log.at.log_index):
            raise BadChainData(f"log {log.at.log_index} of block {log.at.block} occurs twice")
    return logs


def check_asked(
    logs: Sequence[Log],
    first: BlockNumber,
    last: BlockNumber,
    *,
    addresses: Collection[Address],
    topics: Topics,
) -> None:
    """BadChainData when a log is not one that `logs_request` asked for."""
    wanted = set(addresses)
    for log in logs:
        if not first <= log.at.block <= last:
            raise BadChainData(f"asked for blocks {first} to {last}, got a log of {log.at.block}")
        if wanted and log.address not in wanted:
            raise BadChainData(f"got a log of {log.address}, which was not asked for")
        if not _matches(log, topics):
            raise BadChainData(f"got a log of {log.address} with topics that were not asked for")


def _matches(log: Log, topics: Topics) -> bool:
    for place, words in enumerate(topics):
        if words and (place >= len(log.topics) or log.topics[place] not in words):
            return False
    return True


def _parse_log(chain: ChainId, answer: object) -> Log:
    raw = mapping(answer, "log")
    topics = raw.get("topics")
    if not isinstance(topics, list) or len(topics) > 4:
        raise BadChainData("log topics are not a list of at most four words")
    if raw.get("removed"):
        raise BadChainData("log is marked as removed")
    return Log(
        address=Address(hex_text(raw.get("address"), "log address", size=20)),
        topics=tuple(octets(topic, "log topic", size=32) for topic in topics),
        data=octets(raw.get("data"), "log data"),
        at=LogRef(
            chain=chain,
            block=BlockNumber(quantity(raw.get("blockNumber"), "log block", most=_MAX_BLOCK)),
            block_hash=BlockHash(hex_text(raw.get("blockHash"), "log block hash", size=32)),
            tx=TxHash(hex_text(raw.get("transactionHash"), "log transaction", size=32)),
            log_index=quantity(raw.get("logIndex"), "log index", most=_MAX_INDEX),
            timestamp=_time(raw.get("blockTimestamp")),
        ),
    )


def _time(given: object) -> Timestamp:
    """A block time that newer nodes add to logs, as hex or a number; 0 when it is not there."""
    if given is None or given == "":
        return Timestamp(0.0)
    time = given if isinstance(given, int) else quantity(given, "log time")
    if not 0 <= time < MAX_TIME:
        raise BadChainData("log time is not in seconds")
    return Timestamp(float(time))
