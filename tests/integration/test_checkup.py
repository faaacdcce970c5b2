"""`check-config --online` against real contracts: what is right is ok, each mistake is named."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayer.devnet.bridges import make_bridges
from relayer.devnet.ground import Ground, GroundPlan
from relayer.devnet.multicall import MULTICALL3
from relayer.devnet.world import Devnet

pytestmark = pytest.mark.chain

NOBODY = "0x" + "11" * 20
DEAD_PORT = 1
"""Nothing listens here."""


async def check(
    world: Ground, folder: Path, *, changes: Mapping[str, Any] | None = None
) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings of the command, with some keys of the configuration set."""
    config = world.config()
    config["data_dir"] = str(folder / "data")
    for path, value in (changes or {}).items():
        *keys, last = [int(key) if key.isdecimal() else key for key in path.split("/")]
        place: Any = config
        for key in keys:
            place = place[key]
        place[last] = value
    file = folder / "relayer.yaml"
    file.write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relayer", "check-config", "--online", "--json"),
        *("--config", str(file)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, json.loads(out)["findings"]


def wrong(findings: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {one["subject"]: one["text"] for one in findings if not one["ok"]}


async def test_a_right_configuration_is_ok(still_world: Devnet, tmp_path: Path) -> None:
    """No check cries wolf, and each endpoint and each setting is told of."""
    code, findings = await check(still_world, tmp_path)
    assert (code, wrong(findings)) == (0, {})
    subjects = {one["subject"] for one in findings}
    assert "chains.alpha.endpoints[0].url" in subjects
    assert "bridges.hyperlane.chains.alpha.domain" in subjects


@pytest.mark.parametrize(
    ("path", "value", "subject", "text"),
    [
        ("domain", 7777, ".chains.alpha.domain", "the configuration says 7777"),
        ("validator_announce", NOBODY, ".chains.alpha.validator_announce", NOBODY),
        ("mailbox", NOBODY, ".chains.alpha.mailbox", NOBODY),
        ("start_block", 10**9, " on alpha", "start_block 1000000000 is beyond the newest block"),
    ],
)
async def test_a_wrong_hyperlane_setting_is_named(
    still_world: Devnet, tmp_path: Path, path: str, value: object, subject: str, text: str
) -> None:
    """Exit code 1, with the field and the value."""
    changes = {f"bridges/hyperlane/chains/alpha/{path}": value}
    code, findings = await check(still_world, tmp_path, changes=changes)
    assert code == 1
    assert text in wrong(findings)[f"bridges.hyperlane{subject}"]


async def test_contracts_of_another_mailbox_are_named(still_world: Devnet, tmp_path: Path) -> None:
    """The mailbox is no hook; neither serves a ValidatorAnnounce of another mailbox."""
    section = still_world.config()["bridges"]["hyperlane"]["chains"]["alpha"]
    at = "bridges/hyperlane/chains/alpha"
    changes = {f"{at}/merkle_tree_hook": section["mailbox"], f"{at}/mailbox": section["igp"][0]}
    code, findings = await check(still_world, tmp_path, changes=changes)
    assert code == 1
    found = wrong(findings)
    at = "bridges.hyperlane.chains.alpha"
    assert {f"{at}.mailbox", f"{at}.domain", f"{at}.merkle_tree_hook"} <= set(found)
    assert section["igp"][0] in found[f"{at}.validator_announce"]


async def test_each_dead_url_is_named_without_its_secret(
    still_world: Devnet, tmp_path: Path
) -> None:
    """Other endpoints answer in their place, and contracts are checked all the same."""
    (good,) = still_world.config()["chains"]["alpha"]["endpoints"]
    dead = {"url": f"http://127.0.0.1:{DEAD_PORT}/secretkey"}
    good["ws_url"] = f"ws://127.0.0.1:{DEAD_PORT}/secretkey"
    changes = {"chains/alpha/endpoints": [good, dead]}
    code, findings = await check(still_world, tmp_path, changes=changes)
    assert code == 1
    found = wrong(findings)
    at = "chains.alpha.endpoints"
    assert set(found) == {f"{at}[0].ws_url", f"{at}[1].url"}
    assert f"ws://127.0.0.1:{DEAD_PORT}" in found[f"{at}[0].ws_url"]
    assert f"http://127.0.0.1:{DEAD_PORT}" in found[f"{at}[1].url"]
    assert "secretkey" not in json.dumps(findings)
    assert "bridges.hyperlane.chains.alpha.domain" in {one["subject"] for one in findings}


async def test_a_socket_that_works_is_ok_and_one_of_another_chain_is_not(
    still_world: Devnet, tmp_path: Path
) -> None:
    """A node's own socket."""
    config = still_world.config()["chains"]
    changes = {
        f"chains/{name}/endpoints/0/ws_url": config["alpha"]["endpoints"][0]["url"].replace(
            "http", "ws"
        )
        for name in ("alpha", "beta")
    }
    code, findings = await check(still_world, tmp_path, changes=changes)
    assert code == 1
    found = wrong(findings)
    assert set(found) == {"chains.beta.endpoints[0].ws_url"}
    assert f"serves chain {config['alpha']['id']}" in found["chains.beta.endpoints[0].ws_url"]


ROLLUPS = {
    "arbitrum/parent/outbox": "bridges.arbitrum.parent.outbox",
    "scroll/l1/scroll_chain": "bridges.scroll.l1.scroll_chain",
    "scroll/l2/messenger": "bridges.scroll.l2.messenger",
    "linea/l1/rollup": "bridges.linea.l1.rollup",
    "linea/l2/message_service": "bridges.linea.l2.message_service",
    "op_stack/l1/oracle": "bridges.op_stack.l1.oracle",
    "op_stack/l2/messenger": "bridges.op_stack.l2.messenger",
}


async def test_rollups_that_are_right_are_ok_and_each_wrong_contract_is_named(
    tmp_path: Path,
) -> None:
    """A wrong one has code, but is of another kind."""
    bridges = make_bridges(["arbitrum", "scroll", "linea", "op_stack"])
    plan = GroundPlan(block_time_s=None, finality={"depth": 0})
    async with Ground(tmp_path / "ground", bridges, plan) as ground:
        await ground.pause_operators()
        code, findings = await check(ground, tmp_path)
        assert (code, wrong(findings)) == (0, {})
        changes = {f"bridges/{path}": str(MULTICALL3) for path in ROLLUPS}
        code, findings = await check(ground, tmp_path, changes=changes)
        assert code == 1
        assert set(ROLLUPS.values()) <= set(wrong(findings))
        changes = {"bridges/op_stack/l1/portal": str(MULTICALL3)}
        code, findings = await check(ground, tmp_path, changes=changes)
        assert (code, set(wrong(findings))) == (1, {"bridges.op_stack.l1.portal"})
