"""Gates of waiting messages: how far enough validators have signed, by what an ISM wants.

A gate is named by the origin and the shape of the ISM, so that all messages that wait for the same
validators share one. Its level is read from the validators' latest indices.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from relayer.errors import Transient
from relayer.keccak import keccak256
from relayer.message import BridgeName, Gate
from relayer.protocols.hyperlane.isms import (
    Aggregation,
    Ism,
    Multisig,
    Unread,
    Unsupported,
    shape_of,
)
from relayer.protocols.hyperlane.quorums import Quorums

MAX_KNOWN = 4096
OPEN = 2**32
"""Above every leaf index."""


class Gates:
    """The gates of one bridge."""

    def __init__(self, bridge: BridgeName, quorums: Mapping[int, Quorums]) -> None:
        self._bridge = bridge
        self._quorums = quorums
        self._known: OrderedDict[str, tuple[int, Ism]] = OrderedDict()

    async def closed_for(self, domain: int, ism: Ism, leaf: int) -> Gate | None:
        """The gate that `leaf` can wait at, None when it is open already.

        It is open although the message must wait when files are missing or signatures are bad: then
        only asking again helps. Raises `Transient`.
        """
        if await self._level(domain, ism) >= leaf:
            return None
        name = f"quorum:{domain}:{keccak256(shape_of(ism).encode())[:8].hex()}"
        self._known[name] = (domain, ism)
        self._known.move_to_end(name)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return Gate(self._bridge, name)

    async def levels(self, gates: Sequence[Gate]) -> dict[Gate, int]:
        """The level of each gate; one we do not know (after a restart) is left out and opens."""
        known = [gate for gate in gates if gate.name in self._known]
        levels = await asyncio.gather(*(self._level_or_shut(gate.name) for gate in known))
        return dict(zip(known, levels, strict=True))

    async def _level_or_shut(self, name: str) -> int:
        try:
            return await self._level(*self._known[name])
        except Transient:  # one origin's trouble keeps its own gates shut, not the others'
            return -1

    async def _level(self, domain: int, ism: Ism) -> int:
        match ism:
            case Multisig(members):
                return await self._quorums[domain].level(members)
            case Aggregation(modules, threshold):
                found = [await self._level(domain, module) for module in modules]
                found.sort(reverse=True)
                return found[threshold - 1] if 0 < threshold <= len(found) else -1
            case Unsupported() | Unread():
                return -1
            case _:
                return OPEN
