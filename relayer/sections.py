"""The whole configuration as it is in force: each bridge's section as its protocol reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from relayer import protocols
from relayer.settings import Settings, masked, parse_section, secrets_in


def effective(settings: Settings) -> dict[str, Any]:
    """All that is in force, defaults too, with every secret hidden."""
    shown: dict[str, Any] = masked(settings)
    for name, raw in settings.bridges.items():
        shown["bridges"][name] = {"protocol": raw["protocol"], **masked(_section(name, raw))}
    return shown


def secrets_of(settings: Settings) -> list[str]:
    """The secrets of all sections, those that only a protocol knows as such included."""
    found = secrets_in(settings)
    for name, raw in settings.bridges.items():
        found += secrets_in(_section(name, raw))
    return found


def _section(name: str, raw: Mapping[str, Any]) -> BaseModel:
    """A bridge's section as its protocol reads it."""
    plugin = protocols.load(str(raw["protocol"]))
    fields = {key: value for key, value in raw.items() if key != "protocol"}
    return parse_section(plugin.settings, fields, f"bridges.{name}")
