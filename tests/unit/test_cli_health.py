"""`relayer health`, run as a container runs it, on a real server or what stands in its place."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from relayer.devnet.anvil import free_port
from relayer.ops.http import Health, Readiness, build_app
from relayer.ops.metrics import Metrics
from relayer.ops.web import WebServer
from tests.api_fakes import EmptyStore, dapp_api

WELL = Readiness(True)


@dataclass(frozen=True, slots=True)
class Said:
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str


async def ask_health(folder: Path, port: int, *options: str, host: str = "127.0.0.1") -> Said:
    """Run the command in a process of its own."""
    config = folder / "relayer.yaml"
    endpoint = {"url": "http://127.0.0.1:1"}
    chains = {"one": {"id": 1, "endpoints": [endpoint]}}
    config.write_text(yaml.safe_dump({"http": {"host": host, "port": port}, "chains": chains}))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relayer", "--config", str(config), "health", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode is not None
    return Said(child.returncode, out.decode(), err.decode())


async def ask_about(
    folder: Path, store: Readiness, chains: Mapping[str, Readiness], *options: str, **more: Any
) -> Said:
    """Ask about a relayer whose parts are as given."""

    async def probe() -> Health:
        return Health(store, chains)

    metrics = Metrics()
    app = build_app(api=dapp_api(EmptyStore(), metrics), metrics=metrics, readiness=probe)
    server = WebServer(app, section="http", host="127.0.0.1", port=0)
    port = await server.start()
    try:
        return await ask_health(folder, port, *options, **more)
    finally:
        await server.aclose()


async def test_ready_is_zero(tmp_path: Path) -> None:
    """Everything works."""
    said = await ask_about(tmp_path, WELL, {"one": WELL})
    assert (said.code, said.out) == (0, "ready\n")


async def test_a_chain_that_is_down_is_named_but_the_others_count(tmp_path: Path) -> None:
    """Degraded is ready: a restart would not bring the chain back."""
    chains = {"one": WELL, "two": Readiness(False, "no endpoint answers")}
    said = await ask_about(tmp_path, WELL, chains)
    assert (said.code, said.out) == (0, "degraded: two (no endpoint answers)\n")


async def test_without_its_store_it_is_not_ready(tmp_path: Path) -> None:
    """Exit 1, as container engines want it, and the reason for people."""
    said = await ask_about(tmp_path, Readiness(False, "Redis is away"), {"one": WELL}, "--json")
    assert said.code == 1
    assert json.loads(said.out) == {
        "ready": False,
        "status": "not ready",
        "detail": "store (Redis is away)",
    }


async def test_a_server_on_every_address_is_asked_on_loopback(tmp_path: Path) -> None:
    """Containers listen on 0.0.0.0, which is no address to connect to everywhere."""
    said = await ask_about(tmp_path, WELL, {"one": WELL}, host="0.0.0.0")
    assert said.code == 0


async def test_nobody_listening_is_not_ready(tmp_path: Path) -> None:
    """The error says where it asked."""
    port = free_port()
    said = await ask_health(tmp_path, port)
    assert said.code == 1
    assert f"127.0.0.1:{port}/readyz" in said.out
    assert "refused" in said.out


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"store": 1, "chains": 2}'])
async def test_a_stranger_on_the_port_is_not_ready(tmp_path: Path, body: str) -> None:
    """Whatever answers, it is no relayer, and the check says so without a traceback."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get("/readyz", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        said = await ask_health(tmp_path, runner.addresses[0][1])
    finally:
        await runner.cleanup()
    assert said.code == 1
    assert said.out.startswith("not ready: 127.0.0.1:")


async def test_a_port_of_chance_cannot_be_asked(tmp_path: Path) -> None:
    """The configuration is wrong for a health check, and the line says how to mend it."""
    said = await ask_health(tmp_path, 0)
    assert said.code == 2
    assert "http.port" in said.err
