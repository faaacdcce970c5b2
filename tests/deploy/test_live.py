"""A real Prometheus scrapes a running relayer: every panel shows something, and no alert fires."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from relayer.devnet.anvil import free_port
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet, WorldPlan
from tests.deploy.conftest import Tools
from tests.deploy.files import DASHBOARDS, DEPLOY, RULES, alerts, panel_queries

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(300)]

MESSAGES = 12
VARIABLES = {"$__rate_interval": "2m", "$__range": "10m", "$route": ".*", "$chain": ".*"}


class Prometheus:
    """One server on loopback with our rules, scraping one relayer every second."""

    def __init__(self, program: str, folder: Path, target: str) -> None:
        self._program = program
        self._folder = folder
        self._target = target
        self._url = f"http://127.0.0.1:{free_port()}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it, and end it by its process id."""
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        with (self._folder / "prometheus.log").open("wb") as log:
            child = await asyncio.create_subprocess_exec(
                self._program,
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'tsdb'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            if child.returncode is None:
                child.terminate()
            await child.wait()

    async def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API; None while it cannot be reached."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer,
            ):
                body = await answer.json()
        except (aiohttp.ClientError, ValueError):
            return None
        assert body["status"] == "success", body
        return body["data"]

    async def values(self, expr: str) -> list[float]:
        """What an instant query answers, without labels."""
        data = await self.ask("query", query=expr)
        return [] if data is None else [float(one["value"][1]) for one in data["result"]]

    def _config(self) -> dict[str, Any]:
        """The deployed configuration, in a hurry and with a target that is named."""
        config: dict[str, Any] = yaml.safe_load(
            (DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8")
        )
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(RULES)]
        (relayer,) = (job for job in config["scrape_configs"] if job["job_name"] == "relayer")
        del relayer["dns_sd_configs"]
        relayer["static_configs"] = [{"targets": [self._target.removeprefix("http://")]}]
        config["scrape_configs"] = [relayer]
        return config


IDLE_WEBHOOK = {
    "name": "idle",
    "url": "https://receiver.example",
    "secret": "a secret of at least 32 characters",
    "statuses": ["dead"],
}
"""It has its series, and is told nothing: no message here becomes a dead letter."""


async def test_every_panel_shows_something_and_no_alert_fires(tmp_path: Path, tools: Tools) -> None:
    """Messages are carried between local chains while Prometheus watches; then all is asked."""
    port = free_port()
    http = {"host": "127.0.0.1", "port": port}
    plan = WorldPlan(more_settings={"http": http, "webhooks": [IDLE_WEBHOOK]})
    async with Devnet(tmp_path / "world", plan) as world:
        relayer = RelayerProcess(world.config_path, port, tmp_path / "relayer.log")
        prometheus = Prometheus(tools.prometheus, tmp_path, relayer.url)
        await relayer.start()
        try:
            async with prometheus.running():
                await _until(prometheus, "count(relayer_messages) > 0")
                sent = await world.traffic.spread(MESSAGES)
                assert len(sent) == MESSAGES
                await _until(
                    prometheus, f'sum(relayer_messages{{status="delivered"}}) == {MESSAGES}'
                )
                delivered = 'sum(increase(relayer_stage_seconds_count{stage="seen_to_delivered"}'
                await _until(prometheus, f"{delivered}[2m])) > 1")
                await _until(prometheus, "count(rate(relayer_wei_spent_total[2m]) > 0) > 0")
                await _assert_every_panel_shows_something(prometheus)
                await _assert_rules_are_well_and_quiet(prometheus)
        finally:
            await relayer.stop()


async def _assert_every_panel_shows_something(prometheus: Prometheus) -> None:
    empty = []
    for query in (query for path in DASHBOARDS for query in panel_queries(path)):
        expr = query.expr
        for variable, value in VARIABLES.items():
            expr = expr.replace(variable, value)
        if not any(math.isfinite(value) for value in await prometheus.values(expr)):
            empty.append(f"{query.where}: {expr}")
    assert empty == []


async def _assert_rules_are_well_and_quiet(prometheus: Prometheus) -> None:
    groups = (await prometheus.ask("rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(alerts())
    assert {rule["name"]: rule["health"] for rule in rules if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


async def _until(prometheus: Prometheus, expr: str, *, within_s: float = 90.0) -> None:
    """Wait until an expression has a result; fails by time-out."""
    async with asyncio.timeout(within_s):
        while not await prometheus.values(expr):  # noqa: ASYNC110 - the world outside rings no bell
            await asyncio.sleep(0.2)
