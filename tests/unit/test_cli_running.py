"""Commands that ask the running relayer: what they say of its answer, and of a wrong port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from relayer.cli import main

pytestmark = pytest.mark.usefixtures("own_logging")


@asynccontextmanager
async def answering(status: int, body: Mapping[str, Any]) -> AsyncIterator[int]:
    """A server that answers everything alike, by its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        yield server.port


async def reload(folder: Path, port: int) -> Result:
    """`relayer reload` with the operator API said to be at `port`."""
    token, config = folder / "token", folder / "relayer.yaml"
    token.write_text("t" * 32)
    chains = {"one": {"id": 1, "endpoints": [{"url": "http://127.0.0.1:1"}]}}
    operator = {"port": port, "token_files": [str(token)]}
    config.write_text(yaml.safe_dump({"chains": chains, "operator": operator}))
    return await asyncio.to_thread(
        CliRunner().invoke, main, ["--config", str(config), "reload"], env={"RELAYER_CONFIG": None}
    )


async def test_a_port_that_is_not_the_operator_s_is_named(tmp_path: Path) -> None:
    """The public API answers politely that it knows no such page: that helps nobody."""
    async with answering(404, {"error": {"code": "not_found", "text": "not found"}}) as port:
        said = await reload(tmp_path, port)
    assert said.exit_code == 5
    assert f"operator 127.0.0.1:{port}" in said.stderr
    assert "is not the operator API (not found): correct operator.port" in said.stderr


async def test_a_reload_says_what_changed(tmp_path: Path) -> None:
    """The name of a section alone says nothing."""
    told = {"reloaded": True, "changes": ["webhooks"], "warnings": [], "replica": "one"}
    async with answering(200, told) as port:
        said = await reload(tmp_path, port)
    assert said.exit_code == 0, said.stderr
    assert said.stdout.splitlines()[0] == "changed: webhooks"
