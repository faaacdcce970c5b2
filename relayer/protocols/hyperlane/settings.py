"""The operator's section of one Hyperlane bridge."""

from __future__ import annotations

from itertools import permutations
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from relayer.settings import AddressText, ExpectedDelay, Name, Section

Domain = Annotated[int, Field(ge=1, lt=2**32)]


class HyperlaneChainSettings(Section):
    """One chain's contracts; addresses are in the Hyperlane registry."""

    domain: Domain
    """Hyperlane's number of the chain (`Mailbox.localDomain()`), often its chain id."""
    mailbox: AddressText
    merkle_tree_hook: AddressText
    validator_announce: AddressText
    igp: tuple[AddressText, ...] = ()
    """Gas paymasters whose payments count."""
    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before the deployment of the mailbox and the hook: every leaf is needed."""


class CcipSettings(Section):
    """How CCIP-read ISMs may make us ask servers that a contract names."""

    enabled: bool = True
    allow_http: bool = False
    """Plain http too; never in production."""
    allow_private: bool = False
    """Private, loopback and link-local addresses too; never in production."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    max_bytes: Annotated[int, Field(gt=0, le=4 * 1024 * 1024)] = 256 * 1024
    max_urls: Annotated[int, Field(ge=1, le=16)] = 4


class StorageSettings(Section):
    """How validators' published signatures are read."""

    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    concurrency: Annotated[int, Field(ge=1, le=512)] = 64
    s3_signed: bool = False
    """Sign S3 reads with the credentials of boto's default chain (needs `botocore`)."""
    s3_endpoint: SecretStr | None = None
    """Another S3 service for all buckets, addressed by path, for example a mirror."""
    gcs_endpoint: SecretStr | None = None

    @field_validator("s3_endpoint", "gcs_endpoint")
    @classmethod
    def _is_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("is not an http(s) URL")
        return url


class HyperlaneSettings(Section):
    """Hyperlane mailboxes between two or more chains, proved by validators' signatures."""

    chains: Annotated[dict[Name, HyperlaneChainSettings], Field(min_length=2)]
    routes: Literal["all"] | tuple[tuple[Name, Name], ...] = "all"
    """`all`, or pairs of chain names: `[[origin, destination], ...]`."""
    expected_delay: ExpectedDelay = ExpectedDelay(earliest_s=0, latest_s=1200)
    """From a block that we hold final to enough validators' signatures: each waits for its own
    `reorgPeriod`, which no contract states. Estimates rest on it until there are deliveries."""
    checkpoint_poll_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    """How old a validator's latest index may be before it is read again."""
    cache_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long ISM configurations and storage locations are believed."""
    allow_local_storage: bool = False
    """Read validators' `file://` locations; only where we share a disk with them."""
    storage: StorageSettings = StorageSettings()
    ccip: CcipSettings = CcipSettings()

    @model_validator(mode="after")
    def _is_consistent(self) -> HyperlaneSettings:
        domains: dict[int, str] = {}
        for name, chain in self.chains.items():
            if chain.domain in domains:
                other = domains[chain.domain]
                raise ValueError(f"chains {other} and {name} have the same domain {chain.domain}")
            domains[chain.domain] = name
        for pair in self.pairs():
            unknown = [name for name in pair if name not in self.chains]
            if unknown:
                raise ValueError(f"routes: {unknown[0]!r} is not one of the bridge's chains")
            if pair[0] == pair[1]:
                raise ValueError(f"routes: {pair[0]!r} leads to itself")
        if not self.pairs():
            raise ValueError("routes: give at least one, or 'all'")
        return self

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The configured routes as (origin, destination) chain names, each once."""
        if self.routes == "all":
            return tuple(permutations(self.chains, 2))
        return tuple(dict.fromkeys(self.routes))
