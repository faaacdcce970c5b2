"""One signer's section: where its key lives, and what it may be used for."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, model_validator

from relayer.settings.values import (
    AddressText,
    FilePath,
    Section,
    SelectorText,
    admit_files,
    url_with,
)

KINDS = ("key_file", "key_env", "keystore", "aws_kms", "gcp_kms", "web3signer")
"""Where a key may live; a signer has exactly one of these keys."""

MOST_WEI = 2**256 - 1


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _safe_for_tokens(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if urlsplit(text).scheme != "https" and not is_loopback(text):
        raise ValueError("must be https://: an access token is sent with each request")
    return url


class AwsKmsSettings(Section):
    """A key in AWS KMS, of the spec ECC_SECG_P256K1; credentials by boto's default chain."""

    key_id: str = Field(min_length=1, max_length=2048)
    """Key id, ARN, or `alias/<name>`."""
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,32}$")
    endpoint_url: Annotated[SecretStr, url_with("http", "https")] | None = None


class GcpKmsSettings(Section):
    """A key in Google Cloud KMS, of the algorithm EC_SIGN_SECP256K1_SHA256."""

    key_version: str = Field(
        max_length=1024,
        pattern=r"^projects/[^/\s?#]+/locations/[^/\s?#]+/keyRings/[\w-]+"
        r"/cryptoKeys/[\w-]+/cryptoKeyVersions/[0-9]+$",
    )
    endpoint_url: Annotated[
        SecretStr, url_with("http", "https"), AfterValidator(_safe_for_tokens)
    ] = SecretStr("https://cloudkms.googleapis.com")
    """On loopback over http it is an emulator, which is sent no credentials."""


class Web3SignerSettings(Section):
    """A server that speaks `eth_signTransaction`; its URL is a secret."""

    url: Annotated[SecretStr, url_with("http", "https")]

    model_config = ConfigDict(json_schema_extra=lambda schema: admit_files(schema, "url"))


class AllowedTarget(Section):
    """A contract that a signer may call; without `selectors`, all of its functions."""

    to: AddressText
    selectors: list[SelectorText] | None = Field(default=None, min_length=1, max_length=256)


class SignerSettings(Section):
    """Where one signing key lives; the key itself never stands in the configuration."""

    key_file: FilePath | None = None
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    keystore: FilePath | None = None
    keystore_password_file: FilePath | None = None
    aws_kms: AwsKmsSettings | None = None
    gcp_kms: GcpKmsSettings | None = None
    web3signer: Web3SignerSettings | None = None
    address: AddressText | None = None
    """What the key's address must be."""
    timeout_s: float = Field(default=5, gt=0, le=15)
    """For one signature of a key that lives elsewhere; a stop must not wait longer for a thread."""
    allow: list[AllowedTarget] | None = Field(default=None, max_length=256)
    """None: any contract and function."""
    max_value_wei: int = Field(default=0, ge=0, le=MOST_WEI)
    """Of one transaction; deliveries of the bridges we know carry no value."""

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_source(self) -> SignerSettings:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS[:-1])} and {KINDS[-1]}")
        if (self.keystore is None) != (self.keystore_password_file is None):
            raise ValueError("keystore and keystore_password_file go together")
        if self.web3signer is not None and self.address is None:
            raise ValueError("web3signer needs `address`: such a server may hold many keys")
        return self
