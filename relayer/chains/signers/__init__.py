"""Signing, wherever the key lives: in a file, in a keystore, in a service, behind a server."""

from relayer.chains.signers.guard import GuardedSigner, Limits
from relayer.chains.signers.local import LocalSigner, load_local
from relayer.chains.signers.opening import Opener, openers_of
from relayer.chains.signers.signer import Signer

__all__ = [
    "GuardedSigner",
    "Limits",
    "LocalSigner",
    "Opener",
    "Signer",
    "load_local",
    "openers_of",
]
