"""Nothing is delivered on a lie, and one bad validator does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relayer.devnet.accounts import VALIDATORS
from relayer.devnet.service import RelayerProcess
from relayer.devnet.validators import Fault
from relayer.devnet.world import Devnet
from tests.fault.conftest import all_delivered, assert_exactly_once, plan_with_port, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(180)]

RelayerOn = Callable[[Devnet, int], RelayerProcess]


@pytest.mark.parametrize("fault", list(Fault))
async def test_one_bad_validator_of_three_does_not_stop_delivery(
    tmp_path: Path, relayer_on: RelayerOn, fault: Fault
) -> None:
    """Garbage, wrong roots, wrong signatures or silence of one validator: the other two suffice."""
    plan, port = plan_with_port(faults={0: fault})
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.spread(6)
            await all_delivered(world, sent)
        finally:
            await relayer.stop()
        await assert_exactly_once(world, sent)


async def test_two_bad_validators_make_messages_wait_and_the_wait_names_them(
    tmp_path: Path, relayer_on: RelayerOn
) -> None:
    """Without a quorum nothing is sent, and the reason names the quorum and who is missing."""
    bad = {0: Fault.GARBAGE, 1: Fault.WRONG_ROOT}
    plan, port = plan_with_port(faults=bad)
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.spread(6)

            async def all_wait() -> bool:
                views = [await relayer.get(f"/v1/messages/{one.id}") for one in sent]
                return all(view.get("reason") == "awaiting_quorum" for view in views)

            await until(all_wait)
            view = await relayer.get(f"/v1/messages/{sent[0].id}")
            assert "1 of 2" in view["explanation"]
            assert str(VALIDATORS[0].address) in view["explanation"]
            assert str(VALIDATORS[1].address) in view["explanation"]
            assert len(await world.traffic.undelivered(sent)) == len(sent)
        finally:
            await relayer.stop()
