"""Programs of Debian: the machine's own, or unpacked below build/ without installing them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.files import ROOT
from tests.once import one_at_a_time

BUILD = ROOT / "build"
APT_WITHIN_S = 100.0
BOOTSTRAP_WITHIN_S = 400.0


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the two programs are."""

    promtool: str
    prometheus: str


@pytest.fixture(scope="session")
def tools() -> Tools:
    """Prometheus and promtool, or a skip that says what is missing."""
    promtool, prometheus = shutil.which("promtool"), shutil.which("prometheus")
    if promtool and prometheus:
        return Tools(promtool, prometheus)
    programs = unpacked("prometheus") / "usr" / "bin"
    return Tools(str(programs / "promtool"), str(programs / "prometheus"))


@pytest.fixture(scope="session")
def bare_debian() -> Path:
    """A Debian with Python and nothing else, to be copied; or a skip that says what is missing."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root on Linux can run the image's steps in a root directory of their own")
    made = BUILD / "bare-debian"
    if made.exists():
        return made
    package = unpacked("debootstrap")
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        root = Path(name) / "root"
        done = subprocess.run(
            [
                *(package / "usr" / "sbin" / "debootstrap", "--variant=minbase"),
                *("--include=python3,python3-venv,ca-certificates", "bookworm", root),
            ],
            env={**os.environ, "DEBOOTSTRAP_DIR": str(package / "usr/share/debootstrap")},
            capture_output=True,
            timeout=BOOTSTRAP_WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip("debootstrap cannot reach Debian's archive")
        (root / "usr" / "bin" / "python").symlink_to("python3")
        root.rename(made)
    return made


def unpacked(package: str) -> Path:
    """Where a package of Debian's archive is unpacked; skips where it cannot be had."""
    with one_at_a_time(BUILD):
        return _unpacked(package)


def _unpacked(package: str) -> Path:
    cache = BUILD / package
    if cache.exists():
        return cache
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        pytest.skip(f"{package} is not installed, and this is no Debian to take it from")
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        archive = _download(package, folder)
        if archive is None:
            pytest.skip(f"{package} is not installed, and apt-get cannot download it")
        content = folder / "content"
        subprocess.run(["dpkg", "-x", str(archive), str(content)], check=True)
        content.rename(cache)
    return cache


def _download(package: str, folder: Path) -> Path | None:
    """With the machine's package lists, else with lists of our own, which need no rights."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder}"]
    download = ["download", package]
    if not _apt(folder, download):
        _apt(folder, [*own, "update"])
        _apt(folder, [*own, *download])
    return next(folder.glob(f"{package}_*.deb"), None)


def _apt(folder: Path, arguments: list[str]) -> bool:
    try:
        done = subprocess.run(
            ["apt-get", "-qq", *arguments],
            cwd=folder,
            capture_output=True,
            timeout=APT_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
