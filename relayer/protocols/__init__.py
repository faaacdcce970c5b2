"""One folder per protocol, found by the name in the operator's YAML."""

from __future__ import annotations

import importlib
import pkgutil

from relayer.adapter import Plugin
from relayer.errors import ConfigInvalid


def available() -> list[str]:
    """Names of the protocol folders present, sorted."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)


def load(protocol: str) -> Plugin:
    """Load one protocol's plug-in; `ConfigInvalid` names the known ones when it does not exist."""
    known = available()
    if protocol not in known:
        raise ConfigInvalid(f"protocol {protocol!r} is not one of: {', '.join(known)}")
    plugin: Plugin = importlib.import_module(f"{__name__}.{protocol}").PLUGIN
    return plugin
