"""The sections about the process itself: its store, its HTTP server, its log."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from relayer.settings.values import LONGEST_S, FilePath, Section, admit_files, url_with


def _network(value: object) -> object:
    """An address alone is the network that holds just it; whole numbers are no addresses."""
    if not isinstance(value, str | IPv4Network | IPv6Network):
        raise ValueError("must be an IP address or network, as 10.0.0.0/8")
    return value


RedisUrl = Annotated[SecretStr, url_with("redis", "rediss", "redis+sentinel", "unix")]


class RedisSettings(Section):
    """Where state lives; no `url` means a private server with its files in `data_dir`."""

    url: RedisUrl | None = None
    cluster: bool = False
    prefix: str = Field(default="relayer", pattern=r"^[A-Za-z0-9_.-]{1,32}$")
    timeout_s: float = Field(default=5, gt=0, le=LONGEST_S)
    lease_s: float = Field(default=15, ge=1, le=LONGEST_S)
    allow_unsafe: bool = False

    model_config = ConfigDict(json_schema_extra=lambda schema: admit_files(schema, "url"))


IpNetwork = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Origin = Annotated[
    str,
    Field(pattern=r"^https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?$"),
]
"""A web page's origin as browsers send it: scheme, host, and the port when it is not the usual."""


class HttpSettings(Section):
    """Where metrics, health and the API are served, and to whom; port 0 takes any free one."""

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=8080, ge=0, le=65535)
    rate_per_s: float = Field(default=20, ge=0.01, le=1_000_000)
    burst: int = Field(default=60, ge=1, le=1_000_000)
    trusted_proxies: list[IpNetwork] = Field(default=[], max_length=64)
    subscribers: int = Field(default=200, ge=0, le=10_000)
    subscribers_per_client: int = Field(default=20, ge=1, le=10_000)
    cors_origins: list[Origin] = Field(default=[], max_length=64)
    early: bool = True
    """Whether chains are asked for a transaction of which nothing is stored."""


class OperatorSettings(Section):
    """Where the operator API is served, and the files that hold its tokens; port 0 takes any."""

    host: str = Field(default="127.0.0.1", min_length=1, max_length=253)
    port: int = Field(default=8081, ge=0, le=65535)
    token_files: list[FilePath] = Field(min_length=1, max_length=2)
    """Two while one takes the other's place; both are valid then."""

    @field_validator("token_files")
    @classmethod
    def _differ(cls, files: list[Path]) -> list[Path]:
        if len({file.name for file in files}) < len(files):
            raise ValueError("must have different file names: the audit log tells them by these")
        return files


class TraceSettings(Section):
    """Where one trace per delivered message goes; without the section there are none."""

    url: Annotated[SecretStr, url_with("http", "https")]
    """The collector's OTLP/HTTP address with its path, `http://collector:4318/v1/traces`."""
    sample: float = Field(default=1.0, ge=0, le=1)
    """Part of the messages that are traced; the same ones on every replica."""

    model_config = ConfigDict(json_schema_extra=lambda schema: admit_files(schema, "url"))


class LogSettings(Section):
    """How much is logged, and in which form."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
