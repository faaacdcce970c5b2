"""A key in this process: where it is read from, and the fast way to sign with it.

The key never leaves the signer: not in its repr, not in an error.
"""

from __future__ import annotations

from collections.abc import Mapping

from coincurve import PrivateKey

from relayer.chains.signers.key_files import hex_key, read_key_text, read_keystore, read_password
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
    """Read the key from its file, variable or keystore; `ConfigInvalid` says what is wrong."""
    if settings.key_env is not None:
        text = environ.get(settings.key_env)
        if not text:
            raise ConfigInvalid(f"key_env: {settings.key_env} is not set")
        return LocalSigner(hex_key(text, f"the variable {settings.key_env}"))
    if settings.key_file is not None:
        return LocalSigner(
            hex_key(read_key_text(settings.key_file, "key_file"), str(settings.key_file))
        )
    assert settings.keystore is not None
    assert settings.keystore_password_file is not None
    password = read_password(settings.keystore_password_file, "keystore_password_file")
    return LocalSigner(read_keystore(settings.keystore, password))
