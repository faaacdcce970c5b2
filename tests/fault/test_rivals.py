"""Somebody else's delivery is a success: two relayers that know nothing of each other, at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Sent
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from tests.fault.conftest import all_delivered, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]


async def test_two_strangers_deliver_everything_and_each_reports_the_others_work(
    tmp_path: Path,
) -> None:
    """Separate stores and signers on the same chains: all delivered, both say by whom."""
    async with Devnet(tmp_path / "world") as world:
        rivals = [_rival(world, tmp_path, place) for place in range(2)]
        for rival in rivals:
            await rival.start()
        try:
            sent = await world.traffic.spread(48)
            await all_delivered(world, sent)
            reasons = [await _final_reasons(rival, sent) for rival in rivals]
            assert not set(reasons[0]) - {"delivered_by_us", "delivered_by_other"}
            opposite = {
                "delivered_by_us": "delivered_by_other",
                "delivered_by_other": "delivered_by_us",
            }
            assert [opposite[reason] for reason in reasons[0]] == reasons[1]
        finally:
            codes = [await rival.stop() for rival in rivals]
        assert codes == [0, 0]


async def _final_reasons(relayer: RelayerProcess, sent: list[Sent]) -> list[str]:
    """Each message's reason once its delivery is final."""

    async def all_final() -> bool:
        views = [await relayer.get(f"/v1/messages/{one.id}") for one in sent]
        return all(view.get("status") == "delivered" for view in views)

    await until(all_final)
    return [(await relayer.get(f"/v1/messages/{one.id}"))["reason"] for one in sent]


def _rival(world: Devnet, tmp_path: Path, place: int) -> RelayerProcess:
    """A relayer with a store of its own and one of the two funded keys."""
    config = world.config()
    port = free_port()
    # the test asks for every message again and again, from one address
    config["http"] = {"host": "127.0.0.1", "port": port, "rate_per_s": 10_000, "burst": 10_000}
    config["data_dir"] = str(tmp_path / f"data-{place}")
    for chain in config["chains"].values():
        chain["signers"] = [chain["signers"][place]]
    path = tmp_path / f"rival-{place}.yaml"
    path.write_text(yaml.safe_dump(config))
    return RelayerProcess(path, port, tmp_path / f"rival-{place}.log")
