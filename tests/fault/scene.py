"""One local bridge and the relayer on it as its users run it; what most fault tests play in."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Ground, GroundPlan, LocalBridge, Sent
from relayer.devnet.ledger import wasted_calls
from relayer.devnet.service import RelayerProcess
from tests.fault.conftest import until

COMMAND_TIMEOUT_S = 60.0
BridgeT = TypeVar("BridgeT", bound=LocalBridge)


class Scene(Generic[BridgeT]):
    """A bridge's chains, and a relayer that is not started yet."""

    def __init__(self, directory: Path, bridge: BridgeT, plan: GroundPlan | None = None) -> None:
        port = free_port()
        http = {"http": {"host": "127.0.0.1", "port": port}}
        plan = plan or GroundPlan()
        plan = replace(plan, more_settings={**http, **plan.more_settings})
        self.bridge = bridge
        self.ground = Ground(directory / "ground", [bridge], plan)
        self.relayer = RelayerProcess(self.ground.config_path, port, directory / "relayer.log")

    @asynccontextmanager
    async def chains(self, *, operators: bool = True) -> AsyncIterator[Self]:
        """The chains run; without `operators` nobody proposes or confirms by himself."""
        async with self.ground:
            if not operators:
                await self.ground.pause_operators()
            yield self

    @asynccontextmanager
    async def playing(self, *, operators: bool = True) -> AsyncIterator[Self]:
        """The chains run, the relayer is started, and both are ended."""
        async with self.chains(operators=operators):
            await self.relayer.start()
            try:
                yield self
            finally:
                await self.relayer.stop()

    async def view(self, one: Sent) -> dict[str, Any]:
        """What the API says of a message."""
        found: dict[str, Any] = await self.relayer.get(f"/v1/messages/{one.id}")
        return found

    async def has(self, one: Sent, **fields: str) -> bool:
        return fields.items() <= (await self.view(one)).items()

    async def command(self, *arguments: str) -> Any:
        """What a command of the CLI answers as JSON, beside the running relayer."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relayer", "--config", str(self.ground.config_path), "--json"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            answer, _ = await process.communicate()
        return json.loads(answer)

    async def delivered(self, sent: Sequence[Sent], *, within_s: float = 90.0) -> None:
        """Wait until all are delivered on chain."""

        async def done() -> bool:
            return not await self.bridge.undelivered(sent)

        await until(done, within_s=within_s)

    async def assert_exactly_once(self, sent: Sequence[Sent], *, wasted: int | None = 0) -> None:
        """Every message has one delivery and arrived, and so many calls of ours were in vain.

        None: that is not for the relayer alone to decide.
        """
        ledger = await self.bridge.deliveries(sent)
        assert {one.id: ledger[one.id].count for one in sent} == {one.id: 1 for one in sent}
        assert all(ledger[one.id].body_arrived for one in sent)
        assert wasted is None or await self.wasted() == wasted

    async def wasted(self) -> int:
        """Calls of our accounts that were paid for in vain."""
        nodes = [node.rpc for node in self.ground.nodes.values()]
        return await wasted_calls(nodes, self.bridge.outcomes)

    def was_read_again(self) -> bool:
        """Whether what an endpoint hid came by reading blocks again: of the auditor's two passes,
        the one that counts leaves or the sweep, either may be first."""
        return bool(self.events("leaves_healed") or self.events("records_restored"))

    def events(self, name: str) -> list[dict[str, Any]]:
        """The relayer's log lines of one kind."""
        lines = self.relayer.log.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line.get("event") == name]
