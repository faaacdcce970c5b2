"""DER is read strictly, and what is no signature of the key never becomes one."""

from __future__ import annotations

import pytest
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from relayer.chains.signers.der import PUBLIC_KEY_HEAD, read_public_key, read_signature
from relayer.chains.signers.recovery import GROUP_ORDER, address_of, with_parity
from relayer.keccak import keccak256

KEY = PrivateKey(b"\x05" * 32)
ADDRESS = address_of(KEY.public_key.format(compressed=False)[1:])
NUMBERS = st.integers(1, 2**256 - 1)


@given(NUMBERS, NUMBERS)
def test_what_a_library_writes_is_read(r: int, s: int) -> None:
    """Every pair of numbers that fits comes back."""
    assert read_signature(encode_dss_signature(r, s)) == (r, s)


@given(NUMBERS, NUMBERS, st.data())
def test_one_changed_byte_is_refused_or_other_numbers(r: int, s: int, drawn: st.DataObject) -> None:
    """No two encodings are read as the same signature."""
    der = bytearray(encode_dss_signature(r, s))
    place = drawn.draw(st.integers(0, len(der) - 1))
    der[place] ^= drawn.draw(st.integers(1, 255))
    try:
        found = read_signature(bytes(der))
    except ValueError:
        return
    assert found != (r, s)
    assert encode_dss_signature(*found) == bytes(der)


@given(st.binary(max_size=80))
def test_garbage_is_a_value_error(der: bytes) -> None:
    """Whatever comes is a pair of numbers in its only encoding, or refused."""
    try:
        found = read_signature(der)
    except ValueError:
        return
    assert encode_dss_signature(*found) == der


@pytest.mark.parametrize(
    ("der", "words"),
    [
        ("", "no DER sequence"),
        ("30", "no DER sequence"),
        ("3006020101020101" + "00", "no DER sequence"),
        ("3007020101020101" + "00", "bytes after its end"),
        ("3080020101020101", "no DER sequence"),
        ("308106020101020101", "no DER sequence"),
        ("3006020181020101", "negative or padded"),
        ("300702020001020101", "negative or padded"),
        ("3004020101" + "02", "two integers"),
        ("3003020101", "two integers"),
        ("3005020101" + "0200", "two integers"),
        ("3006030101020101", "two integers"),
        ("3006020101020201", "two integers"),
        ("30270222" + "01" + "00" * 33 + "020101", "two integers"),
    ],
)
def test_what_is_no_signature_is_named(der: str, words: str) -> None:
    """Each way of being wrong has its own words."""
    with pytest.raises(ValueError, match=words):
        read_signature(bytes.fromhex(der))


def test_public_keys_of_other_kinds_are_refused() -> None:
    """Another curve, a compressed point, a longer or shorter one, and a point beside the curve."""
    point = KEY.public_key.format(compressed=False)[1:]
    good = PUBLIC_KEY_HEAD + point
    assert read_public_key(good) == point
    other_curve = good.replace(bytes.fromhex("2b8104000a"), bytes.fromhex("2b81040022"))
    for bad in (b"", good[:-1], good + b"\x00", other_curve, b"\x00" + good):
        with pytest.raises(ValueError, match="not of secp256k1"):
            read_public_key(bad)
    with pytest.raises(ValueError, match="public key"):
        address_of(bytes(64))


@given(st.binary(min_size=32, max_size=32), st.booleans())
def test_parity_is_found_and_s_made_low(digest: bytes, high: bool) -> None:
    """The same 65 bytes as the library that knows the parity from signing."""
    known = KEY.sign_recoverable(digest, hasher=None)
    r, s = int.from_bytes(known[:32], "big"), int.from_bytes(known[32:64], "big")
    told = GROUP_ORDER - s if high else s
    assert with_parity(digest, r, told, signer=ADDRESS) == (known[64], s)


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (GROUP_ORDER, 1), (1, GROUP_ORDER)])
def test_numbers_outside_of_the_group_are_refused(r: int, s: int) -> None:
    """Bounds of r and s, as the recovery needs them."""
    with pytest.raises(ValueError, match="outside of the group"):
        with_parity(keccak256(b""), r, s, signer=ADDRESS)


@given(NUMBERS.filter(lambda n: n < GROUP_ORDER), NUMBERS.filter(lambda n: n < GROUP_ORDER))
def test_nobodys_signature_is_refused(r: int, s: int) -> None:
    """Numbers that some key may have made are not ours."""
    with pytest.raises(ValueError, match="that is not 0x"):
        with_parity(keccak256(b"digest"), r, s, signer=ADDRESS)
