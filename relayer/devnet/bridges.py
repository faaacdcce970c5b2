"""The bridges that can be put on local chains, by their protocol's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from relayer.devnet.arbitrum import ArbitrumLocal
from relayer.devnet.ground import LocalBridge
from relayer.devnet.linea import LineaLocal
from relayer.devnet.op_interop import OpInteropLocal
from relayer.devnet.op_stack import GamesLocal, OutputsLocal
from relayer.devnet.scroll import ScrollLocal
from relayer.devnet.supersim import supersim_obstacle
from relayer.devnet.world import HyperlaneLocal
from relayer.errors import ConfigInvalid

BRIDGES: Mapping[str, Sequence[Callable[[], LocalBridge]]] = {
    "hyperlane": (HyperlaneLocal,),
    "arbitrum": (ArbitrumLocal,),
    "scroll": (ScrollLocal,),
    "linea": (LineaLocal,),
    "op_stack": (OutputsLocal, GamesLocal),
    "op_interop": (OpInteropLocal,),
}
"""A protocol may have several: one for each generation of its contracts, say."""
Obstacles = Mapping[str, Callable[[], str | None]]
OBSTACLES: Obstacles = {
    OpInteropLocal.name: supersim_obstacle,
    GamesLocal.name: supersim_obstacle,
}
"""Why a bridge cannot run on this machine, None when it can; by the bridge's own name."""


def left_out(protocols: Sequence[str], obstacles: Obstacles = OBSTACLES) -> dict[str, str]:
    """Bridges that `make_bridges` does without on this machine, with the reason."""
    found: dict[str, str] = {}
    for protocol in _chosen(protocols):
        names = [make().name for make in BRIDGES[protocol]]
        reasons = {name: obstacles[name]() for name in names if name in obstacles}
        hindered = {name: why for name, why in reasons.items() if why is not None}
        if "all" in protocols or len(hindered) < len(names):
            found |= hindered
    return found


def make_bridges(protocols: Sequence[str], obstacles: Obstacles = OBSTACLES) -> list[LocalBridge]:
    """The local deployments of each named protocol; `all` means every one that can run here.

    ConfigInvalid names the known ones. A protocol that was named and of which nothing can run here
    is made all the same: its start says why it cannot.
    """
    unknown = [name for name in protocols if name not in (*BRIDGES, "all")]
    if unknown or not protocols:
        known = ", ".join(BRIDGES)
        raise ConfigInvalid(f"DEMO_PROTOCOLS: {unknown or 'nothing'} is not one of {known}, all")
    missing = left_out(protocols, obstacles)
    made = [make() for protocol in _chosen(protocols) for make in BRIDGES[protocol]]
    return [bridge for bridge in made if bridge.name not in missing]


def _chosen(protocols: Sequence[str]) -> list[str]:
    return list(BRIDGES if "all" in protocols else dict.fromkeys(protocols))
