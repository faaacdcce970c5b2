"""The image's own steps on a bare Debian: then it carries messages as nobody, on a read-only root,
by itself and by the configuration that is shipped with compose file and manifests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from relayer.devnet.anvil import free_port
from relayer.devnet.service import STOP_TIMEOUT_S
from relayer.devnet.world import Devnet, WorldPlan
from tests.deploy import shipped
from tests.deploy.dockerfile import words
from tests.deploy.image import Container, Image, variables

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(900)]

CONFIG = Path(variables()["RELAYER_CONFIG"])


@pytest.fixture
def image(bare_debian: Path, tmp_path: Path) -> Iterator[Image]:
    """Taken away again, as pytest would keep half a gigabyte a run."""
    made = Image(tmp_path / "tree")
    made.build(bare_debian)
    yield made
    # whatever is mounted below is not ours to delete
    subprocess.run(["rm", "--recursive", "--force", "--one-file-system", made.tree], check=True)


async def test_what_the_dockerfile_builds(
    image: Image, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """One test, because the image takes a minute to build: alone, in compose, in Kubernetes."""
    assert json.loads((image.tree / "sbom.json").read_text("utf-8"))["bomFormat"] == "CycloneDX"
    with subtests.test("with its private Redis"):
        await _it_runs_alone(image, tmp_path / "alone")
    for kind in (shipped.PlainFolder, shipped.KubeletVolume):
        with subtests.test("as shipped", kind=kind.__name__):
            await _it_runs_as_shipped(image, tmp_path / kind.__name__, kind)


async def _it_runs_alone(image: Image, folder: Path) -> None:
    """It delivers, says it is well, cannot write, and stops in time."""
    config, port = folder / "config", free_port()
    config.mkdir(parents=True)
    (data,) = words("VOLUME", "service")
    plan = WorldPlan(more_settings={"http": {"host": "0.0.0.0", "port": port}})
    async with Devnet(folder / "world", plan) as world:
        text = yaml.safe_dump({**world.config(), "data_dir": data})
        (config / CONFIG.name).write_text(text)
        mounts = {image.volume(data, folder): data, config: str(CONFIG.parent)}
        async with _running(image, world, mounts, port) as container:
            assert container.run("relayer", "health").returncode == 0
            assert container.run("touch", "/opt/relayer/x").returncode != 0
            assert container.run("touch", "/tmp/x").returncode == 0
            await _carry(world, 12)
            await world.traffic.spread(12, label="in flight")


async def _it_runs_as_shipped(
    image: Image, folder: Path, kind: type[shipped.PlainFolder | shipped.KubeletVolume]
) -> None:
    """The shipped configuration, secrets and Redis work together, and `relayer reload` as well."""
    made, _ = shipped.make_secrets(folder)
    async with shipped.compose_redis(folder, made) as redis_url, Devnet(folder / "world") as world:
        await _give_money(world, shipped.address_of(made))
        config, secrets = kind(folder / "mounted-config"), kind(folder / "mounted-secrets")
        settings = _on_free_ports(shipped.on_local_chains(world.config()))
        config.write({CONFIG.name: yaml.safe_dump(settings)})
        known = _files(made / "relayer") | {"redis-url": redis_url}
        secrets.write(known)
        mounts = {config.path: str(CONFIG.parent), secrets.path: shipped.SECRETS_AT}
        async with _running(image, world, mounts, settings["http"]["port"]) as container:
            await _carry(world, 6)
            _reload_everything(container, config, secrets, settings=settings, known=known)
            await _carry(world, 6)


@contextlib.asynccontextmanager
async def _running(
    image: Image, world: Devnet, mounts: Mapping[Path, str], port: int
) -> AsyncIterator[Container]:
    """Ready when it is entered; ended by SIGTERM, in time and well."""
    _let_everybody_read(world.directory)
    log = world.directory.parent / "log"
    container = await image.start({**mounts, world.directory: str(world.directory)}, log)
    try:
        await _until_ready(port, container)
        yield container
        container.child.terminate()
        assert await asyncio.wait_for(container.child.wait(), STOP_TIMEOUT_S) == 0
    finally:
        await container.end()


def _reload_everything(
    container: Container,
    config: shipped.PlainFolder | shipped.KubeletVolume,
    secrets: shipped.PlainFolder | shipped.KubeletVolume,
    *,
    settings: Mapping[str, Any],
    known: Mapping[str, str],
) -> None:
    """Nothing, a rule, something wrong, a second token, and the first one taken away."""

    def reload() -> tuple[int, str]:
        done = container.run("relayer", "reload")
        return done.returncode, done.stdout + done.stderr

    code, said = reload()
    assert (code, said.partition(";")[0]) == (0, "nothing changed")
    cheaper = {"kind": "quote_fraction", "fraction": "1/4"}
    settings = {**settings, "policy": {"fee": [cheaper]}}
    config.write({CONFIG.name: yaml.safe_dump(settings)})
    code, said = reload()
    assert (code, said.splitlines()[0]) == (0, "changed: policy")
    config.write({CONFIG.name: yaml.safe_dump({**settings, "retention_s": 7200})})
    code, said = reload()
    assert code == 2
    assert "retention_s: cannot be changed while the relayer runs" in said
    secrets.write({**known, "next-token": "e" * 40})
    (present,), following = settings["operator"]["token_files"], f"{shipped.SECRETS_AT}/next-token"
    for tokens in ([present, following], [following]):
        operator = {**settings["operator"], "token_files": tokens}
        config.write({CONFIG.name: yaml.safe_dump({**settings, "operator": operator})})
        code, said = reload()
        assert (code, said.splitlines()[0]) == (0, "changed: operator")


def _on_free_ports(settings: dict[str, Any]) -> dict[str, Any]:
    """This machine's ports are not a container's own."""
    return {
        **settings,
        "http": {**settings["http"], "port": free_port()},
        "operator": {**settings["operator"], "port": free_port()},
    }


def _files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text("utf-8") for file in folder.iterdir()}


async def _give_money(world: Devnet, address: str) -> None:
    for node in world.nodes.values():
        await node.rpc.call("anvil_setBalance", address, hex(10**21))


async def _carry(world: Devnet, count: int) -> None:
    sent = await world.traffic.spread(count)
    async with asyncio.timeout(90):
        while await world.traffic.undelivered(sent):  # noqa: ASYNC110 - it rings no bell
            await asyncio.sleep(0.2)


def _let_everybody_read(folder: Path) -> None:
    """Validators' storage and keys of local chains, for the container's user."""
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)


async def _until_ready(port: int, container: Container) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            assert container.child.returncode is None, "the relayer ended; see its log"
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
