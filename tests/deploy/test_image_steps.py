"""The image's own steps on a bare Debian: then it carries messages as nobody, on a read-only root.

No container engine is needed: a root directory, a mount namespace and a numeric user make one.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import yaml

from relayer.devnet.anvil import free_port
from relayer.devnet.service import STOP_TIMEOUT_S
from relayer.devnet.world import Devnet, WorldPlan
from tests.deploy.dockerfile import words
from tests.deploy.files import ROOT

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(900)]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FROM_HOST = ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
"""How this machine reaches package indexes; no part of an image."""
LEFT_BEHIND = ("src", "wheels", "opt/tools", "root/.cache")
"""What the build stage has and the service does not copy."""

# The mounts of a container: a read-only root, a volume for /data, a small /tmp, what is passed in.
CONTAINER = """
set -e
mount --bind "$TREE" "$TREE"
mount -t proc proc "$TREE/proc"
mount --rbind /dev "$TREE/dev"
mount --bind "$VOLUME" "$TREE/data"
mount -t tmpfs -o size=16m tmpfs "$TREE/tmp"
mkdir -p "$TREE$WORLD"
mount --bind "$WORLD" "$TREE$WORLD"
mount -o remount,bind,ro "$TREE"
cd "$TREE"
exec /usr/sbin/chroot --userspec="$AS" --groups= "$TREE" /usr/bin/env -i $VARIABLES $COMMAND
"""


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """Where the image's files go; taken away again, as pytest would keep half a gigabyte a run."""
    made = tmp_path / "tree"
    yield made
    # whatever is mounted below is not ours to delete
    subprocess.run(["rm", "--recursive", "--force", "--one-file-system", made], check=True)


async def test_what_the_dockerfile_builds_runs_and_drains(
    bare_debian: Path, tree: Path, tmp_path: Path
) -> None:
    """Built by its steps alone, it delivers, says it is well, cannot write, and stops in time."""
    volume = tmp_path / "volume"
    _build(bare_debian, tree)
    volume.mkdir()
    shutil.chown(volume, 10001, 10001)
    port = free_port()
    plan = WorldPlan(more_settings={"http": {"host": "0.0.0.0", "port": port}})
    async with Devnet(tmp_path / "world", plan) as world:
        _configure(tree, {**world.config(), "data_dir": "/data"})
        _readable_by_all(tmp_path / "world")
        child = await _start(tree, volume, tmp_path / "world", tmp_path / "log")
        try:
            await _until_ready(port, child)
            assert _inside(child.pid, "relayer", "health") == 0
            assert _inside(child.pid, "touch", "/opt/relayer/x") != 0
            assert _inside(child.pid, "touch", "/tmp/x") == 0
            sent = await world.traffic.spread(12)
            async with asyncio.timeout(90):
                while await world.traffic.undelivered(sent):  # noqa: ASYNC110 - it rings no bell
                    await asyncio.sleep(0.2)
            await world.traffic.spread(12, label="in flight")
            started = time.monotonic()
            child.terminate()
            assert await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S) == 0
            assert time.monotonic() - started < STOP_TIMEOUT_S
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    assert json.loads((tree / "sbom.json").read_text("utf-8"))["bomFormat"] == "CycloneDX"


def _build(bare: Path, tree: Path) -> None:
    """Carry out COPY and RUN of the build stages, then drop what the service does not take over."""
    # not shutil: it would read device nodes as files, and /dev/full never ends
    subprocess.run(["cp", "--archive", bare, tree], check=True)
    for name in FROM_HOST:
        if (Path("/") / name).exists():
            (tree / name).unlink(missing_ok=True)
            shutil.copyfile(Path("/") / name, tree / name)
    (source,) = words("WORKDIR", "build")
    for rest in words("COPY", "build"):
        *sources, target = rest.split()
        for one in sources:
            _copy(ROOT / one, tree / source.lstrip("/") / target)
    arguments = dict(rest.split("=", 1) for rest in words("ARG", "build"))
    for stage, folder in (("build", source), ("inventory", source), ("service", "/")):
        for run in words("RUN", stage):
            done = subprocess.run(
                ["chroot", tree, "/bin/sh", "-c", f"cd {folder} && {run}"],
                env={"PATH": PATH, "HOME": "/root", **arguments},
                capture_output=True,
                text=True,
                timeout=400,
                check=False,
            )
            assert done.returncode == 0, f"{run}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    for name in LEFT_BEHIND:
        shutil.rmtree(tree / name, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        folder = target if target.name != source.name else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)


def _configure(tree: Path, config: dict[str, object]) -> None:
    path = tree / _variables()["RELAYER_CONFIG"].lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(config))


def _readable_by_all(folder: Path) -> None:
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)


def _variables() -> dict[str, str]:
    pairs = [pair for rest in words("ENV", "service") for pair in rest.split()]
    return {
        name: value.replace("$PATH", PATH)
        for name, _, value in (pair.partition("=") for pair in pairs)
    }


def _shown_variables() -> list[str]:
    return [f"{name}={value}" for name, value in _variables().items()]


async def _start(tree: Path, volume: Path, world: Path, log: Path) -> asyncio.subprocess.Process:
    """The service's own command as its own user; the child's pid is the relayer's."""
    (entry,), (command,), (user,) = (
        words(word, "service") for word in ("ENTRYPOINT", "CMD", "USER")
    )
    surroundings = {
        "PATH": PATH,
        "TREE": str(tree),
        "VOLUME": str(volume),
        "WORLD": str(world),
        "AS": user,
        "VARIABLES": " ".join(_shown_variables()),
        "COMMAND": " ".join([*json.loads(entry), *json.loads(command)]),
    }
    with log.open("wb") as sink:
        return await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "/bin/sh", "-c", CONTAINER),
            env=surroundings,
            stdout=sink,
            stderr=sink,
        )


def _inside(pid: int, *command: str) -> int:
    """The exit code of a command beside the relayer, as the same user."""
    (user,) = words("USER", "service")
    uid, _, gid = user.partition(":")
    entering = ["nsenter", f"--target={pid}", "--mount", "--root", f"--setuid={uid}"]
    return subprocess.run(
        [*entering, f"--setgid={gid}", "/usr/bin/env", "-i", *_shown_variables(), *command],
        env={**os.environ},
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


async def _until_ready(port: int, child: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            assert child.returncode is None, "the relayer ended; its log is beside the tree"
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)
