"""The bridges that can be put on local chains, by their protocol's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from relayer.devnet.arbitrum import ArbitrumLocal
from relayer.devnet.ground import LocalBridge
from relayer.devnet.linea import LineaLocal
from relayer.devnet.scroll import ScrollLocal
from relayer.devnet.world import HyperlaneLocal
from relayer.errors import ConfigInvalid

BRIDGES: Mapping[str, Callable[[], LocalBridge]] = {
    "hyperlane": HyperlaneLocal,
    "arbitrum": ArbitrumLocal,
    "scroll": ScrollLocal,
    "linea": LineaLocal,
}


def make_bridges(protocols: Sequence[str]) -> list[LocalBridge]:
    """One local deployment of each named protocol; `all` means every one.

    ConfigInvalid names the known ones.
    """
    unknown = [name for name in protocols if name not in (*BRIDGES, "all")]
    if unknown or not protocols:
        known = ", ".join(BRIDGES)
        raise ConfigInvalid(f"DEMO_PROTOCOLS: {unknown or 'nothing'} is not one of {known}, all")
    wanted = BRIDGES if "all" in protocols else dict.fromkeys(protocols)
    return [BRIDGES[name]() for name in wanted]
