"""A small world: three local chains with Hyperlane between them, its validators, and the
relayer's configuration for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from relayer.devnet.accounts import DEPLOYER, RELAYERS, VALIDATORS
from relayer.devnet.anvil import Anvil, AnvilOptions
from relayer.devnet.hyperlane import MULTICALL3, HyperlanePlan, IsmKind, deploy_hyperlane
from relayer.devnet.traffic import Site, Traffic
from relayer.devnet.validators import Fault, Validator, ValidatorSet

BRIDGE = "hyperlane"
NONCE_GAP = 100
"""Deployers start at different nonces, so that no two chains have the same addresses."""


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
class WorldPlan:
    """What kind of world to make."""

    chains: tuple[ChainPlan, ...] = CHAINS
    block_time_s: float | None = 1.0
    """None: blocks come with transactions."""
    gas_limit: int = 60_000_000
    """Of a block."""
    finality: Mapping[str, Any] = field(default_factory=lambda: {"depth": 1})
    """The relayer's finality rule on every chain."""
    threshold: int = 2
    """Signatures of the three validators that a delivery needs."""
    faults: Mapping[int, Fault] = field(default_factory=dict)
    """By the validator's place in `accounts.VALIDATORS`."""
    paid: bool = True
    """Dispatches pay a gas paymaster."""
    more_settings: Mapping[str, Any] = field(default_factory=dict)
    """Top-level sections of the relayer's configuration, put over ours."""
    more_chain_settings: Mapping[str, Any] = field(default_factory=dict)
    """The same for every chain's section."""


class Devnet:
    """The running world; an async context manager. Its files are below `directory`."""

    def __init__(self, directory: Path, plan: WorldPlan | None = None) -> None:
        self.directory = directory.resolve()
        self.plan = plan or WorldPlan()
        self.nodes: dict[str, Anvil] = {}
        self.sites: dict[str, Site] = {}
        self.validators: dict[str, ValidatorSet] = {}
        self._stack = AsyncExitStack()
        self._signing: list[asyncio.Task[None]] = []

    @property
    def config_path(self) -> Path:
        """The relayer's configuration for this world."""
        return self.directory / "relayer.yaml"

    @property
    def traffic(self) -> Traffic:
        """A new source of messages between the chains."""
        return Traffic(self.sites.values())

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Boot the chains, deploy, announce, write the configuration, begin to sign."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for turn, chain in enumerate(self.plan.chains):
            await self._start_chain(chain, first_nonce=NONCE_GAP * turn)
        self._write_config()
        self.resume_validators()

    async def stop(self) -> None:
        """Stop signing, then end the chains; a validator's bug is raised here."""
        await self.pause_validators()
        await self._stack.aclose()

    async def pause_validators(self) -> None:
        """Let no validator sign until `resume_validators`."""
        tasks, self._signing = self._signing, []
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def resume_validators(self) -> None:
        """Let the validators sign what comes, and what came meanwhile."""
        if not self._signing:
            self._signing = [
                asyncio.create_task(one.run(), name=f"validators of {name}")
                for name, one in self.validators.items()
            ]

    def config(self) -> dict[str, Any]:
        """The relayer's settings for this world."""
        return {
            "data_dir": str(self.directory / "data"),
            "http": {"host": "127.0.0.1", "port": 0},
            "chains": {name: self._chain_settings(name) for name in self.sites},
            "bridges": {BRIDGE: self._bridge_settings()},
            **self.plan.more_settings,
        }

    async def _start_chain(self, chain: ChainPlan, *, first_nonce: int) -> None:
        plan = self.plan
        options = AnvilOptions(chain.chain_id, plan.block_time_s, gas_limit=plan.gas_limit)
        node = await self._stack.enter_async_context(Anvil(options))
        await node.rpc.call("anvil_setNonce", DEPLOYER.address, hex(first_nonce))
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
                self.directory / "validators" / chain.name / account.address,
                fault=plan.faults.get(place),
            )
            for place, account in enumerate(VALIDATORS)
        ]
        validators = ValidatorSet(node.rpc, deployment, signers)
        await validators.announce()
        self.nodes[chain.name] = node
        self.sites[chain.name] = Site(chain.name, chain.chain_id, node.rpc, deployment)
        self.validators[chain.name] = validators

    def _chain_settings(self, name: str) -> dict[str, Any]:
        node = self.nodes[name]
        return {
            "id": self.sites[name].chain_id,
            "endpoints": [{"url": node.url, "ws_url": node.ws_url}],
            "finality": dict(self.plan.finality),
            "block_time_s": self.plan.block_time_s or 1.0,
            "multicall": str(MULTICALL3),
            "signers": [{"key_file": str(self._key_file(place))} for place in range(len(RELAYERS))],
            **self.plan.more_chain_settings,
        }

    def _bridge_settings(self) -> dict[str, Any]:
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

    def _key_file(self, place: int) -> Path:
        return self.directory / "keys" / f"relayer-{place}"

    def _write_config(self) -> None:
        for place, account in enumerate(RELAYERS):
            file = self._key_file(place)
            file.parent.mkdir(mode=0o700, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(f"0x{account.secret.hex()}\n", encoding="ascii")
        text = yaml.safe_dump(self.config(), sort_keys=False)
        self.config_path.write_text(text, encoding="utf-8")
