"""A signer whose key stays in a key service: the service signs digests, we make sure it did.

What the service answers is believed only when the signature recovers to the key's address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from relayer.chains.signers.der import read_public_key, read_signature
from relayer.chains.signers.recovery import address_of, with_parity
from relayer.chains.transactions import (
    Envelope,
    SignedTransaction,
    signed_bytes,
    signing_payload,
)
from relayer.errors import ConfigInvalid, SignerUnavailable
from relayer.keccak import keccak256
from relayer.message import Address, TxHash

T = TypeVar("T")


class KeyService(Protocol):
    """One key of a service; every method may raise `SignerUnavailable`."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    async def public_key(self) -> bytes:
        """The key's SubjectPublicKeyInfo, in DER."""
        ...

    async def sign_digest(self, digest: bytes) -> bytes:
        """An ECDSA-Sig-Value over 32 bytes that are hashed already, in DER."""
        ...

    async def aclose(self) -> None: ...


class KmsSigner:
    """Signs with a key in a service; not deterministic, as most services draw their nonces."""

    def __init__(self, service: KeyService, address: Address, *, timeout_s: float) -> None:
        self.address = address
        self._service = service
        self._timeout_s = timeout_s

    @classmethod
    async def open(cls, service: KeyService, *, timeout_s: float) -> KmsSigner:
        """Learn the key's address; `ConfigInvalid` when it is no key of secp256k1."""
        encoded = await _within(timeout_s, service, service.public_key())
        try:
            address = address_of(read_public_key(encoded))
        except ValueError as bad:
            raise ConfigInvalid(f"{service.name} has {bad}") from None
        return cls(service, address, timeout_s=timeout_s)

    def __repr__(self) -> str:
        return f"KmsSigner({self.address})"

    async def sign(self, tx: Envelope) -> SignedTransaction:
        """Have the digest signed and find the parity that makes the signature ours."""
        digest = keccak256(signing_payload(tx))
        encoded = await _within(self._timeout_s, self._service, self._service.sign_digest(digest))
        try:
            r, s = read_signature(encoded)
            parity, s = with_parity(digest, r, s, signer=self.address)
        except ValueError as bad:
            raise SignerUnavailable(self._service.name, f"answered {bad}") from None
        raw = signed_bytes(tx, parity=parity, r=r, s=s)
        return SignedTransaction(raw=raw, hash=TxHash("0x" + keccak256(raw).hex()))

    async def aclose(self) -> None:
        await self._service.aclose()


async def _within(timeout_s: float, service: KeyService, answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(timeout_s):
            return await answer
    except TimeoutError:
        raise SignerUnavailable(service.name, f"no answer within {timeout_s:g} s") from None
