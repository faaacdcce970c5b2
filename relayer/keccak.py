"""keccak-256, through the C extension: the one hash of every tree, id and signature here."""

from __future__ import annotations

import sha3


def keccak256(payload: bytes) -> bytes:
    """Return the 32-byte keccak-256 digest of `payload`."""
    return sha3.keccak_256(payload).digest()  # type: ignore[no-any-return]
