"""From the two numbers of an ECDSA signature to the one form that a chain takes; pure.

A low s: EIP-2. Recovering the key from a signature: SEC 1, section 4.1.6.
"""

from __future__ import annotations

from coincurve import PublicKey

from relayer.keccak import keccak256
from relayer.message import Address

GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1 (SEC 2, section 2.4.1)."""


def address_of(point: bytes) -> Address:
    """The account of a public key given as 64 bytes; ValueError when it is not on the curve."""
    PublicKey(b"\x04" + point)
    return Address("0x" + keccak256(point)[12:].hex())


def with_parity(digest: bytes, r: int, s: int, *, signer: Address) -> tuple[int, int]:
    """The parity and the low s that make `signer` of (r, s); ValueError when nothing does.

    A key service does not tell the parity, so both are tried.
    """
    if not (0 < r < GROUP_ORDER and 0 < s < GROUP_ORDER):
        raise ValueError("a signature whose numbers are outside of the group")
    s = min(s, GROUP_ORDER - s)
    for parity in (0, 1):
        if recovered(digest, r, s, parity=parity) == signer:
            return parity, s
    raise ValueError(f"a signature that is not {signer}'s")


def recovered(digest: bytes, r: int, s: int, *, parity: int) -> Address | None:
    """Whose signature it is, None when nobody's."""
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
    try:
        key = PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except ValueError:
        return None
    return address_of(key.format(compressed=False)[1:])
