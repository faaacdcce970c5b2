"""What one generation of agents works with, opened from one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relayer.chains import ChainClient
from relayer.message import Address, ChainId, Route, TreeId
from relayer.ops.api import ApiMetrics
from relayer.ops.metrics import Metrics
from relayer.pipeline.lane import ChainBells, Engine
from relayer.pipeline.roster import Roster
from relayer.pipeline.tenure import Tenure
from relayer.settings import Settings
from relayer.store import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that was opened, for whoever runs, proves or backfills with it."""

    settings: Settings
    store: Store
    chains: Mapping[str, ChainClient]
    engine: Engine
    bells: Mapping[ChainId, ChainBells]
    metrics: Metrics
    api_metrics: ApiMetrics
    rosters: Mapping[str, Roster] = field(default_factory=dict)
    """The signers of each chain that has any; only where something is to be sent."""
    tenures: list[Tenure] = field(default_factory=list)
    """What its agents hold or would hold; none before they are at work."""

    @property
    def chain_ids(self) -> dict[str, ChainId]:
        return {name: chain.chain_id for name, chain in self.chains.items()}

    def signers_of(self, chain: str) -> set[Address]:
        """Addresses of the signers that are open."""
        roster = self.rosters.get(chain)
        return set() if roster is None else {signer.address for signer in roster.signers}

    @property
    def routes(self) -> set[Route]:
        """Every route that the configured bridges carry."""
        return {route for one in self.engine.adapters.values() for route in one.routes()}

    @property
    def trees(self) -> set[TreeId]:
        """Every tree that the configured bridges keep."""
        return {tree.id for one in self.engine.adapters.values() for tree in one.trees()}

    @property
    def webhooks(self) -> set[str]:
        """The configured webhooks by name."""
        return {webhook.name for webhook in self.settings.webhooks}
