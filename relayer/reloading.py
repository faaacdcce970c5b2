"""What a changed configuration changes, and whether it may be taken up while the relayer runs."""

from __future__ import annotations

from collections.abc import Iterator

from relayer.errors import ConfigInvalid
from relayer.settings import Settings

FIXED = ("data_dir", "instance", "redis", "http", "retention_s")
"""Sections that the parts of the process outside of any generation were made from."""
BY_NAME = ("chains", "bridges")


def refuse_fixed(former: Settings, settings: Settings) -> None:
    """ConfigInvalid with a line for each section that only a restart can change."""
    names = [name for name in FIXED if getattr(former, name) != getattr(settings, name)]
    if _address(former) != _address(settings):
        names.append("operator")
    if former.log.format != settings.log.format:
        names.append("log.format")
    if names:
        raise ConfigInvalid(
            "\n".join(
                f"{name}: cannot be changed while the relayer runs; put it back, or restart"
                for name in names
            )
        )


def differences(former: Settings, settings: Settings) -> Iterator[str]:
    """Paths of what differs, for example `chains.gamma added`."""
    for name in type(settings).model_fields:
        before, after = getattr(former, name), getattr(settings, name)
        if before == after:
            continue
        if name not in BY_NAME:
            yield name
            continue
        yield from (f"{name}.{key} added" for key in after if key not in before)
        yield from (f"{name}.{key} removed" for key in before if key not in after)
        yield from (
            f"{name}.{key} changed" for key in after if key in before and before[key] != after[key]
        )


def _address(settings: Settings) -> tuple[str, int] | None:
    at = settings.operator
    return None if at is None else (at.host, at.port)
