"""The bridges that can be put on local chains, by their protocol's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from relayer.devnet.arbitrum import ArbitrumLocal
from relayer.devnet.ground import LocalBridge
from relayer.devnet.linea import LineaLocal
from relayer.devnet.op_interop import OpInteropLocal
from relayer.devnet.scroll import ScrollLocal
from relayer.devnet.supersim import supersim_obstacle
from relayer.devnet.world import HyperlaneLocal
from relayer.errors import ConfigInvalid

BRIDGES: Mapping[str, Callable[[], LocalBridge]] = {
    "hyperlane": HyperlaneLocal,
    "arbitrum": ArbitrumLocal,
    "scroll": ScrollLocal,
    "linea": LineaLocal,
    "op_interop": OpInteropLocal,
}
OBSTACLES: Mapping[str, Callable[[], str | None]] = {"op_interop": supersim_obstacle}
"""Why a bridge cannot run on this machine, None when it can."""


def left_out(protocols: Sequence[str]) -> dict[str, str]:
    """Bridges that `all` does not include on this machine, with the reason."""
    if "all" not in protocols:
        return {}
    found = {name: why() for name, why in OBSTACLES.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def make_bridges(protocols: Sequence[str]) -> list[LocalBridge]:
    """One local deployment of each named protocol; `all` means every one that can run here.

    ConfigInvalid names the known ones.
    """
    unknown = [name for name in protocols if name not in (*BRIDGES, "all")]
    if unknown or not protocols:
        known = ", ".join(BRIDGES)
        raise ConfigInvalid(f"DEMO_PROTOCOLS: {unknown or 'nothing'} is not one of {known}, all")
    if "all" in protocols:
        missing = left_out(protocols)
        return [make() for name, make in BRIDGES.items() if name not in missing]
    return [BRIDGES[name]() for name in dict.fromkeys(protocols)]
