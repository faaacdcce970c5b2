"""ABI coding for Multicall3: many views in one `eth_call`, many calls in one transaction.

Layouts: github.com/mds1/multicall, `src/Multicall3.sol`. Hand-written because the layout is fixed
and the generic codec is two orders of magnitude slower.
"""

from __future__ import annotations

from collections.abc import Sequence

from relayer.abi import address_word, array, dynamic, word
from relayer.adapter import View, ViewResult
from relayer.errors import BadChainData
from relayer.message import Address

AGGREGATE3 = bytes.fromhex("82ad56cb")
"""`aggregate3((address target, bool allowFailure, bytes callData)[])`."""
AGGREGATE3_VALUE = bytes.fromhex("174dea71")
"""`aggregate3Value((address target, bool allowFailure, uint256 value, bytes callData)[])`."""

CHUNK_VIEWS = 250
"""Views per `eth_call`: keeps the call under the 50M gas that nodes allow by default."""
CHUNK_BYTES = 100_000
"""Calldata per `eth_call`, under the smallest body limits of hosted nodes."""


CALL_BYTES = 192
"""The least that one call takes of `aggregate3Value`'s calldata: offset, head and length."""


def encode_aggregate3(views: Sequence[View], *, allow_failure: bool = True) -> bytes:
    """Calldata of `aggregate3`, every view with the same `allow_failure`."""
    heads = [address_word(view.to) + word(int(allow_failure)) for view in views]
    return AGGREGATE3 + _array(heads, [view.data for view in views])


def encode_aggregate3_value(calls: Sequence[tuple[Address, bool, int, bytes]]) -> bytes:
    """Calldata of `aggregate3Value`; calls are (to, allow failure, value in wei, data)."""
    heads = [
        address_word(to) + word(int(allow_failure)) + word(value)
        for to, allow_failure, value, _ in calls
    ]
    return AGGREGATE3_VALUE + _array(heads, [call[3] for call in calls])


def decode_aggregate3(answer: bytes, count: int) -> list[ViewResult]:
    """Read the `(bool success, bytes returnData)[]` of both calls; BadChainData when misshapen."""
    start = _number(answer, 0)
    if _number(answer, start) != count:
        raise BadChainData(f"Multicall3 answered another count than {count}")
    base = start + 32
    results = []
    for place in range(count):
        at = base + _number(answer, base + 32 * place)
        ok = _number(answer, at)
        payload = at + _number(answer, at + 32)
        size = _number(answer, payload)
        if ok > 1 or payload + 32 + size > len(answer):
            raise BadChainData("Multicall3's answer is misshapen")
        results.append(ViewResult(bool(ok), answer[payload + 32 : payload + 32 + size]))
    return results


def decode_aggregate3_value(calldata: bytes) -> list[tuple[Address, bool, int, bytes]]:
    """The calls of `encode_aggregate3_value`; BadChainData unless it writes the very same bytes."""
    body = calldata[len(AGGREGATE3_VALUE) :]
    start = _number(body, 0)
    count = _number(body, start)
    base = start + 32
    if count > len(body) // CALL_BYTES:
        raise BadChainData("fewer calls than are said")
    calls: list[tuple[Address, bool, int, bytes]] = []
    total = 0
    for place in range(count):
        at = base + _number(body, base + 32 * place)
        to, allow_failure, value = (_number(body, at + 32 * part) for part in range(3))
        payload = at + _number(body, at + 96)
        size = _number(body, payload)
        total += size
        if total > len(body):
            raise BadChainData("calls that share their bytes")
        data = body[payload + 32 : payload + 32 + size]
        calls.append((Address(f"0x{to % 2**160:040x}"), allow_failure == 1, value, data))
    if encode_aggregate3_value(calls) != calldata:
        raise BadChainData("no plain encoding of calls")
    return calls


def chunks(views: Sequence[View]) -> list[list[View]]:
    """Split views, in order, so that each chunk fits one `eth_call`."""
    split: list[list[View]] = []
    size = 0
    for view in views:
        weight = len(view.data) + 192
        if not split or len(split[-1]) >= CHUNK_VIEWS or size + weight > CHUNK_BYTES:
            split.append([])
            size = 0
        split[-1].append(view)
        size += weight
    return split


def _array(heads: Sequence[bytes], payloads: Sequence[bytes]) -> bytes:
    """One dynamic array of tuples that end in a `bytes` member."""
    tails = [
        head + word(len(head) + 32) + dynamic(payload)
        for head, payload in zip(heads, payloads, strict=True)
    ]
    return word(32) + array(tails)


def _number(answer: bytes, at: int) -> int:
    if at + 32 > len(answer):
        raise BadChainData("too short for Multicall3")
    return int.from_bytes(answer[at : at + 32], "big")
