"""Local chains for any set of bridges, and the relayer's configuration for them.

A bridge brings its contracts, its off-chain part (validators, a proposer) and its test traffic;
two bridges that name the same chain share it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import yaml

from relayer.devnet.accounts import DEPLOYER, RELAYERS
from relayer.devnet.anvil import Anvil, AnvilOptions
from relayer.devnet.multicall import MULTICALL3, install_multicall3
from relayer.message import MessageId

NONCE_GAP = 100
"""Deployers start at different nonces, so that no two chains have the same addresses."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that a test or the demo sent."""

    id: MessageId
    origin: str
    destination: str
    block: int
    """Of the origin."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the destination chain says of one message."""

    count: int
    """How often it was delivered: once, one hopes."""
    latency_s: float
    """From the moment its root could be proved against to the delivery's block time."""
    gas: float
    """Its share of the delivering transaction."""
    body_arrived: bool


Outcome = tuple[str, str]
"""topic0 of a log and who emits it."""


class LocalBridge(Protocol):
    """A protocol's contracts and off-chain part on local chains."""

    @property
    def name(self) -> str:
        """The bridge's name in the relayer's configuration."""
        ...

    @property
    def demo_messages(self) -> int:
        """How many messages the demo sends over all its routes when there are several bridges."""
        ...

    @property
    def outcomes(self) -> Collection[Outcome]:
        """The logs that say that one call of a relayer did its work; there after `deploy`."""
        ...

    @property
    def chains(self) -> Mapping[str, int]:
        """Names and ids of the chains it needs; equal names are shared between bridges."""
        ...

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        """Put the real contracts on the running chains; its files go below `directory`."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """Its section of the relayer's `bridges`, after `deploy`."""
        ...

    async def run(self) -> None:
        """Do what the rollup's own operators would (sign, propose, confirm) until cancelled."""
        ...

    async def spread(self, count: int, *, label: str = "hello") -> Sequence[Sent]:
        """Send `count` messages over all its routes and wait until all are mined."""
        ...

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        """Those of `sent`, in order, that their inbox has not taken yet."""
        ...

    async def deliveries(self, sent: Sequence[Sent]) -> Mapping[MessageId, Delivery]:
        """What the destinations say of each message, read from their logs."""
        ...


@runtime_checkable
class BringsNodes(Protocol):
    """What a bridge offers besides when some of its chains are not for us to start."""

    async def bring_nodes(
        self, stack: AsyncExitStack, missing: Collection[str], directory: Path
    ) -> Mapping[str, Anvil]:
        """Run those of its own chains that are among `missing` until the stack is closed.

        Its files go below `directory`; what another bridge has brought is not missing any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class GroundPlan:
    """What kind of chains to make, and how the relayer is to see them."""

    block_time_s: float | None = 1.0
    """None: blocks come with transactions."""
    gas_limit: int = 60_000_000
    """Of a block."""
    finality: Mapping[str, Any] = field(default_factory=lambda: {"depth": 1})
    """The relayer's finality rule on every chain."""
    more_settings: Mapping[str, Any] = field(default_factory=dict)
    """Top-level sections of the relayer's configuration, put over ours."""
    more_chain_settings: Mapping[str, Any] = field(default_factory=dict)
    """The same for every chain's section."""


class Ground:
    """The running chains with their bridges; an async context manager below `directory`."""

    def __init__(
        self, directory: Path, bridges: Sequence[LocalBridge], plan: GroundPlan | None = None
    ) -> None:
        self.directory = directory.resolve()
        self.bridges = {bridge.name: bridge for bridge in bridges}
        self.ground_plan = plan or GroundPlan()
        self.nodes: dict[str, Anvil] = {}
        self._stack = AsyncExitStack()
        self._operators: list[asyncio.Task[None]] = []

    @property
    def config_path(self) -> Path:
        """The relayer's configuration for these chains."""
        return self.directory / "relayer.yaml"

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
        """Boot the chains, deploy, write the configuration, let the bridges' operators work."""
        self.directory.mkdir(parents=True, exist_ok=True)
        chains = {name: id_ for one in self.bridges.values() for name, id_ in one.chains.items()}
        for one in self.bridges.values():
            if isinstance(one, BringsNodes):
                missing = chains.keys() - self.nodes.keys()
                self.nodes |= await one.bring_nodes(self._stack, missing, self.directory)
        for turn, (name, chain_id) in enumerate(chains.items()):
            if name not in self.nodes:
                await self._start_chain(name, chain_id, first_nonce=NONCE_GAP * turn)
        for bridge in self.bridges.values():
            await bridge.deploy(self.nodes, self.directory)
        self._write_config()
        self.resume_operators()

    async def stop(self) -> None:
        """Stop the bridges' operators, then end the chains; an operator's bug is raised here."""
        try:
            await self.pause_operators()
        finally:
            await self._stack.aclose()

    async def pause_operators(self) -> None:
        """Let no bridge's operator do anything until `resume_operators`."""
        tasks, self._operators = self._operators, []
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    def resume_operators(self) -> None:
        """Let the operators do what comes, and what came meanwhile."""
        if not self._operators:
            self._operators = [
                asyncio.create_task(one.run(), name=f"operators of {name}")
                for name, one in self.bridges.items()
            ]

    def config(self) -> dict[str, Any]:
        """The relayer's settings for these chains."""
        return {
            "data_dir": str(self.directory / "data"),
            "http": {"host": "127.0.0.1", "port": 0},
            "chains": {name: self._chain_settings(node) for name, node in self.nodes.items()},
            "bridges": {name: dict(one.settings()) for name, one in self.bridges.items()},
            **self.ground_plan.more_settings,
        }

    async def _start_chain(self, name: str, chain_id: int, *, first_nonce: int) -> None:
        plan = self.ground_plan
        options = AnvilOptions(chain_id, plan.block_time_s, gas_limit=plan.gas_limit)
        node = await self._stack.enter_async_context(Anvil(options))
        await node.rpc.call("anvil_setNonce", DEPLOYER.address, hex(first_nonce))
        await install_multicall3(node.rpc)
        self.nodes[name] = node

    def _chain_settings(self, node: Anvil) -> dict[str, Any]:
        plan = self.ground_plan
        return {
            "id": node.options.chain_id,
            "endpoints": [{"url": node.url, "ws_url": node.ws_url}],
            "finality": dict(plan.finality),
            "block_time_s": node.options.block_time_s or 1.0,
            "multicall": str(MULTICALL3),
            "signers": [{"key_file": str(self._key_file(place))} for place in range(len(RELAYERS))],
            **plan.more_chain_settings,
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
