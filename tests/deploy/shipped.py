"""What is shipped to be edited, made ready for local chains, laid out as compose and kubelet do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from relayer.devnet.anvil import free_port
from relayer.store.embedded import find_binary
from tests.deploy.files import DEPLOY

RELAYER_YAML = DEPLOY / "config" / "relayer.yaml"
SECRETS_AT = "/run/secrets/relayer"
OURS = 10001
"""The user and the group that the relayer runs as."""


def compose() -> dict[str, Any]:
    """The compose file."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return loaded


def settings() -> dict[str, Any]:
    """The configuration that is shipped, as it is."""
    loaded: dict[str, Any] = yaml.safe_load(RELAYER_YAML.read_text("utf-8"))
    return loaded


def named_secrets() -> set[str]:
    """Names of the files that the configuration reads."""
    return set(re.findall(rf"{SECRETS_AT}/([a-z.-]+)", RELAYER_YAML.read_text("utf-8")))


def make_secrets(folder: Path) -> tuple[Path, str]:
    """Run the shipped script in a copy of what it needs; the secrets' folder, and what it said."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(DEPLOY / "make-secrets.sh", folder)
    shutil.copytree(RELAYER_YAML.parent, folder / "config", dirs_exist_ok=True)
    done = subprocess.run(
        ["sh", folder / "make-secrets.sh"],
        env={**os.environ, "RELAYER": f"{sys.executable} -m relayer"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "secrets", done.stdout


@contextlib.asynccontextmanager
async def compose_redis(folder: Path, secrets: Path) -> AsyncIterator[str]:
    """A server as compose starts it, on loopback; the URL that the script made, leading there."""
    redis = compose()["services"]["redis"]
    mount = f"/run/secrets/{redis['secrets'][0]}"
    places = {mount: str(secrets / "redis.acl"), "redis-server": str(find_binary())}
    port = free_port()
    (folder / "redis").mkdir()
    child = await asyncio.create_subprocess_exec(
        *(places.get(word, word) for word in redis["command"]),
        *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder / "redis")),
        *("--logfile", str(folder / "redis" / "log")),
    )
    try:
        async with asyncio.timeout(20):
            while not await _is_up(redis["healthcheck"]["test"], port):
                assert child.returncode is None, "Redis ended at once; see its log"
                await asyncio.sleep(0.1)
        url = (secrets / "relayer" / "redis-url").read_text("ascii").strip()
        assert "@redis:6379/" in url
        yield url.replace("@redis:6379/", f"@127.0.0.1:{port}/")
    finally:
        child.terminate()
        await child.wait()


async def _is_up(check: Sequence[str], port: int) -> bool:
    """What compose's own health check says."""
    word, program, *arguments = check
    assert (word, program) == ("CMD", "redis-cli")
    cli = find_binary().with_name(program)
    asking = await asyncio.create_subprocess_exec(
        cli, "-p", str(port), *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return await asking.wait() == 0


def address_of(secrets: Path) -> str:
    """Of the key that the script made."""
    keystore = json.loads((secrets / "relayer" / "keystore.json").read_text("ascii"))
    return "0x" + str(keystore["address"]).removeprefix("0x")


def on_local_chains(world: Mapping[str, Any]) -> dict[str, Any]:
    """The shipped configuration with the world's chains and bridges, and the shipped signers."""
    shipped = settings()
    signers = next(iter(shipped["chains"].values()))["signers"]
    chains = {name: {**chain, "signers": signers} for name, chain in world["chains"].items()}
    return {**shipped, "chains": chains, "bridges": world["bridges"]}


@dataclass(slots=True)
class PlainFolder:
    """A folder as compose mounts it: files that whoever edits them replaces."""

    path: Path

    def write(self, files: Mapping[str, str]) -> None:
        """Put these files in the place of what is there."""
        self.path.mkdir(exist_ok=True)
        for name, text in files.items():
            fresh = self.path / f".{name}.new"
            fresh.write_text(text, "utf-8")
            fresh.chmod(0o400)
            os.chown(fresh, OURS, OURS)
            fresh.rename(self.path / name)


@dataclass(slots=True)
class KubeletVolume:
    """A folder as kubelet makes it: links through `..data`, which is swapped as a whole.

    k8s.io/kubernetes, pkg/volume/util/atomic_writer.go. The files belong to root and, by `fsGroup`,
    to the pod's group.
    """

    path: Path
    _turn: int = 0

    def write(self, files: Mapping[str, str]) -> None:
        """Put these files, and no others, in the place of what is there."""
        self._turn += 1
        fresh = self.path / f"..turn_{self._turn}"
        fresh.mkdir(parents=True)
        for name, text in files.items():
            file = fresh / name
            file.write_text(text, "utf-8")
            os.chown(file, 0, OURS)
            file.chmod(0o440)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(Path("..data") / name)
        link = self.path / "..data_tmp"
        link.symlink_to(fresh.name)
        link.rename(self.path / "..data")
        for old in self.path.glob("..turn_*"):
            if old != fresh:
                shutil.rmtree(old)
