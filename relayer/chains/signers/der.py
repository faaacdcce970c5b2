"""Strict reading of the two DER structures that key services answer; pure.

SubjectPublicKeyInfo: RFC 5480, section 2; curve secp256k1: SEC 2, section 2.4.1.
ECDSA-Sig-Value: RFC 3279, section 2.2.3. DER of integers: X.690, section 8.3.
"""

from __future__ import annotations

PUBLIC_KEY_HEAD = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")
"""All of an uncompressed secp256k1 key that comes before its two coordinates."""
POINT_BYTES = 64
WORD_BYTES = 32
SEQUENCE, INTEGER = 0x30, 0x02


def read_public_key(der: bytes) -> bytes:
    """The 64 bytes x and y of a secp256k1 SubjectPublicKeyInfo; ValueError for anything else."""
    head, point = der[: len(PUBLIC_KEY_HEAD)], der[len(PUBLIC_KEY_HEAD) :]
    if head != PUBLIC_KEY_HEAD or len(point) != POINT_BYTES:
        raise ValueError("a public key that is not of secp256k1")
    return point


def read_signature(der: bytes) -> tuple[int, int]:
    """The numbers r and s of an ECDSA-Sig-Value; ValueError unless it is exactly that.

    Whether they are numbers of the group is for the caller to check.
    """
    if len(der) < 2 or der[0] != SEQUENCE or der[1] != len(der) - 2:
        raise ValueError("a signature that is no DER sequence")
    r, rest = _read_integer(der[2:])
    s, rest = _read_integer(rest)
    if rest:
        raise ValueError("a signature with bytes after its end")
    return r, s


def _read_integer(der: bytes) -> tuple[int, bytes]:
    """A positive integer in its only encoding, and what comes after it."""
    size = der[1] if len(der) > 1 else 0
    digits, rest = der[2 : 2 + size], der[2 + size :]
    if not digits or der[0] != INTEGER or len(digits) != size or size > WORD_BYTES + 1:
        raise ValueError("a signature without two integers of its size")
    is_padded = len(digits) > 1 and digits[0] == 0 and digits[1] < 0x80
    if digits[0] >= 0x80 or is_padded:
        raise ValueError("a signature whose integers are negative or padded")
    return int.from_bytes(digits, "big"), rest
