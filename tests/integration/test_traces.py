"""A running relayer tells a collector how each of its messages was delivered."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayer.devnet.anvil import free_port
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet, WorldPlan
from tests.collector import collecting
from tests.fault.conftest import until

pytestmark = pytest.mark.chain


async def test_every_delivered_message_has_one_trace(tmp_path: Path) -> None:
    """From a real run: the traces are the messages', and each has its stages."""
    port = free_port()
    async with collecting() as collector:

        async def all_told() -> bool:
            return sum(not span.parent_span_id for span in collector.spans) >= 12

        http = {"host": "127.0.0.1", "port": port}
        plan = WorldPlan(more_settings={"http": http, "traces": {"url": collector.url}})
        async with Devnet(tmp_path / "world", plan) as world:
            relayer = RelayerProcess(world.config_path, port, tmp_path / "relayer.log")
            await relayer.start()
            try:
                sent = await world.traffic.spread(12)
                await until(all_told, within_s=90)
            finally:
                await relayer.stop()
    roots = [span for span in collector.spans if not span.parent_span_id]
    assert sorted(span.trace_id.hex() for span in roots) == sorted(one.id[-32:] for one in sent)
    for root in roots:
        stages = {span.name for span in collector.spans if span.parent_span_id == root.span_id}
        assert {"waiting", "ready", "submitted"} <= stages
