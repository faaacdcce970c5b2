"""What the engine needs of a signer, wherever its key lives."""

from __future__ import annotations

from typing import Protocol

from relayer.chains.transactions import Envelope, SignedTransaction
from relayer.message import Address


class Signer(Protocol):
    """Somebody who can sign for one address."""

    @property
    def address(self) -> Address: ...

    async def sign(self, tx: Envelope) -> SignedTransaction:
        """Sign one envelope, within a bounded time.

        Signing the same envelope again may give other bytes, hence another hash: what is to be
        sent again is sent as it was stored. Raises `SignerUnavailable` when there is no signature
        to be had now, `SigningRefused` when this signer may not sign this envelope.
        """
        ...

    async def aclose(self) -> None:
        """Let go of what was opened for signing."""
        ...
