"""Three layers: a chain whose parent is itself a child, where claims pay a data fee besides gas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from relayer.devnet.anvil import free_port
from relayer.devnet.arbitrum import ArbitrumLocal, ArbitrumPlan
from relayer.devnet.ground import Ground, GroundPlan
from relayer.devnet.ledger import wasted_calls
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.service import RelayerProcess
from tests.fault.conftest import until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

LAYER_2 = ArbitrumPlan(name="arbitrum", child="arb", child_id=31901, parent="l1")
LAYER_3 = ArbitrumPlan(name="orbit", child="orbit", child_id=31905, parent="arb", parent_id=31901)
ORACLE = "0x00000000000000000000000000000000000000fe"
HIGH_FEE, LOW_FEE = 10**17, 10**12
MOST = 5 * 10**15
"""Wei that a message may cost: gas is far below, its share of a high data fee above."""


async def charge(chain: NodeRpc, wei: int) -> None:
    """Let the chain's oracle answer this data fee, whatever the data."""
    answer = "67" + wei.to_bytes(8, "big").hex() + "5f5260205ff3"  # PUSH8 MSTORE RETURN
    await chain.call("anvil_setCode", ORACLE, "0x" + answer)


async def test_a_layer_3_is_claimed_on_its_layer_2_and_that_on_layer_1(tmp_path: Path) -> None:
    """One relayer carries both at once; on layer 2 the data fee counts as a cost."""
    port = free_port()
    lower, upper = ArbitrumLocal(LAYER_2), ArbitrumLocal(LAYER_3)
    rules = {"fee": [{"kind": "sponsor", "max_per_message": str(MOST)}]}
    plan = GroundPlan(more_settings={"http": {"host": "127.0.0.1", "port": port}, "policy": rules})
    async with Ground(tmp_path / "ground", [lower, upper], plan) as ground:
        config = yaml.safe_load(ground.config_path.read_text(encoding="utf-8"))
        config["chains"]["arb"]["fees"] = {"data_fee_oracle": ORACLE}
        ground.config_path.write_text(yaml.safe_dump(config), encoding="utf-8")
        layer_2 = ground.nodes["arb"].rpc
        await charge(layer_2, HIGH_FEE)
        relayer = RelayerProcess(ground.config_path, port, tmp_path / "relayer.log")
        await relayer.start()
        try:
            from_2, from_3 = await lower.spread(5), await upper.spread(5)

            async def only_layer_3_waits() -> bool:
                views: list[Any] = [await relayer.get(f"/v1/messages/{one.id}") for one in from_3]
                dear = all(view.get("reason") == "budget_spent" for view in views)
                return dear and not await lower.undelivered(from_2)

            await until(only_layer_3_waits)
            assert await upper.undelivered(from_3) == list(from_3)
            await charge(layer_2, LOW_FEE)

            async def all_arrived() -> bool:
                return not await upper.undelivered(from_3)

            await until(all_arrived, within_s=100)
        finally:
            await relayer.stop()
        for bridge, sent in ((lower, from_2), (upper, from_3)):
            ledger = await bridge.deliveries(sent)
            assert {ledger[one.id].count for one in sent} == {1}
            assert all(ledger[one.id].body_arrived for one in sent)
        nodes = [node.rpc for node in ground.nodes.values()]
        assert await wasted_calls(nodes, {*lower.outcomes, *upper.outcomes}) == 0
