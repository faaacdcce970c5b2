"""Signing, wherever the key lives: in a file, in a keystore, in a service, behind a server."""

from relayer.chains.signers.guard import GuardedSigner, Limits
from relayer.chains.signers.key_files import (
    create_keystore,
    hex_key,
    read_key_text,
    read_keystore,
    read_password,
    stated_address,
)
from relayer.chains.signers.local import LocalSigner, load_local
from relayer.chains.signers.opening import LOCAL_KINDS, Opener, openers_of
from relayer.chains.signers.signer import Signer

__all__ = [
    "LOCAL_KINDS",
    "GuardedSigner",
    "Limits",
    "LocalSigner",
    "Opener",
    "Signer",
    "create_keystore",
    "hex_key",
    "load_local",
    "openers_of",
    "read_key_text",
    "read_keystore",
    "read_password",
    "stated_address",
]
