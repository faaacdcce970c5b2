"""Signing keys: where they are read from, and the fast way to sign with them.

The key never leaves the signer: not in its repr, not in an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from coincurve import PrivateKey
from eth_account import Account

from relayer.chains.transactions import (
    Envelope,
    SignedTransaction,
    signed_bytes,
    signing_payload,
)
from relayer.errors import ConfigInvalid
from relayer.keccak import keccak256
from relayer.message import Address, TxHash
from relayer.settings import SignerSettings

MAX_KEY_FILE = 64 * 1024
"""Bytes; a keystore is under 1 KiB."""


class Signer(Protocol):
    """Somebody who can sign for one address."""

    @property
    def address(self) -> Address: ...

    async def sign(self, tx: Envelope) -> SignedTransaction:
        """Sign one envelope; deterministic, so signing again gives the same bytes."""
        ...


class LocalSigner:
    """A key in this process; one signature takes tens of microseconds in C."""

    __slots__ = ("_key", "address")

    def __init__(self, key: bytes) -> None:
        try:
            self._key = PrivateKey(key)
        except ValueError:
            raise ConfigInvalid("a signing key is not a number of the secp256k1 group") from None
        point = self._key.public_key.format(compressed=False)
        self.address = Address("0x" + keccak256(point[1:])[12:].hex())

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    def __reduce__(self) -> str:
        raise TypeError("a signer is not copied")

    async def sign(self, tx: Envelope) -> SignedTransaction:
        """Sign with an RFC 6979 nonce and a low s, as every client does."""
        digest = keccak256(signing_payload(tx))
        signature = self._key.sign_recoverable(digest, hasher=None)
        raw = signed_bytes(
            tx,
            parity=signature[64],
            r=int.from_bytes(signature[:32], "big"),
            s=int.from_bytes(signature[32:64], "big"),
        )
        return SignedTransaction(raw=raw, hash=TxHash("0x" + keccak256(raw).hex()))


def load_signer(settings: SignerSettings, environ: Mapping[str, str]) -> Signer:
    """Read the key from its file, variable or keystore; ConfigInvalid says what is wrong with it.

    Decrypting a keystore takes about a second by design of its key derivation.
    """
    if settings.key_env is not None:
        text = environ.get(settings.key_env)
        if not text:
            raise ConfigInvalid(f"signer key_env: {settings.key_env} is not set")
        return LocalSigner(_hex_key(text, f"the variable {settings.key_env}"))
    if settings.key_file is not None:
        text = _read(settings.key_file, "key_file")
        return LocalSigner(_hex_key(text, str(settings.key_file)))
    assert settings.keystore is not None
    assert settings.keystore_password_file is not None
    password = _read(settings.keystore_password_file, "keystore_password_file").rstrip("\r\n")
    return LocalSigner(_decrypted(settings.keystore, password))


def _hex_key(text: str, place: str) -> bytes:
    found = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{64})", text.strip())
    if found is None:
        raise ConfigInvalid(f"signer: {place} does not hold 64 hex digits, with or without 0x")
    return bytes.fromhex(found.group(1))


def _read(path: Path, key: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE + 1)
        if len(content) > MAX_KEY_FILE:
            raise ConfigInvalid(f"signer {key}: {path} is too large for a key")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as bad:
        why = bad.strerror if isinstance(bad, OSError) else "not text"
        raise ConfigInvalid(f"signer {key}: cannot read {path}: {why}") from None


def _decrypted(path: Path, password: str) -> bytes:
    """The key in a Web3 Secret Storage file (version 3, and version 4 of EIP-2335)."""
    text = _read(path, "keystore")
    try:
        return bytes(Account.decrypt(json.loads(text), password))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        raise ConfigInvalid(
            f"signer keystore: {path} is not a keystore, or its password is wrong"
        ) from None
