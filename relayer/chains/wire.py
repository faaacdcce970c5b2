"""Strict reading of JSON-RPC values: hex or `BadChainData`, nothing in between.

Forms: execution-apis (github.com/ethereum/execution-apis), "QUANTITY" and "DATA".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relayer.errors import BadChainData

MAX_SHOWN = 300
"""Characters kept of somebody else's words."""


def quantity(value: object, what: str, *, most: int = 2**256 - 1) -> int:
    """Read 0x hex as a number of at most `most`; `what` names it in BadChainData."""
    digits = value[2:] if isinstance(value, str) and value[:2] == "0x" else ""
    if not 1 <= len(digits) <= 64 or not _is_hex(digits):
        raise BadChainData(f"{what} is not a hex quantity")
    number = int(digits, 16)
    if number > most:
        raise BadChainData(f"{what} is too large")
    return number


def octets(value: object, what: str, *, size: int | None = None) -> bytes:
    """Read 0x hex as bytes, of exactly `size` bytes if given."""
    digits = value[2:] if isinstance(value, str) and value[:2] == "0x" else None
    if digits is None or not _is_hex(digits):
        raise BadChainData(f"{what} is not hex data")
    if len(digits) % 2 or (size is not None and len(digits) != 2 * size):
        raise BadChainData(f"{what} has a wrong length")
    return bytes.fromhex(digits)


def hex_text(value: object, what: str, *, size: int) -> str:
    """Read 0x hex of exactly `size` bytes as lower-case text."""
    return "0x" + octets(value, what, size=size).hex()


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """Read a JSON object."""
    if not isinstance(value, Mapping):
        raise BadChainData(f"{what} is not an object")
    return value


def printable(text: str, *, most: int = MAX_SHOWN) -> str:
    """Bounded text without control characters, fit for a log line or a terminal."""
    kept = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def _is_hex(digits: str) -> bool:
    return not digits.strip("0123456789abcdefABCDEF")
