"""From the operator's file to frozen models; the only reader of the environment and of secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from relayer.errors import ConfigInvalid
from relayer.settings.explaining import parse_section
from relayer.settings.regular import read_regular
from relayer.settings.service import OperatorSettings
from relayer.settings.values import SECRETS, from_home
from relayer.settings.whole import Settings
from relayer.settings.yaml_text import read_yaml

MAX_FILE_BYTES = 4 * 1024 * 1024
"""No sane configuration or secret is larger."""
MAX_DEPTH = 30
"""Levels of nesting; ours are less than ten."""

SHORTEST_TOKEN = 32
LONGEST_TOKEN = 512

_TOKEN = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},{LONGEST_TOKEN}}}")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read the YAML at `path`, with `${NAME}` taken from `environ` and `url_file` from files.

    Relative paths are relative to the working directory, `~` is the user's home. ConfigInvalid
    says what is wrong where.
    """
    text = _read_text(path, f"{path}: cannot read the configuration", read=_read_configuration)
    try:
        raw = read_yaml(text)
        if not isinstance(raw, dict):
            kind = "empty" if raw is None else "not a mapping"
            raise ConfigInvalid(f"is {kind}; it must be a mapping with the key `chains`")
        expanded = _expand(raw, "", environ)
        read = _read_secret_files(expanded)
        settings = parse_section(Settings, expanded)
        settings._read_from = read
        return settings
    except ConfigInvalid as bad:
        lines = (f"{path}: {line}" for line in str(bad).splitlines())
        raise ConfigInvalid("\n".join(lines)) from None


def read_tokens(settings: OperatorSettings) -> dict[str, str]:
    """The operator API's tokens by the names of their files; ConfigInvalid names a bad one."""
    tokens: dict[str, str] = {}
    for place, path in enumerate(settings.token_files):
        at = f"operator.token_files[{place}]"
        token = _read_text(path, f"{at}: cannot read {path}").strip()
        if not _TOKEN.fullmatch(token):
            raise ConfigInvalid(
                f"{at}: {path} must hold {SHORTEST_TOKEN} to {LONGEST_TOKEN} printable characters"
                " without spaces; `openssl rand -hex 32` makes some"
            )
        if token in tokens.values():
            raise ConfigInvalid(f"{at}: {path} holds the same token as the other file")
        tokens[path.name] = token
    return tokens


def _read_configuration(path: Path, most: int) -> bytes:
    """Also from a pipe: at the start it may come from another program."""
    with path.open("rb") as file:
        return file.read(most)


def _read_text(
    path: Path, failure: str, *, read: Callable[[Path, int], bytes] = read_regular
) -> str:
    """A file's text, within bounds; ConfigInvalid begins with `failure`."""
    try:
        content = read(path, MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigInvalid(f"{failure}: it is larger than {MAX_FILE_BYTES} bytes")
        return content.decode("utf-8")
    except OSError as bad:
        raise ConfigInvalid(f"{failure}: {bad.strerror}") from None
    except ValueError:  # a path with a zero byte is one too
        raise ConfigInvalid(f"{failure}: not UTF-8 text") from None


def _expand(value: Any, at: str, environ: Mapping[str, str]) -> Any:
    """Replace `${NAME}` and `${NAME:-default}` in every string below `value`."""
    if at.count(".") + at.count("[") > MAX_DEPTH:
        raise ConfigInvalid(f"{at[:80]}: nested too deeply")
    if isinstance(value, dict):
        return {k: _expand(v, f"{at}.{k}" if at else str(k), environ) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, f"{at}[{i}]", environ) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replacement(found: re.Match[str]) -> str:
        name, default = found.group(1), found.group(2)
        if environ.get(name) or (name in environ and default is None):
            return environ[name]
        if default is None:
            raise ConfigInvalid(
                f"{at}: ${{{name}}} is not set in the environment; "
                f"set it, or write ${{{name}:-default}}"
            )
        return default

    return _REFERENCE.sub(replacement, value)


def _read_secret_files(raw: dict[str, Any]) -> tuple[tuple[str, Path], ...]:
    """Put the content of `url_file` and the like in place of the secrets they stand for."""
    return tuple(
        (f"{at}.{key}_file", _read_secret_into(section, key, at))
        for at, section in _places_of_secrets(raw)
        for key in SECRETS
        if f"{key}_file" in section
    )


def _places_of_secrets(raw: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The path and section of `redis`, `traces`, each endpoint, web3signer and webhook there is."""
    chains = raw.get("chains")
    places: list[tuple[str, Any]] = [(name, raw.get(name)) for name in ("redis", "traces")]
    for name, chain in chains.items() if isinstance(chains, dict) else ():
        places += _items(chain, f"chains.{name}.endpoints")
        for at, signer in _items(chain, f"chains.{name}.signers"):
            if isinstance(signer, dict):
                places.append((f"{at}.web3signer", signer.get("web3signer")))
    places += _items(raw, "webhooks")
    return [(at, section) for at, section in places if isinstance(section, dict)]


def _items(section: Any, at: str) -> list[tuple[str, Any]]:
    """The path and value of each item of the list at a path's end, which may be none."""
    found = section.get(at.rpartition(".")[2]) if isinstance(section, dict) else None
    items = found if isinstance(found, list) else []
    return [(f"{at}[{i}]", one) for i, one in enumerate(items)]


def _read_secret_into(section: dict[str, Any], key: str, at: str) -> Path:
    if key in section:
        raise ConfigInvalid(f"{at}: give {key} or {key}_file, not both")
    named = section.pop(f"{key}_file")
    if not isinstance(named, str) or not named:
        raise ConfigInvalid(f"{at}.{key}_file: must be the path of a file")
    try:
        path = from_home(Path(named))
    except ValueError as bad:
        raise ConfigInvalid(f"{at}.{key}_file: {bad}") from None
    section[key] = _read_text(path, f"{at}.{key}_file: cannot read {path}").strip()
    if not section[key]:
        raise ConfigInvalid(f"{at}.{key}_file: {path} is empty")
    return path
