"""The signers of one lane: those that are open, and those whose keeper did not answer yet.

A key service that is down at the start costs its own signer and nobody else: it is tried again
until it answers, and the lane then takes it in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from relayer.chains.signers import Opener, Signer
from relayer.errors import ConfigInvalid, SignerUnavailable


class Roster:
    """Opens a lane's signers; an `Agent` as long as some are missing."""

    def __init__(self, chain: str, openers: Sequence[Opener]) -> None:
        self.signers: tuple[Signer, ...] = ()
        self._missing = list(openers)
        self._grew = asyncio.Event()
        self.name = f"roster:{chain}"
        self._log = structlog.get_logger("relayer").bind(agent=self.name, chain=chain)

    @property
    def missing(self) -> int:
        """Signers that are not open yet."""
        return len(self._missing)

    @property
    def unread(self) -> list[str]:
        """Where signers stand whose address nobody could tell yet."""
        return [opener.at for opener in self._missing if opener.settings.address is None]

    async def open(self) -> None:
        """Open them all for the first time; `ConfigInvalid` when one is set up wrongly."""
        for opener, found in await self._try():
            if isinstance(found, ConfigInvalid):
                raise found
            if isinstance(found, SignerUnavailable):
                self._log.error("signer_unavailable", field=opener.at, error=str(found)[:300])

    async def tick(self) -> bool:
        """Try those that are missing once more; raises `SignerUnavailable` when one still is.

        A key that is found to be set up wrongly now must not end what runs, so it is missing too.
        """
        failed = [found for _, found in await self._try() if found is not None]
        if failed:
            raise SignerUnavailable(self.name, "; ".join(str(one) for one in failed)[:300])
        return False

    async def grown(self, beyond: int) -> None:
        """Return as soon as more than `beyond` signers are open."""
        while len(self.signers) <= beyond:
            await self._grew.wait()

    async def aclose(self) -> None:
        """Close every signer that is open."""
        for signer in self.signers:
            await signer.aclose()

    async def _try(self) -> list[tuple[Opener, ConfigInvalid | SignerUnavailable | None]]:
        """Open what is missing, all at once; what went wrong with each, None when nothing did."""
        tried = list(self._missing)
        problems = await asyncio.gather(*(self._open(opener) for opener in tried))
        return list(zip(tried, problems, strict=True))

    async def _open(self, opener: Opener) -> ConfigInvalid | SignerUnavailable | None:
        try:
            signer = await opener.open()
        except (ConfigInvalid, SignerUnavailable) as error:
            return error
        if any(one.address == signer.address for one in self.signers):
            await signer.aclose()  # two would take the same nonces
            return ConfigInvalid(
                f"{opener.at}: signs as {signer.address}, like another signer of this chain:"
                " take one of them out"
            )
        self._missing.remove(opener)
        self.signers = (*self.signers, signer)
        self._grew.set()
        self._grew = asyncio.Event()
        return None
