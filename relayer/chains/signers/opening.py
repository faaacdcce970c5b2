"""Opens the signers that a chain's section names, each behind its guard.

The key file, variable or keystore is read once; a key that lives elsewhere is asked for its
address. Nothing of a key, a password or a URL is in any error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from relayer.chains.signers.guard import GuardedSigner, Limits
from relayer.chains.signers.kms import KmsSigner
from relayer.chains.signers.kms_aws import AwsKey, require_botocore
from relayer.chains.signers.kms_gcp import GcpKey, require_google_auth
from relayer.chains.signers.local import load_local
from relayer.chains.signers.signer import Signer
from relayer.chains.signers.web3signer import Web3Signer
from relayer.errors import ConfigInvalid, SignerUnavailable
from relayer.message import Address, ChainId, Wei
from relayer.settings import Settings, SignerSettings

LOCAL_KINDS = frozenset({"key_file", "key_env", "keystore"})


@dataclass(frozen=True, slots=True)
class Opener:
    """One configured signer of a lane, not opened yet."""

    at: str
    """Where it stands in the configuration."""
    settings: SignerSettings
    chain: str
    chain_id: ChainId
    multicall: Address | None
    development: bool
    environ: Mapping[str, str] = field(repr=False)

    async def open(self) -> GuardedSigner:
        """Open it; `ConfigInvalid` needs a person, `SignerUnavailable` only time. Both say where.

        Decrypting a keystore takes about a second by design of its key derivation, in a thread.
        """
        try:
            signer = await self._open()
        except ConfigInvalid as bad:
            raise ConfigInvalid(f"{self.at}: {bad}") from None
        except SignerUnavailable as error:
            if error.lasting:
                raise ConfigInvalid(f"{self.at}: {error}") from None
            raise SignerUnavailable(self.at, f"{error.signer}: {error.cause}") from None
        self._warn_of_the_environment(signer.address)
        limits = Limits(
            chain_id=self.chain_id,
            max_value=Wei(self.settings.max_value_wei),
            allow=self.settings.allow,
            multicall=self.multicall,
        )
        return GuardedSigner(signer, limits)

    def known_address(self) -> Address | None:
        """What can be known without asking anybody: read from the key here, or said by `address`.

        `ConfigInvalid` says what is missing.
        """
        chosen = self.settings
        try:
            if chosen.kind in LOCAL_KINDS:
                address = load_local(chosen, self.environ).address
                _must_be(chosen.address, address)
                return address
            if chosen.aws_kms is not None:
                require_botocore()
            if chosen.gcp_kms is not None:
                require_google_auth()
        except ConfigInvalid as bad:
            raise ConfigInvalid(f"{self.at}: {bad}") from None
        return chosen.address

    async def _open(self) -> Signer:
        chosen = self.settings
        if chosen.web3signer is not None:
            assert chosen.address is not None
            return await Web3Signer.open(
                chosen.web3signer, chosen.address, timeout_s=chosen.timeout_s
            )
        if chosen.aws_kms is None and chosen.gcp_kms is None:
            local = await asyncio.to_thread(load_local, chosen, self.environ)
            _must_be(chosen.address, local.address)
            return local
        return await self._open_service()

    async def _open_service(self) -> Signer:
        chosen, timeout_s = self.settings, self.settings.timeout_s
        service: AwsKey | GcpKey
        if chosen.aws_kms is not None:
            service = AwsKey(chosen.aws_kms, timeout_s=timeout_s)
        else:
            assert chosen.gcp_kms is not None
            service = GcpKey(chosen.gcp_kms, timeout_s=timeout_s)
        try:
            signer = await KmsSigner.open(service, timeout_s=timeout_s)
            _must_be(chosen.address, signer.address)
        except BaseException:
            await service.aclose()
            raise
        return signer

    def _warn_of_the_environment(self, address: Address) -> None:
        """Variables leak: into child processes, crash reports, and whatever lists processes."""
        if self.settings.key_env is None or self.development:
            return
        structlog.get_logger("relayer").warning(
            "key_in_environment",
            field=self.at,
            variable=self.settings.key_env,
            chain=self.chain_id,
            signer=address,
            remedy="use key_file, keystore, aws_kms, gcp_kms or web3signer",
        )


def openers_of(settings: Settings, chain: str, environ: Mapping[str, str]) -> list[Opener]:
    """The signers that a chain's section names, in its order."""
    section = settings.chains[chain]
    return [
        Opener(
            at=f"chains.{chain}.signers[{place}]",
            settings=one,
            chain=chain,
            chain_id=ChainId(section.id),
            multicall=section.multicall,
            development=settings.is_for_development(chain),
            environ=environ,
        )
        for place, one in enumerate(section.signers)
    ]


def _must_be(wanted: Address | None, found: Address) -> None:
    if wanted is not None and wanted != found:
        raise ConfigInvalid(f"address: the key is that of {found}, not of {wanted}")
