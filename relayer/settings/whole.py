"""The whole configuration: all sections, and what must hold between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from relayer.settings.chain import ChainSettings
from relayer.settings.policy import PolicySettings
from relayer.settings.service import (
    HttpSettings,
    LogSettings,
    OperatorSettings,
    RedisSettings,
    TraceSettings,
)
from relayer.settings.values import FilePath, Name, Section
from relayer.settings.webhooks import WebhookSettings

LOCAL_CHAINS = frozenset({1337, 31337})
"""Ids that development chains give themselves: geth --dev and Ganache, Anvil and Hardhat."""


def _named_protocol(bridge: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(bridge.get("protocol"), str):
        raise ValueError("has no `protocol:` (`relayer protocols` lists them)")
    return bridge


RawBridge = Annotated[dict[str, Any], AfterValidator(_named_protocol)]


class Settings(Section):
    """Everything the operator decides."""

    data_dir: FilePath = Path("data")
    instance: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    redis: RedisSettings = RedisSettings()
    http: HttpSettings = HttpSettings()
    operator: OperatorSettings | None = None
    """None: there is no operator API."""
    log: LogSettings = LogSettings()
    traces: TraceSettings | None = None
    chains: dict[Name, ChainSettings] = Field(min_length=1)
    bridges: dict[Name, RawBridge] = Field(default={})
    """Raw sections; each is validated by the settings model of its protocol (`parse_section`)."""
    policy: PolicySettings = PolicySettings()
    webhooks: list[WebhookSettings] = Field(default=[], max_length=32)
    dry_run: bool = False
    development: bool = False
    """Quiet about what is unwise only where there is money."""
    retention_s: float = Field(default=7 * 86400, ge=60, le=3650 * 86400)

    _read_from: tuple[tuple[str, Path], ...] = PrivateAttr(default=())

    def is_for_development(self, chain: str) -> bool:
        """Whether nothing on this chain has a price: by its id, or because the operator says so."""
        return self.development or self.chains[chain].id in LOCAL_CHAINS

    @property
    def read_from(self) -> tuple[tuple[str, Path], ...]:
        """The `*_file` fields whose secrets are in here, each with its file."""
        return self._read_from

    @model_validator(mode="before")
    @classmethod
    def _names_to_ids(cls, raw: Any) -> Any:
        return _resolve_chain_names(raw)

    @model_validator(mode="after")
    def _webhooks_have_names_of_their_own(self) -> Settings:
        names = [webhook.name for webhook in self.webhooks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two webhooks have the name {name}")
        return self

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Settings:
        names: dict[int, str] = {}
        for name, chain in self.chains.items():
            if chain.id in names:
                raise ValueError(
                    f"chains {names[chain.id]} and {name} have the same id {chain.id}:"
                    " correct one, or take it out"
                )
            names[chain.id] = name
        return self


def json_schema() -> dict[str, Any]:
    """The JSON schema of the configuration file; the sections of bridges are left open."""
    return Settings.model_json_schema()


def _resolve_chain_names(raw: Any) -> Any:
    """Copy `raw` with chain names in policy rules replaced by the ids they stand for."""
    if not isinstance(raw, dict) or not isinstance(raw.get("chains"), dict) or "policy" not in raw:
        return raw
    ids = {n: c.get("id") for n, c in raw["chains"].items() if isinstance(c, dict)}

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(v) for v in value]
        if not isinstance(value, dict):
            return value
        ends = {"origin", "destination"}
        return {
            k: ids.get(v, v) if k in ends and isinstance(v, str) else resolved(v)
            for k, v in value.items()
        }

    return {**raw, "policy": resolved(raw["policy"])}
