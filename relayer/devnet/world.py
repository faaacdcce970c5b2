"""Hyperlane on local chains: three chains with its real contracts, and its signing validators."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relayer.devnet.accounts import VALIDATORS
from relayer.devnet.anvil import Anvil
from relayer.devnet.ground import Delivery, Ground, GroundPlan, LocalBridge, Outcome, Sent
from relayer.devnet.hyperlane import HyperlanePlan, IsmKind, deploy_hyperlane
from relayer.devnet.hyperlane_ledger import PROCESS_ID, read_hyperlane
from relayer.devnet.traffic import Site, Traffic
from relayer.devnet.validators import Fault, Validator, ValidatorSet
from relayer.message import MessageId


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """One chain of the world; its domain is not its chain id, as in real life."""

    name: str
    chain_id: int
    domain: int
    ism: IsmKind


CHAINS = (
    ChainPlan("alpha", 31337, 1001, IsmKind.MERKLE_ROOT),
    ChainPlan("beta", 31338, 1002, IsmKind.MESSAGE_ID),
    ChainPlan("gamma", 31339, 1003, IsmKind.AGGREGATION),
)


@dataclass(frozen=True, slots=True)
class WorldPlan(GroundPlan):
    """What kind of Hyperlane to make, and on what chains."""

    chains: tuple[ChainPlan, ...] = CHAINS
    threshold: int = 2
    """Signatures of the three validators that a delivery needs."""
    faults: Mapping[int, Fault] = field(default_factory=dict)
    """By the validator's place in `accounts.VALIDATORS`."""
    paid: bool = True
    """Dispatches pay a gas paymaster."""


class HyperlaneLocal:
    """`ground.LocalBridge` for Hyperlane between all of the plan's chains."""

    name = "hyperlane"
    demo_messages = 600

    def __init__(self, plan: WorldPlan | None = None) -> None:
        self.plan = plan or WorldPlan()
        self.sites: dict[str, Site] = {}
        self.validators: dict[str, ValidatorSet] = {}
        self._files = Path()

    @property
    def chains(self) -> Mapping[str, int]:
        return {chain.name: chain.chain_id for chain in self.plan.chains}

    @property
    def traffic(self) -> Traffic:
        """A new source of messages between the chains."""
        return Traffic(self.sites.values())

    @property
    def outcomes(self) -> Collection[Outcome]:
        return {(PROCESS_ID, str(site.hyperlane.mailbox)) for site in self.sites.values()}

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        self._files = directory / "validators"
        for chain in self.plan.chains:
            await self._deploy(chain, nodes[chain.name])

    def settings(self) -> Mapping[str, Any]:
        sites = {name: site.hyperlane for name, site in self.sites.items()}
        return {
            "protocol": "hyperlane",
            "routes": "all",
            "allow_local_storage": True,
            "chains": {
                name: {
                    "domain": site.domain,
                    "mailbox": str(site.mailbox),
                    "merkle_tree_hook": str(site.merkle_tree_hook),
                    "validator_announce": str(site.validator_announce),
                    "igp": [str(site.igp)],
                    "start_block": site.start_block,
                }
                for name, site in sites.items()
            },
        }

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name, one in self.validators.items():
                group.create_task(one.run(), name=f"validators of {name}")

    async def spread(self, count: int, *, label: str = "hello") -> Sequence[Sent]:
        return await self.traffic.spread(count, label=label)

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        return await self.traffic.undelivered(sent)

    async def deliveries(self, sent: Sequence[Sent]) -> Mapping[MessageId, Delivery]:
        threshold = self.plan.threshold
        return await read_hyperlane(self.sites, sent, self._files, threshold=threshold)

    async def _deploy(self, chain: ChainPlan, node: Anvil) -> None:
        plan = self.plan
        others = [other.domain for other in plan.chains if other is not chain]
        deployment = await deploy_hyperlane(
            node.rpc,
            HyperlanePlan(
                domain=chain.domain,
                ism=chain.ism,
                validators=tuple(account.address for account in VALIDATORS),
                threshold=plan.threshold,
                paid_domains=tuple(others) if plan.paid else (),
            ),
        )
        signers = [
            Validator(
                account,
                self._files / chain.name / account.address,
                fault=plan.faults.get(place),
            )
            for place, account in enumerate(VALIDATORS)
        ]
        validators = ValidatorSet(node.rpc, deployment, signers)
        await validators.announce()
        self.sites[chain.name] = Site(chain.name, chain.chain_id, node.rpc, deployment)
        self.validators[chain.name] = validators


class Devnet(Ground):
    """Local chains with Hyperlane, and with whatever bridges come besides."""

    def __init__(
        self, directory: Path, plan: WorldPlan | None = None, *, more: Sequence[LocalBridge] = ()
    ) -> None:
        self.plan = plan or WorldPlan()
        self.hyperlane = HyperlaneLocal(self.plan)
        super().__init__(directory, (self.hyperlane, *more), self.plan)

    @property
    def sites(self) -> Mapping[str, Site]:
        return self.hyperlane.sites

    @property
    def validators(self) -> Mapping[str, ValidatorSet]:
        return self.hyperlane.validators

    @property
    def traffic(self) -> Traffic:
        """A new source of Hyperlane messages."""
        return self.hyperlane.traffic
