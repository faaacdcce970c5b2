"""One chain's section: how to reach it, when to believe it, what to pay on it."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SecretStr, model_validator

from relayer.message import Address
from relayer.settings.signing import SignerSettings
from relayer.settings.values import (
    LONGEST_S,
    MOST,
    AddressText,
    Section,
    admit_files,
    url_with,
)

MULTICALL3 = Address("0xca11bde05977b3631167028862be2a173976ca11")
"""Multicall3's usual address on more than 250 chains (github.com/mds1/multicall3)."""

MOST_GWEI = 10**9
"""One coin a gas: no chain asks for it, and a fee in wei fits no `*_gwei` key."""


class EndpointSettings(Section):
    """One JSON-RPC endpoint of a chain; its URLs are secrets because providers put keys in them."""

    url: Annotated[SecretStr, url_with("http", "https")]
    ws_url: Annotated[SecretStr, url_with("ws", "wss")] | None = None
    priority: int = Field(default=0, ge=-MOST, le=MOST)
    max_concurrency: int = Field(default=16, ge=1, le=1024)
    requests_per_s: float | None = Field(default=None, ge=0.01, le=1_000_000)
    max_batch: int = Field(default=100, ge=1, le=10_000)

    model_config = ConfigDict(json_schema_extra=lambda schema: admit_files(schema, "url", "ws_url"))


class FinalitySettings(Section):
    """The block we act on: a tag the node keeps, or a distance behind its latest block."""

    tag: Literal["finalized", "safe", "latest"] | None = None
    depth: int | None = Field(default=None, ge=0, le=10_000_000)

    @model_validator(mode="after")
    def _one_rule(self) -> FinalitySettings:
        if (self.tag is None) == (self.depth is None):
            raise ValueError("give exactly one of tag and depth")
        return self


class NativeSettings(Section):
    """What the chain's own coin is called; only for showing amounts."""

    symbol: str = Field(default="ETH", pattern=r"^[A-Za-z0-9.$-]{1,16}$")
    decimals: int = Field(default=18, ge=0, le=36)


class FeeSettings(Section):
    """What a transaction may offer per gas, in gwei."""

    mode: Literal["auto", "eip1559", "legacy"] = "auto"
    max_fee_gwei: Decimal = Field(default=Decimal(500), gt=0, le=MOST_GWEI)
    tip_gwei: Decimal | None = Field(default=None, ge=0, le=MOST_GWEI)
    bump_percent: float = Field(default=12.5, ge=12.5, le=1000)
    """Nodes want at least 10% more in a replacement (go-ethereum's --txpool.pricebump)."""
    replace_after_blocks: int = Field(default=3, ge=1, le=MOST)
    data_fee_oracle: AddressText | None = None
    """A contract that answers `getL1Fee(bytes)`: what the chain adds for publishing calldata."""


class LaneSettings(Section):
    """Limits of one destination's queue."""

    batch_calls: int = Field(default=50, ge=1, le=1000)
    batch_gas: int = Field(default=12_000_000, ge=100_000, le=MOST)
    max_tx_bytes: int = Field(default=120_000, ge=1024, le=2**31)
    window: int = Field(default=16, ge=1, le=1024)
    claim: int = Field(default=200, ge=1, le=10_000)
    gas_cap: int = Field(default=2_000_000, ge=21_000, le=MOST)
    max_attempts: int = Field(default=40, ge=1, le=1_000_000)
    max_wasted: int = Field(default=3, ge=1, le=1000)
    """Transactions that one message may waste on chain before it is a dead letter."""
    max_refused_s: float = Field(default=30 * 86400, ge=3600, le=MOST)
    """How long simulations of one message may fail with a wait before it is a dead letter."""
    gas_margin_percent: int = Field(default=15, ge=0, le=1000)


def _half_a_block(fields: dict[str, Any]) -> float:
    return float(min(max(fields.get("block_time_s", 12.0) / 2, 0.1), 12.0))


class ChainSettings(Section):
    """One chain: how to reach it, when to believe it, what to pay on it."""

    id: int = Field(gt=0, lt=2**63)
    endpoints: list[EndpointSettings] = Field(min_length=1, max_length=64)
    quorum: int = Field(default=1, ge=1)
    finality: FinalitySettings = FinalitySettings(tag="finalized")
    block_time_s: float = Field(default=12, gt=0, le=LONGEST_S)
    poll_s: float = Field(default_factory=_half_a_block, ge=0.001, le=LONGEST_S)
    multicall: AddressText | None = MULTICALL3
    max_log_range: int = Field(default=2000, ge=1, le=MOST)
    fees: FeeSettings = FeeSettings()
    signers: list[SignerSettings] = Field(default=[], max_length=64)
    lane: LaneSettings = LaneSettings()
    native: NativeSettings = NativeSettings()
    explorer: str | None = Field(default=None, pattern=r"^https?://")
    timeout_s: float = Field(default=10, gt=0, le=600)
    max_response_bytes: int = Field(default=32 * 1024 * 1024, ge=64 * 1024, le=2**31)

    @model_validator(mode="after")
    def _quorum_can_be_met(self) -> ChainSettings:
        urls = {e.url.get_secret_value() for e in self.endpoints}
        if len(urls) != len(self.endpoints):
            raise ValueError("two endpoints have the same url")
        if self.quorum > len(self.endpoints):
            raise ValueError(
                f"quorum {self.quorum} needs as many endpoints, there are {len(self.endpoints)}"
            )
        return self
