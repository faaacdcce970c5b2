"""How far each source chain is safe: the gate that messages of its newer blocks wait on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relayer.adapter import ChainReader
from relayer.errors import Transient
from relayer.message import BlockNumber, BridgeName, ChainId, Gate
from relayer.protocols.op_interop.settings import Safety


class SafeBlocks:
    """Reads block tags of the source chains; one request for each chain and level."""

    def __init__(self, bridge: BridgeName, readers: Mapping[ChainId, ChainReader]) -> None:
        self._bridge = bridge
        self._readers = readers
        self._known: dict[Gate, int] = {}

    def gate(self, chain: ChainId, safety: Safety) -> Gate:
        """Opens for a block when the chain holds it as safe as that."""
        return Gate(self._bridge, f"{safety.value}:{chain}")

    async def newest(self, chain: ChainId, safety: Safety) -> BlockNumber:
        """The chain's newest block of that safety now; `Transient` when it does not answer."""
        header = await self._readers[chain].header(safety.value)
        self._known[self.gate(chain, safety)] = header.number
        return header.number

    async def levels(self, gates: Sequence[Gate]) -> dict[Gate, int]:
        """The level of each gate; that of a chain which does not answer is what it last was."""
        found: dict[Gate, int] = {}
        for gate in gates:
            place = self._place(gate)
            if place is None:
                continue  # of another configuration: opens, and its messages are judged anew
            try:
                found[gate] = await self.newest(*place)
            except Transient:
                found[gate] = self._known.get(gate, 0)
        return found

    def _place(self, gate: Gate) -> tuple[ChainId, Safety] | None:
        for chain in self._readers:
            for safety in (Safety.SAFE, Safety.FINALIZED):
                if gate == self.gate(chain, safety):
                    return chain, safety
        return None
