"""The files that hold keys, passwords, tokens and secrets: who may read them, what they hold."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from relayer.settings.regular import read_regular
from relayer.settings.whole import Settings

READ_AT_MOST = 4 * 1024 * 1024
"""Bytes of one file; keys and tokens are far smaller."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A file with a secret that every user of the machine may read."""

    field: str
    """Where the configuration names it."""
    path: Path
    mode: int

    @property
    def text(self) -> str:
        """What is wrong, and the way out."""
        return (
            f"{self.path} can be read by every user of this machine (mode {self.mode:04o}):"
            " `chmod o-rwx` it; in Kubernetes give the volume defaultMode 0440, and the pod fsGroup"
        )


def secret_files(settings: Settings) -> list[tuple[str, Path]]:
    """Every file with a secret, under the field that names it."""
    return [*settings.read_from, *_named(settings)]


def exposed_files(settings: Settings) -> list[Exposed]:
    """Those that the whole machine may read; the group may, as mounted secrets want it."""
    found = []
    for field, path in secret_files(settings):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue  # whoever reads it says so
        if mode & stat.S_IROTH:
            found.append(Exposed(field, path, mode))
    return found


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What stands in a file, without telling it."""

    path: Path
    digest: str
    """Empty where it is unreadable."""


def fingerprints(settings: Settings) -> Mapping[str, Fingerprint]:
    """Of each file whose content is not in the settings, by the field that names it."""
    return {field: Fingerprint(path, _digest(path)) for field, path in _named(settings)}


def held_secrets(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Keys and passwords that signers are opened with, only to be hidden; unreadable ones are
    left out, and what a keystore holds is not known."""
    found = []
    for signer in (one for chain in settings.chains.values() for one in chain.signers):
        if signer.key_env is not None:
            found.append(environ.get(signer.key_env, ""))
        for path in (signer.key_file, signer.keystore_password_file):
            if path is not None:
                found.append(_text(path))
    return [text for text in map(str.strip, found) if text]


def _text(path: Path) -> str:
    try:
        return read_regular(path, READ_AT_MOST).decode("utf-8", "replace")
    except OSError:
        return ""  # whoever opens the signer says so


def _named(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.operator is not None:
        for place, path in enumerate(settings.operator.token_files):
            yield f"operator.token_files[{place}]", path
    for name, chain in settings.chains.items():
        for place, signer in enumerate(chain.signers):
            for key in ("key_file", "keystore", "keystore_password_file"):
                file = getattr(signer, key)
                if file is not None:
                    yield f"chains.{name}.signers[{place}].{key}", file


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(read_regular(path, READ_AT_MOST)).hexdigest()
    except OSError:
        return ""
