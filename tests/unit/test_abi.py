"""ABI words and revert data, held against a generic codec and against hostile bytes."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from relayer.abi import (
    ERROR_STRING,
    MAX_REASON_BYTES,
    PANIC,
    address_of,
    address_word,
    array,
    dynamic,
    revert_text,
    selector,
    version_of,
    word,
)
from relayer.errors import BadChainData

ADDRESS = "0x00000000000000000000000000000000000000c8"


def test_selectors() -> None:
    """As Solidity's documentation has them for its two errors."""
    assert selector("Error(string)") == ERROR_STRING
    assert selector("Panic(uint256)") == PANIC


@given(st.integers(0, 2**256 - 1), st.lists(st.binary(max_size=70), max_size=5))
def test_layouts_are_those_of_a_generic_codec(number: int, items: list[bytes]) -> None:
    """Words, bytes and arrays of bytes are encoded as eth-abi encodes them."""
    payload = b"".join(items)
    assert word(number) == encode(["uint256"], [number])
    assert word(32) + dynamic(payload) == encode(["bytes"], [payload])
    assert word(32) + array([dynamic(item) for item in items]) == encode(["bytes[]"], [items])


def test_addresses() -> None:
    """An address comes back from its word; a word with more than an address in it does not."""
    assert address_word(ADDRESS) == encode(["address"], [ADDRESS])
    assert address_of(address_word(ADDRESS)) == ADDRESS
    for wrong in (b"", bytes(31), bytes(33), b"\x01" + bytes(31), bytes(11) + b"\x01" + bytes(20)):
        with pytest.raises(BadChainData, match="not an address"):
            address_of(wrong)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.8.1-beta.1", (2, 8, 1)),
        ("4.6.0", (4, 6, 0)),
        ("5.0.0+interop", (5, 0, 0)),
        ("four", None),
        ("", None),
    ],
)
def test_versions(text: str, version: tuple[int, int, int] | None) -> None:
    """Numbers alone count; what has none is no version."""
    assert version_of(encode(["string"], [text])) == version


@given(st.binary(max_size=200))
def test_any_answer_may_be_asked_for_its_version(garbage: bytes) -> None:
    """Hostile bytes give a version or none, and never an exception."""
    found = version_of(garbage)
    assert found is None or all(0 <= part < 10_000 for part in found)


def _error(text: str) -> bytes:
    return ERROR_STRING + encode(["string"], [text])


@pytest.mark.parametrize(
    ("revert", "words"),
    [
        (b"", ""),
        (_error("!module"), "!module"),
        (_error(""), "an empty reason"),
        (_error("a\x1b[2Jb"), "a?[2Jb"),
        (_error("x" * 10_000), "x" * MAX_REASON_BYTES),
        (ERROR_STRING + b"\xff" * 64 + b"abc", "abc"),
        (ERROR_STRING, "custom error 0x08c379a0"),
        (PANIC + word(0x11), "Panic(0x11): arithmetic overflow or underflow"),
        (PANIC + word(0x99), "Panic(0x99): unknown"),
        (bytes.fromhex("deadbeef") + word(1), "TooEarly()"),
        (bytes.fromhex("cafebabe") + b"rest", "custom error 0xcafebabe"),
        (b"\x01", "custom error 0x01"),
    ],
)
def test_reverts_are_described(revert: bytes, words: str) -> None:
    """Texts, panics and known errors are named, anything else by its selector."""
    assert revert_text(revert, {bytes.fromhex("deadbeef"): "TooEarly()"}) == words


@given(st.sampled_from([b"", ERROR_STRING, PANIC]), st.binary(max_size=600))
def test_any_revert_is_described_in_bounds(start: bytes, garbage: bytes) -> None:
    """A stranger's bytes can neither fill nor corrupt an operator's screen."""
    words = revert_text(start + garbage)
    assert len(words) <= MAX_REASON_BYTES
    assert words.isprintable()
    assert words or not start + garbage
