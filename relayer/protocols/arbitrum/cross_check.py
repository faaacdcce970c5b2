"""Asks the child's node for the proof too: `NodeInterface.constructOutboxProof`.

Source: `execution/nodeinterface/node_interface.go` of OffchainLabs/nitro. The node finds the logs
by itself, so a difference says that we and it do not see the same chain.
"""

from __future__ import annotations

from collections.abc import Sequence

from relayer.abi import word
from relayer.adapter import ChainReader, Wait
from relayer.errors import Permanent, Transient
from relayer.message import Reason
from relayer.protocols.arbitrum import contracts

RECHECK_S = 60.0


class CrossCheck:
    """The child's own opinion of our proofs."""

    def __init__(self, child: ChainReader) -> None:
        self._child = child

    async def doubt(
        self, position: int, size: int, *, root: bytes, proof: Sequence[bytes]
    ) -> Wait | None:
        """Why the proof of a leaf should not be used, None when the node has the same."""
        numbers = word(size) + word(position)
        call = {
            "to": contracts.NODE_INTERFACE,
            "data": "0x" + (contracts.CONSTRUCT_OUTBOX_PROOF + numbers).hex(),
        }
        try:
            answer = await self._child.rpc("eth_call", [call, "latest"])
            theirs = contracts.read_outbox_proof(contracts.read_hex(answer))
        except (Transient, Permanent) as error:
            detail = f"NodeInterface gives no proof to compare ours with: {error}"
            return Wait(Reason.SOURCE_UNREACHABLE, detail[:300], recheck_s=RECHECK_S)
        if theirs == (root, list(proof)):
            return None
        detail = f"NodeInterface proves leaf {position} of {size} otherwise than we do"
        return Wait(Reason.ROOT_MISMATCH, detail, recheck_s=RECHECK_S)
