"""A bad recipient spoils nothing but its own message, and ends as a dead letter with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from relayer.devnet import recipients
from relayer.devnet.accounts import DEPLOYER
from relayer.devnet.service import RelayerProcess
from relayer.devnet.traffic import Parcel
from relayer.devnet.world import Devnet
from tests.fault.conftest import all_delivered, plan_with_port, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

BAD = (
    recipients.REVERTING,
    recipients.REVERT_BOMB,
    recipients.GAS_BURNER,
    recipients.RETURN_BOMB,
)


async def test_bad_recipients_between_good_ones_in_one_batch(
    tmp_path: Path, relayer_on: Callable[[Devnet, int], RelayerProcess]
) -> None:
    """Good messages go at once; bad ones are retried and die with a decoded reason."""
    plan, port = plan_with_port(
        more_chain_settings={"lane": {"max_attempts": 2, "gas_cap": 1_000_000}}
    )
    async with Devnet(tmp_path / "world", plan) as world:
        alpha, beta = world.sites["alpha"], world.sites["beta"]
        parcels = []
        for turn, bad in enumerate(BAD):
            address = await bad.install(beta.rpc)
            parcels.append(Parcel(alpha, beta, beta.hyperlane.recipient, b"good %d" % turn))
            parcels.append(Parcel(alpha, beta, address, b"bad %d" % turn))
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.send(parcels)
            good, bad_ones = sent[::2], sent[1::2]
            await all_delivered(world, good, within_s=20)

            async def all_dead() -> bool:
                views = [await relayer.get(f"/v1/messages/{one.id}") for one in bad_ones]
                return all(view.get("status") == "dead" for view in views)

            await until(all_dead)
            views = [await relayer.get(f"/v1/messages/{one.id}") for one in bad_ones]
            assert [view["attempts"] for view in views] == [2] * len(views)
            assert views[0]["reason"] == "target_failed"
            assert {view["reason"] for view in views} <= {
                "target_failed",
                "out_of_gas",
                "gas_cap_exceeded",
            }
            assert len(await world.traffic.undelivered(sent)) == len(bad_ones)
        finally:
            await relayer.stop()


async def test_a_target_that_recovers_gets_its_message(
    tmp_path: Path, relayer_on: Callable[[Devnet, int], RelayerProcess]
) -> None:
    """Retried with back-off until the recipient accepts it."""
    plan, port = plan_with_port()
    async with Devnet(tmp_path / "world", plan) as world:
        beta = world.sites["beta"]
        address = await recipients.SWITCHED.install(beta.rpc)
        relayer = relayer_on(world, port)
        await relayer.start()
        try:
            sent = await world.traffic.dispatch("alpha", "beta", body=b"later", recipient=address)

            async def failed() -> bool:
                view = await relayer.get(f"/v1/messages/{sent.id}")
                return bool(view.get("attempts"))

            await until(failed)
            await beta.rpc.call(
                "eth_sendTransaction", {"from": str(DEPLOYER.address), "to": str(address)}
            )
            await all_delivered(world, [sent])
        finally:
            await relayer.stop()
