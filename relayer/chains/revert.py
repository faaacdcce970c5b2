"""Turns revert data into words for people; the bytes are whatever a stranger's contract chose."""

from __future__ import annotations

from collections.abc import Mapping

from relayer.chains.wire import printable

MAX_WORDS = 200
"""Characters a description may have."""

ERROR_STRING = bytes.fromhex("08c379a0")
"""`Error(string)` (Solidity documentation, "Panic via assert and Error via require")."""
PANIC = bytes.fromhex("4e487b71")
"""`Panic(uint256)` (same page, which lists the codes)."""

PANICS: Mapping[int, str] = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow or underflow",
    0x12: "division by zero",
    0x21: "value is not of the enum",
    0x22: "storage byte array wrongly encoded",
    0x31: "pop of an empty array",
    0x32: "array index out of bounds",
    0x41: "too much memory",
    0x51: "call of a zero function pointer",
}


def describe_revert(revert: bytes, abi_errors: Mapping[bytes, str] | None = None) -> str:
    """Say what a revert says, in at most 200 printable characters.

    `abi_errors` maps the 4-byte selectors of a contract's own errors to their names.
    """
    if not revert:
        return "reverted without data"
    selector, body = revert[:4], revert[4:]
    if selector == ERROR_STRING:
        return printable(_string(body), most=MAX_WORDS)
    if selector == PANIC and len(body) >= 32:
        code = int.from_bytes(body[:32], "big")
        return printable(f"panic 0x{code:02x}: {PANICS.get(code, 'unknown')}", most=MAX_WORDS)
    known = (abi_errors or {}).get(selector)
    if known:
        return printable(f"{known} 0x{body.hex()}" if body else known, most=MAX_WORDS)
    return printable(f"unknown error 0x{revert.hex()}", most=MAX_WORDS)


def _string(body: bytes) -> str:
    start = int.from_bytes(body[:32], "big")
    size = int.from_bytes(body[start : start + 32], "big") if start + 32 <= len(body) else 0
    text = body[start + 32 : start + 32 + min(size, 4 * MAX_WORDS)] if size else b""
    return text.decode("utf-8", errors="replace") or "reverted with an empty text"
