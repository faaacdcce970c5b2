"""A store that cannot be opened: one line says where, what happened and what to do."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from click.testing import CliRunner
from pydantic import SecretStr
from redis import Redis

from relayer.cli import main
from relayer.errors import ConfigInvalid, RelayerError, StoreUnavailable
from relayer.settings import RedisSettings
from relayer.store import Store
from tests.redis import servers

pytestmark = pytest.mark.redis

SECRET = "correcthorse"
WAY_OUT = "start Redis there, correct the url, or remove it to run a private one in data_dir"


async def refusal(kind: type[RelayerError], url: str, **options: Any) -> str:
    """What opening says; one line, with no secret in it."""
    settings = RedisSettings(url=SecretStr(url), timeout_s=1, **options)
    with pytest.raises(kind) as caught:
        await Store.open(settings, "unused")
    text = str(caught.value)
    assert text.startswith("redis.url ")
    assert len(text.splitlines()) == 1
    assert SECRET not in text
    return text


@pytest.fixture(scope="module")
def locked_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server with a password."""
    with servers.running(tmp_path_factory.mktemp("locked")) as port:
        with Redis(port=port) as client:
            client.config_set("requirepass", "another")
        yield port


async def test_nobody_listens() -> None:
    """The place is named without user and password."""
    place = f"127.0.0.1:{servers.free_port()}"
    text = await refusal(StoreUnavailable, f"redis://me:{SECRET}@{place}/0")
    assert text == f"redis.url redis://{place}: connection refused; {WAY_OUT}"


async def test_no_such_host_and_no_such_socket() -> None:
    """The operating system's own word for it."""
    said = await refusal(StoreUnavailable, f"redis://:{SECRET}@nowhere.invalid:6379/0")
    assert "redis://nowhere.invalid:6379: no such host; " in said
    said = await refusal(StoreUnavailable, "unix:///nowhere/redis.sock")
    assert "redis.url /nowhere/redis.sock: no such file or directory; " in said


async def test_nobody_answers() -> None:
    """A server that accepts and is silent is given up after `redis.timeout_s`."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        text = await refusal(StoreUnavailable, f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
    assert f": no answer within 1 s; {WAY_OUT}" in text


@pytest.mark.parametrize("login", ["", f":{SECRET}@", f"me:{SECRET}@"])
async def test_a_wrong_password_is_a_configuration_error(locked_port: int, login: str) -> None:
    """Missing or wrong: starting again does not help."""
    text = await refusal(ConfigInvalid, f"redis://{login}127.0.0.1:{locked_port}/0")
    assert "refuses the user or password" in text


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("/99", {}, "DB index is out of range; correct the url"),
        ("/0", {"cluster": True}, "it is no Redis Cluster; set redis.cluster: false"),
    ],
)
async def test_what_the_server_does_not_have(
    tmp_path: Path, path: str, options: dict[str, Any], words: str
) -> None:
    """A database or a cluster that is not there is a configuration error."""
    with servers.running(tmp_path) as port:
        text = await refusal(ConfigInvalid, f"redis://127.0.0.1:{port}{path}", **options)
    assert words in text


async def test_sentinels_that_name_no_primary() -> None:
    """None of them answers."""
    ports = servers.free_port(), servers.free_port()
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    text = await refusal(StoreUnavailable, f"redis+sentinel://:{SECRET}@{hosts}/main")
    assert f"redis+sentinel://{hosts}: no sentinel there names a primary; " in text


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Commands set up logging; put the process's own back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("command", ["run", "list"])
def test_the_command_line_says_it_in_one_line(tmp_path: Path, command: str) -> None:
    """Exit code 5 for what cannot be reached, 2 for a directory that cannot be used."""
    chains = {"one": {"id": 1, "endpoints": [{"url": "http://127.0.0.1:1"}]}}
    port = servers.free_port()
    (tmp_path / "file").touch()
    for change, code, start in (
        (
            {"redis": {"url": f"redis://:{SECRET}@127.0.0.1:{port}/0"}},
            5,
            f"error: redis.url redis://127.0.0.1:{port}: connection refused; ",
        ),
        ({"data_dir": str(tmp_path / "file")}, 2, f"error: data_dir {tmp_path}/file: cannot be us"),
    ):
        path = tmp_path / "relayer.yaml"
        path.write_text(yaml.safe_dump({"chains": chains, "data_dir": str(tmp_path), **change}))
        result = CliRunner().invoke(main, ["--config", str(path), command])
        assert (result.exit_code, result.stderr.count("\n")) == (code, 1)
        assert result.stderr.startswith(start)
        assert SECRET not in result.output
