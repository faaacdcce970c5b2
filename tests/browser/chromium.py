"""Finds a browser: Chromium on PATH, else the one that a package in node_modules carries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.once import one_at_a_time

PACKAGE = Path("node_modules/@sparticuz/chromium")
UNPACKED = Path("build/chromium")
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")

_INFLATE = "process.stdin.pipe(require('zlib').createBrotliDecompress()).pipe(process.stdout)"

_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{home}/fonts</dir><cachedir>{home}/cache</cachedir></fontconfig>
"""


@dataclass(frozen=True, slots=True)
class Chromium:
    """A browser that can be started."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)


class NoBrowser(Exception):
    """There is none, and why."""


def find_chromium() -> Chromium:
    """The first browser that runs; NoBrowser says what to install."""
    for name in NAMES:
        if (found := shutil.which(name)) and _runs(installed := Chromium(Path(found))):
            return installed
    if not PACKAGE.is_dir():
        raise NoBrowser("no Chromium on PATH and none in node_modules: run `make setup`")
    carried = _unpacked()
    if not _runs(carried):
        raise NoBrowser(
            f"the Chromium of {PACKAGE.name} does not run on this machine, and none is on PATH:"
            " install Debian's package `chromium`"
        )
    return carried


def _unpacked() -> Chromium:
    """The carried browser, unpacked once for each version."""
    version = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))["version"]
    home = UNPACKED / version
    with one_at_a_time(UNPACKED):
        if not home.is_dir():
            half = Path(tempfile.mkdtemp(dir=UNPACKED))
            for name in ("al2023.tar", "fonts.tar"):
                _inflate(name, half / name)
                with tarfile.open(half / name) as archive:
                    archive.extractall(half, filter="data")
                (half / name).unlink()
            _inflate("chromium", half / "chromium")
            (half / "chromium").chmod(0o755)
            half.rename(home)
    home = home.resolve()
    environment = {"LD_LIBRARY_PATH": str(home / "lib")}
    if not Path("/etc/fonts/fonts.conf").exists():  # a bare machine: the fonts that came with it
        (home / "fonts.conf").write_text(_FONTS.format(home=home), encoding="utf-8")
        environment["FONTCONFIG_FILE"] = str(home / "fonts.conf")
    return Chromium(home / "chromium", environment)


def _inflate(name: str, target: Path) -> None:
    with (PACKAGE / "bin" / f"{name}.br").open("rb") as packed, target.open("wb") as sink:
        subprocess.run(["node", "-e", _INFLATE], stdin=packed, stdout=sink, check=True)


def _runs(browser: Chromium) -> bool:
    try:
        asked = subprocess.run(
            [browser.path, "--version"],
            env={**os.environ, **browser.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
