"""The image's files, made on a bare Debian by the Dockerfile's own steps, and a container of them.

No container engine is needed: a root directory, a mount namespace and a numeric user make one.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.dockerfile import words
from tests.deploy.files import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FROM_HOST = ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
"""How this machine reaches package indexes; no part of an image."""
LEFT_BEHIND = ("src", "wheels", "opt/tools", "root/.cache")
"""What the build stage has and the service does not copy."""

# The mounts of a container: a read-only root, a small /tmp, and what is passed in.
CONTAINER = """
set -e
mount --bind "$TREE" "$TREE"
mount -t proc proc "$TREE/proc"
mount --rbind /dev "$TREE/dev"
mount -t tmpfs -o size=16m tmpfs "$TREE/tmp"
for pair in $MOUNTS; do
  mkdir -p "$TREE${pair#*=}"
  mount --bind "${pair%%=*}" "$TREE${pair#*=}"
done
mount -o remount,bind,ro "$TREE"
cd "$TREE"
exec /usr/sbin/chroot --userspec="$AS" --groups= "$TREE" /usr/bin/env -i $VARIABLES $COMMAND
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What `docker build` would have made, as a folder."""

    tree: Path

    def build(self, bare: Path) -> None:
        """Carry out COPY and RUN of the build stages; drop what the service does not take over."""
        # not shutil: it would read device nodes as files, and /dev/full never ends
        subprocess.run(["cp", "--archive", bare, self.tree], check=True)
        for name in FROM_HOST:
            if (Path("/") / name).exists():
                (self.tree / name).unlink(missing_ok=True)
                shutil.copyfile(Path("/") / name, self.tree / name)
        (source,) = words("WORKDIR", "build")
        for rest in words("COPY", "build"):
            *sources, target = rest.split()
            for one in sources:
                _copy(ROOT / one, self.tree / source.lstrip("/") / target)
        for stage, folder in (("build", source), ("inventory", source), ("service", "/")):
            for run in words("RUN", stage):
                self._run(run, folder)
        for name in LEFT_BEHIND:
            shutil.rmtree(self.tree / name, ignore_errors=True)

    def volume(self, at: str, folder: Path) -> Path:
        """A fresh named volume as an engine makes it in `folder`: content, owner and mode are those
        of the image's directory, and root's own where the image has none."""
        made, own = folder / "volume", self.tree / at.lstrip("/")
        if own.exists():
            subprocess.run(["cp", "--archive", own, made], check=True)
        else:
            made.mkdir(mode=0o755)
        return made

    def _run(self, step: str, folder: str) -> None:
        arguments = dict(rest.split("=", 1) for rest in words("ARG", "build"))
        done = subprocess.run(
            ["chroot", self.tree, "/bin/sh", "-c", f"cd {folder} && {step}"],
            env={"PATH": PATH, "HOME": "/root", **arguments},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"{step}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

    async def start(self, mounts: Mapping[Path, str], log: Path) -> Container:
        """The service's own command as its own user, with these folders mounted where they say."""
        (entry,), (command,), (user,) = (
            words(word, "service") for word in ("ENTRYPOINT", "CMD", "USER")
        )
        surroundings = {
            "PATH": PATH,
            "TREE": str(self.tree),
            "MOUNTS": " ".join(f"{source}={target}" for source, target in mounts.items()),
            "AS": user,
            "VARIABLES": " ".join(_shown_variables()),
            "COMMAND": " ".join([*json.loads(entry), *json.loads(command)]),
        }
        with log.open("wb") as sink:
            child = await asyncio.create_subprocess_exec(
                *("unshare", "--mount", "/bin/sh", "-c", CONTAINER),
                env=surroundings,
                stdout=sink,
                stderr=sink,
            )
        return Container(child)


@dataclass(frozen=True, slots=True)
class Container:
    """A running one; `child` is the relayer itself."""

    child: asyncio.subprocess.Process

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside the relayer, as the same user: what `exec` of an engine does."""
        (user,) = words("USER", "service")
        uid, _, gid = user.partition(":")
        entering = [f"--target={self.child.pid}", "--mount", "--root", f"--setuid={uid}"]
        return subprocess.run(
            ["nsenter", *entering, f"--setgid={gid}", "env", "-i", *_shown_variables(), *command],
            env={**os.environ},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    async def end(self) -> None:
        """Whatever happened, nothing of it is left."""
        if self.child.returncode is None:
            self.child.kill()
            await self.child.wait()


def variables() -> dict[str, str]:
    """The service's environment."""
    pairs = [pair for rest in words("ENV", "service") for pair in rest.split()]
    return {
        name: value.replace("$PATH", PATH)
        for name, _, value in (pair.partition("=") for pair in pairs)
    }


def _shown_variables() -> list[str]:
    return [f"{name}={value}" for name, value in variables().items()]


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        folder = target if target.name != source.name else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)
