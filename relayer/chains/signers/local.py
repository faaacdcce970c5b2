"""A key in this process: where it is read from, and the fast way to sign with it.

The key never leaves the signer: not in its repr, not in an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from coincurve import PrivateKey
from eth_account import Account

from relayer.chains.signers.recovery import address_of
from relayer.chains.transactions import (
    Envelope,
    SignedTransaction,
    signed_bytes,
    signing_payload,
)
from relayer.errors import ConfigInvalid
from relayer.keccak import keccak256
from relayer.message import TxHash
from relayer.settings import SignerSettings

MAX_KEY_FILE = 64 * 1024
"""Bytes; a keystore is under 1 KiB."""


class LocalSigner:
    """A key in this process; one signature takes tens of microseconds in C."""

    __slots__ = ("_key", "address")

    def __init__(self, key: bytes) -> None:
        try:
            self._key = PrivateKey(key)
        except ValueError:
            raise ConfigInvalid("a signing key is not a number of the secp256k1 group") from None
        point = self._key.public_key.format(compressed=False)
        self.address = address_of(point[1:])

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    def __reduce__(self) -> str:
        raise TypeError("a signer is not copied")

    async def sign(self, tx: Envelope) -> SignedTransaction:
        """Sign with an RFC 6979 nonce, so the same each time, and a low s."""
        digest = keccak256(signing_payload(tx))
        signature = self._key.sign_recoverable(digest, hasher=None)
        raw = signed_bytes(
            tx,
            parity=signature[64],
            r=int.from_bytes(signature[:32], "big"),
            s=int.from_bytes(signature[32:64], "big"),
        )
        return SignedTransaction(raw=raw, hash=TxHash("0x" + keccak256(raw).hex()))

    async def aclose(self) -> None:
        """There is nothing to let go of."""


def load_local(settings: SignerSettings, environ: Mapping[str, str]) -> LocalSigner:
    """Read the key from its file, variable or keystore; ConfigInvalid says what is wrong with it.

    Decrypting a keystore takes about a second by design of its key derivation.
    """
    if settings.key_env is not None:
        text = environ.get(settings.key_env)
        if not text:
            raise ConfigInvalid(f"key_env: {settings.key_env} is not set")
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
        raise ConfigInvalid(f"{place} does not hold 64 hex digits, with or without 0x")
    return bytes.fromhex(found.group(1))


def _read(path: Path, key: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE + 1)
        if len(content) > MAX_KEY_FILE:
            raise ConfigInvalid(f"{key}: {path} is too large for a key")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as bad:
        why = bad.strerror if isinstance(bad, OSError) else "not text"
        raise ConfigInvalid(f"{key}: cannot read {path}: {why}") from None


def _decrypted(path: Path, password: str) -> bytes:
    """The key in a Web3 Secret Storage file (version 3, and version 4 of EIP-2335)."""
    text = _read(path, "keystore")
    try:
        return bytes(Account.decrypt(json.loads(text), password))
    except (ValueError, TypeError, KeyError, NotImplementedError):
        raise ConfigInvalid(f"keystore: {path} is no keystore, or its password is wrong") from None
