"""Words, selectors and revert data of the contract ABI, for layouts that are coded by hand.

Static layouts need no generic codec, and one that checks every byte says what is wrong with an
answer. Source: Solidity documentation, "Contract ABI Specification".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

WORD = 32
"""Bytes of one ABI word."""
MAX_REASON_BYTES = 200
"""Of a revert's own text: it is a stranger's, and is stored and shown."""

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


def selector(signature: str) -> bytes:
    """The four bytes that name a function or an error: `selector("paused()")`."""
    return keccak256(signature.encode())[:4]


def word(number: int) -> bytes:
    """A number as one ABI word."""
    return number.to_bytes(WORD, "big")


def address_word(address: str) -> bytes:
    """An address as one ABI word."""
    return bytes(12) + bytes.fromhex(address[2:])


def address_of(value: bytes) -> Address:
    """The address in one ABI word; `BadChainData` when it is none."""
    if len(value) != WORD or any(value[:12]):
        raise BadChainData("a word is not an address")
    return Address("0x" + value[12:].hex())


def dynamic(payload: bytes) -> bytes:
    """`bytes` behind their length, padded to whole words."""
    return word(len(payload)) + payload + bytes(-len(payload) % WORD)


def array(items: Sequence[bytes]) -> bytes:
    """An array of dynamic items, each encoded already: its length, their offsets, the items."""
    offsets, at = b"", WORD * len(items)
    for item in items:
        offsets += word(at)
        at += len(item)
    return word(len(items)) + offsets + b"".join(items)


def version_of(answer: bytes) -> tuple[int, int, int] | None:
    """The numbers of what a `version()` answered; None when that is no version."""
    if len(answer) < 3 * WORD or int.from_bytes(answer[:WORD], "big") != WORD:
        return None
    size = min(int.from_bytes(answer[WORD : 2 * WORD], "big"), WORD)
    found = re.match(rb"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", answer[2 * WORD : 2 * WORD + size])
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch


def revert_text(revert: bytes, named: Mapping[bytes, str] | None = None) -> str:
    """What revert data says, short and printable; empty for a bare revert.

    `named` maps the selectors of a contract's own errors to their names.
    """
    if not revert:
        return ""
    if revert[:4] == ERROR_STRING and len(revert) >= 4 + 2 * WORD:
        size = int.from_bytes(revert[36:68], "big")
        return _printable(revert[68 : 68 + min(size, MAX_REASON_BYTES)]) or "an empty reason"
    if revert[:4] == PANIC and len(revert) >= 4 + WORD:
        code = int.from_bytes(revert[4:36], "big")
        return f"Panic(0x{code:02x}): {PANICS.get(code, 'unknown')}"
    return (named or {}).get(revert[:4]) or f"custom error 0x{revert[:4].hex()}"


def _printable(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
