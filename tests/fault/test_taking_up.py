"""The configuration of a running relayer is changed: nothing is lost, a wrong one does nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Sent
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet, WorldPlan
from tests.fault.conftest import all_delivered, assert_exactly_once, told_by_metric, until

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

TOKEN, NEXT_TOKEN = "planted-token-" + "a1" * 16, "planted-token-" + "b2" * 16
PLANTED = "planted-secret-in-a-url"


@dataclass
class Scene:
    """Three chains, of which the relayer is told as the test goes on."""

    world: Devnet
    relayer: RelayerProcess
    session: aiohttp.ClientSession
    tokens: Path

    def config(self) -> dict[str, Any]:
        """Everything there is, with a secret planted in an endpoint's address."""
        config = self.world.config()
        for name, chain in config["chains"].items():
            chain["endpoints"][0]["url"] += f"/?key={PLANTED}-{name}"
        return config

    def write(self, config: dict[str, Any]) -> None:
        self.world.config_path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def present(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.world.config_path.read_text(encoding="utf-8"))
        return found

    async def ask(
        self, method: str, path: str, body: Any = None, token: str = TOKEN
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"/v1/operator/{path}"
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def paused_reason(self, one: Sent) -> bool:
        told = await self.relayer.get(f"/v1/messages/{one.id}")
        return bool(told.get("reason") == "paused")

    async def call(self, *arguments: str) -> tuple[int, Any]:
        """Exit code and JSON of a command line."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relayer", "--config", str(self.world.config_path)),
            *("--json", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return process.returncode or 0, json.loads(out or err)

    async def counted(self, outcome: str, count: int) -> None:
        """Wait until the metrics, which may be a second old, count that many reloads."""

        async def there() -> bool:
            return await self.relayer.metric("relayer_reloads_total", outcome=outcome) == count

        await until(there)

    async def alerted(self, expected: bool) -> None:
        """Wait until the metrics tell whether the file's configuration is the one at work."""

        async def there() -> bool:
            successful = await self.relayer.metric("relayer_config_last_reload_successful")
            return (successful == 0) is expected

        await until(there)

    async def gone_again(self, whole: dict[str, Any]) -> None:
        """Take a chain, its bridge and a webhook away: no series goes on telling of them."""
        hook = {
            "name": "shop",
            "url": "https://127.0.0.1:1/",
            "secret": "planted-" + "c3" * 16,
            "allow_private": True,
        }
        self.write({**self.present(), "webhooks": [hook]})
        assert (await self.ask("POST", "reload"))[0] == 200
        words = (
            *('chain="gamma"', 'webhook="shop"'),
            *('gas_spent_total{route="third', 'audit_missing_leaves{tree="third'),
        )

        async def told_of_all() -> bool:
            shown = await self.metrics()
            return all(word in shown for word in words)

        await until(told_of_all)  # scrapes of the same second share one rendering
        self.write(without(whole, "gamma"))
        code, told = await self.ask("POST", "reload")
        assert (code, told["changes"][:1]) == (200, ["chains.gamma removed"])

        async def forgotten() -> bool:
            shown = await self.metrics()
            return not any(word in shown for word in words)

        await until(forgotten)

    async def metrics(self) -> str:
        async with self.session.get(f"{self.relayer.url}/metrics") as answer:
            return await answer.text()

    def told(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log under one name."""
        return [line for line in self.log() if line["event"] == event]

    def log(self) -> list[dict[str, Any]]:
        lines = self.relayer.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def without(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration before a chain was added to it."""
    bridge = config["bridges"]["hyperlane"]
    chains = {key: value for key, value in config["chains"].items() if key != name}
    known = {key: value for key, value in bridge["chains"].items() if key != name}
    return {
        **config,
        "chains": chains,
        "bridges": {"hyperlane": {**bridge, "chains": known}},
    }


@pytest.fixture
async def scene(
    tmp_path: Path, relayer_on: Callable[[Devnet, int], RelayerProcess]
) -> AsyncIterator[Scene]:
    tokens = tmp_path / "operator-token"
    tokens.write_text(TOKEN + "\n", encoding="ascii")
    port, operator_port = free_port(), free_port()
    more = {
        "http": {"host": "127.0.0.1", "port": port},
        "operator": {"port": operator_port, "token_files": [str(tokens)]},
    }
    async with (
        Devnet(tmp_path / "world", WorldPlan(more_settings=more)) as world,
        aiohttp.ClientSession(f"http://127.0.0.1:{operator_port}") as session,
    ):
        made = Scene(world, relayer_on(world, port), session, tokens)
        made.write(without(made.config(), "gamma"))
        await made.relayer.start()
        try:
            yield made
        finally:
            await made.relayer.stop()
            shown = made.relayer.log.read_text(encoding="utf-8")
            assert PLANTED not in shown
            assert TOKEN not in shown
            assert NEXT_TOKEN not in shown


async def test_a_chain_and_a_bridge_are_added_under_load_and_nothing_is_lost(
    scene: Scene,
) -> None:
    """Traffic over all three chains from before the third is known until after it is."""
    world, whole = scene.world, scene.config()
    sent: list[Sent] = []
    stop = asyncio.Event()

    async def load() -> None:
        traffic = world.traffic
        while not stop.is_set():
            sent.extend(await traffic.spread(30))

    pid = scene.relayer.pid
    async with asyncio.TaskGroup() as group:
        group.create_task(load())
        await until(lambda: _some_delivered(world, sent))
        second = without(whole, "gamma")
        two_bridges = {
            **whole,
            "bridges": {"hyperlane": second["bridges"]["hyperlane"], "third": _to_gamma(whole)},
        }
        scene.write(two_bridges)
        code, told = await scene.ask("POST", "reload")
        assert code == 200, told
        assert set(told["changes"]) == {"chains.gamma added", "bridges.third added"}
        many = len(sent)
        await until(lambda: _is_true(len(sent) > many + 60))
        stop.set()
    await all_delivered(world, sent, within_s=120)
    await assert_exactly_once(world, sent)
    assert scene.relayer.pid == pid
    _, shown = await scene.ask("GET", "config")
    assert set(shown["chains"]) == {"alpha", "beta", "gamma"}
    assert PLANTED not in json.dumps(shown)
    assert TOKEN not in json.dumps(shown)
    assert not [line for line in scene.log() if line["event"] == "tick_crashed"]
    (pause_s,) = [line["pause_s"] for line in scene.log() if line["event"] == "took_over"]
    assert pause_s < 5
    code, told = await scene.call("doctor")
    assert code == 0, [finding for finding in told["findings"] if not finding["ok"]]
    await scene.gone_again(whole)


def _to_gamma(whole: dict[str, Any]) -> dict[str, Any]:
    """A second bridge, over the routes that the first does not carry."""
    routes = [["alpha", "gamma"], ["gamma", "alpha"], ["beta", "gamma"], ["gamma", "beta"]]
    return {**whole["bridges"]["hyperlane"], "routes": routes}


async def _some_delivered(world: Devnet, sent: list[Sent]) -> bool:
    seen = [one for one in sent if "gamma" not in (one.origin, one.destination)]
    return bool(seen) and len(await world.traffic.undelivered(seen)) < len(seen)


async def _is_true(value: bool) -> bool:
    return value


async def test_a_wrong_file_changes_nothing_and_is_named(scene: Scene) -> None:
    """Each kind of mistake is answered with its field, and the relayer goes on as it was."""
    good = without(scene.config(), "gamma")
    _, before = await scene.ask("GET", "config")
    bridge = good["bridges"]["hyperlane"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**good, "polcy": {}}, "polcy: unknown key; did you mean `policy`?"),
        ({**good, "bridges": {"hyperlane": {**bridge, "chians": {}}}}, "bridges.hyperlane.chians"),
        ({**good, "bridges": {"new": {"protocol": "pigeon"}}}, "pigeon"),
        ({**good, "data_dir": "elsewhere"}, "data_dir: cannot be changed while"),
        ({**good, "http": {**good["http"], "port": 1}}, "http: cannot be changed while"),
        ({**good, "operator": {**good["operator"], "port": 1}}, "operator: cannot be changed"),
        (
            {**good, "operator": {**good["operator"], "token_files": ["/nowhere"]}},
            "operator.token_files[0]: cannot read /nowhere",
        ),
        (_changed(good, id=99), "99"),
        (_changed(good, signers=[{"key_file": "/nowhere"}]), "chains.alpha.signers[0]"),
        ({**good, "bridges": {}}, "bridges: is empty: nothing would be relayed"),
        (_without_code(good), "no code at 0x" + "c0de" * 10),
        (
            {**good, "bridges": {"hyperlane": bridge, "again": bridge}},
            "bridges.hyperlane: has the contracts of bridges.again",
        ),
        (_signing_twice(good), "like another signer of this chain: take one of them out"),
        (_with_dead_chain(good), "chains.dead: 0 of 1 endpoints answer"),
    ]
    for config, text in wrong:
        scene.write(config)
        code, told = await scene.ask("POST", "reload")
        assert (code in (400, 409), text in told["error"]["text"]) == (True, True), (text, told)
        assert PLANTED not in json.dumps(told)
    scene.world.config_path.write_text("chains: [", encoding="utf-8")
    assert (await scene.ask("POST", "reload"))[0] == 400
    assert (await scene.ask("GET", "config"))[1] == before
    sent = [await scene.world.traffic.dispatch("alpha", "beta", body=b"still here")]
    await all_delivered(scene.world, sent)
    _, log = await scene.ask("GET", "audit")
    assert [act["outcome"] for act in log["acts"]] == ["refused"] * (len(wrong) + 1)
    assert len(scene.told("reload_refused")) == len(wrong) + 1
    await scene.counted("refused", len(wrong) + 1)
    scene.write(_with_dead_chain(good))
    os.kill(scene.relayer.pid, signal.SIGHUP)

    async def noted() -> bool:
        newest = (await scene.ask("GET", "audit"))[1]["acts"][0]
        return bool(newest["who"] == "signal" and newest["outcome"] == "refused")

    await until(noted)
    assert len(scene.told("reload_refused")) == len(wrong) + 2
    await scene.counted("refused", len(wrong) + 2)
    code, told = await scene.call("reload")
    assert (code, "chains.dead" in told["error"]["text"]) == (2, True)
    assert len(scene.told("reload_refused")) == len(wrong) + 3
    await scene.alerted(True)
    scene.write(good)
    code, told = await scene.ask("POST", "reload")
    assert (code, told["changes"]) == (200, [])
    await scene.alerted(False)


def _without_code(config: dict[str, Any]) -> dict[str, Any]:
    """The mailbox of one chain is where there is none."""
    bridge = config["bridges"]["hyperlane"]
    alpha = {**bridge["chains"]["alpha"], "mailbox": "0x" + "c0de" * 10}
    chains = {**bridge["chains"], "alpha": alpha}
    return {**config, "bridges": {"hyperlane": {**bridge, "chains": chains}}}


def _signing_twice(config: dict[str, Any]) -> dict[str, Any]:
    """The same key from a second file."""
    (signer, *_) = config["chains"]["alpha"]["signers"]
    path = Path(signer["key_file"])
    copy = path.with_name("copy")
    copy.write_text(path.read_text(encoding="ascii"), encoding="ascii")
    return _changed(config, signers=[signer, {**signer, "key_file": str(copy)}])


def _with_dead_chain(config: dict[str, Any]) -> dict[str, Any]:
    dead = {"id": 99, "timeout_s": 2, "endpoints": [{"url": f"http://127.0.0.1:1/?key={PLANTED}"}]}
    return {**config, "chains": {**config["chains"], "dead": dead}}


async def test_a_chain_that_is_down_blocks_no_reload_of_something_else(scene: Scene) -> None:
    """The relayer was started with it; other settings are still taken up."""
    good = _with_dead_chain(without(scene.config(), "gamma"))
    await scene.relayer.stop()
    scene.write(good)
    await scene.relayer.start()
    scene.write({**good, "policy": {"deny": [{"origin": "alpha"}]}})
    code, told = await scene.ask("POST", "reload")
    assert (code, told["changes"], told["warnings"]) == (200, ["policy"], [])


async def test_a_reload_of_what_is_in_force_swaps_nothing(scene: Scene) -> None:
    """Neither agents nor leases; a token that changed is taken up alone, a key with its agents."""
    code, told = await scene.ask("POST", "reload")
    assert (code, told["reloaded"], told["changes"]) == (200, False, [])
    assert ":" in told["replica"]
    scene.tokens.write_text(NEXT_TOKEN, encoding="ascii")
    _, told = await scene.ask("POST", "reload")
    changed = "operator.token_files[0] holds something else"
    assert (told["reloaded"], told["changes"]) == (True, [changed])
    assert (await scene.ask("GET", "pauses"))[0] == 401
    assert scene.told("took_over") == []
    good = without(scene.config(), "gamma")
    former = _replaced_key(good, "0x" + "5e" * 32)
    _, told = await scene.ask("POST", "reload", token=NEXT_TOKEN)
    assert "chains.alpha.signers[0].key_file holds something else" in told["changes"]
    assert len(scene.told("took_over")) == 1
    _replaced_key(good, former)
    assert (await scene.ask("POST", "reload", token=NEXT_TOKEN))[0] == 200
    sent = [await scene.world.traffic.dispatch("beta", "alpha", body=b"as ever")]
    await all_delivered(scene.world, sent)
    await scene.counted("unchanged", 1)
    await scene.counted("taken_up", 3)


def _replaced_key(config: dict[str, Any], key: str) -> str:
    """Put another key into the file of a signer; the one that was there."""
    path = Path(config["chains"]["alpha"]["signers"][0]["key_file"])
    former = path.read_text(encoding="ascii")
    path.write_text(key, encoding="ascii")
    return former


def _changed(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    chains = config["chains"]
    return {**config, "chains": {**chains, "alpha": {**chains["alpha"], **changes}}}


async def test_reloads_without_a_pause_between_them_end_nothing(scene: Scene) -> None:
    """Each finds the agents of the one before in the middle of something, and stops them."""
    config = scene.config()
    pid = scene.relayer.pid
    for turn in range(20):
        for chain in config["chains"].values():
            chain["block_time_s"] = 1.0 + turn % 2 / 2
        scene.write(config)
        async with asyncio.timeout(10):
            code, _ = await scene.ask("POST", "reload")
        assert code == 200
    sent = await scene.world.traffic.spread(12)
    await all_delivered(scene.world, sent)
    assert scene.relayer.pid == pid


async def test_a_signal_takes_up_tokens_policy_and_level(scene: Scene) -> None:
    """SIGHUP is a reload: the new token counts, the old one does not, and it is written down."""
    code, told = await scene.call("log-level")
    assert (code, told["level"]) == (0, "info")
    good = without(scene.config(), "gamma")
    scene.tokens.write_text(NEXT_TOKEN, encoding="ascii")
    deny = [{"origin": "alpha"}]
    scene.write({**good, "policy": {"deny": deny}, "log": {"level": "debug"}})
    os.kill(scene.relayer.pid, signal.SIGHUP)

    async def took() -> bool:
        return (await scene.ask("GET", "config", token=NEXT_TOKEN))[0] == 200

    await until(took)
    assert (await scene.ask("GET", "config"))[0] == 401
    assert (await scene.ask("GET", "log-level", token=NEXT_TOKEN))[1]["level"] == "debug"
    sent = await scene.world.traffic.dispatch("alpha", "beta", body=b"not this one")

    async def held() -> bool:
        told = await scene.relayer.get(f"/v1/messages/{sent.id}")
        return bool(told.get("reason") == "denied_by_policy")

    await until(held)
    _, log = await scene.ask("GET", "audit", token=NEXT_TOKEN)
    act = log["acts"][0]
    assert (act["who"], act["what"], act["outcome"]) == ("signal", "SIGHUP", "ok")
    code, told = await scene.call("log-level", "error")
    assert (code, told["level"], told["before"]) == (0, "error", "debug")
    code, told = await scene.call("reload")
    assert (code, told["reloaded"], told["changes"]) == (0, False, [])
    scene.tokens.write_text(TOKEN, encoding="ascii")  # the file is ahead of the process
    code, told = await scene.call("reload")
    assert (code, "does not accept" in told["error"]["text"]) == (2, True)
    assert act["detail"] == "log, policy, operator.token_files[0] holds something else"


async def test_a_paused_route_waits_and_goes_on_also_over_a_restart(scene: Scene) -> None:
    """Paused through the API, kept in Redis, shown without who and why, delivered once resumed."""
    world = scene.world
    route = f"hyperlane:{world.sites['alpha'].chain_id}>{world.sites['beta'].chain_id}"
    code, _ = await scene.ask("POST", "pause", {"route": route, "why": "an exercise"})
    assert code == 200
    waits = await world.traffic.dispatch("alpha", "beta", body=b"waits")
    flows = await world.traffic.dispatch("beta", "alpha", body=b"flows")
    await all_delivered(world, [flows])
    await until(lambda: scene.paused_reason(waits))
    assert await scene.relayer.stop() == 0
    await scene.relayer.start()
    later = await world.traffic.dispatch("alpha", "beta", body=b"later")
    await until(lambda: scene.paused_reason(later))
    told = await scene.relayer.get(f"/v1/messages/{waits.id}")
    assert told["status"] == "waiting"
    assert "paused by an operator since" in told["explanation"]
    assert "an exercise" not in str(told)
    assert "operator-token" not in str(told)
    await told_by_metric(scene.relayer, "relayer_paused", kind="route")
    assert len(await world.traffic.undelivered([waits, later])) == 2
    assert (await scene.ask("POST", "resume", {"route": route}))[1]["changed"] is True
    await all_delivered(world, [waits, later])
    await assert_exactly_once(world, [waits, flows, later])


async def test_a_paused_chain_is_not_followed_until_it_is_resumed(scene: Scene) -> None:
    """Its cursor stands while its blocks go on, and catches up afterwards."""
    world = scene.world
    await scene.ask("POST", "pause", {"chain": "alpha"})
    sent = await world.traffic.dispatch("alpha", "beta", body=b"unseen")

    async def grown() -> bool:
        return int(await world.sites["alpha"].rpc.call("eth_blockNumber"), 16) > sent.block + 3

    await until(grown)
    assert await scene.relayer.metric("relayer_chain_cursor_block", chain="alpha") < sent.block
    assert len(await world.traffic.undelivered([sent])) == 1
    await scene.ask("POST", "resume", {"chain": "alpha"})
    await all_delivered(world, [sent])
    code, told = await scene.ask("POST", "backfill", {"chain": "alpha", "first": 1, "last": 3})
    assert (code, told["first"]) == (202, 1)

    async def read_again() -> bool:
        return not (await scene.ask("GET", "backfills"))[1]["backfills"]

    await until(read_again)
    await assert_exactly_once(world, [sent])
