"""One signer's key, asked with care: left alone for a while after it failed, timed and counted."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from relayer.chains.health import Health
from relayer.chains.signers import Signer
from relayer.chains.transactions import Envelope, SignedTransaction
from relayer.errors import SignerUnavailable, SigningRefused
from relayer.message import Timestamp
from relayer.ops.metrics import Metrics

OK = "ok"
CANCELLED = "cancelled"


class SigningKey:
    """The circuit around one signer: a failing one delays its lane once in a cool-down."""

    def __init__(
        self, chain: str, signer: Signer, *, metrics: Metrics, now: Callable[[], Timestamp]
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._metrics = metrics
        self._now = now
        self._health = Health()
        self._log = structlog.get_logger("relayer").bind(chain=chain, signer=signer.address)

    @property
    def trouble(self) -> str:
        """Why nothing is asked of it for a while, empty when it may be asked."""
        return self._health.cause if self._health.is_cooling(self._now()) else ""

    async def sign(self, envelope: Envelope) -> SignedTransaction:
        """A signature; `SignerUnavailable` at once while it is left alone."""
        if self.trouble:
            raise SignerUnavailable(self._signer.address, f"left alone after: {self.trouble}")
        started = self._now()
        outcome = CANCELLED
        try:
            signed = await self._signer.sign(envelope)
            outcome = OK
        except SignerUnavailable as error:
            outcome = error.label
            self._health.failed(self._now(), error.cause)
            self._log.warning("signing_failed", error=str(error)[:300])
            raise
        except SigningRefused as error:
            outcome = error.label
            self._log.error("signing_refused", error=str(error)[:300])
            raise
        finally:
            self._metrics.signing(self._chain, self._signer.address, outcome, self._now() - started)
        self._health.answered(self._now() - started)
        return signed
