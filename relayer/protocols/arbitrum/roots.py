"""The newest root that the parent accepted, and whether our own tree has it."""

from __future__ import annotations

from dataclasses import dataclass

from relayer.adapter import AdapterContext, Wait
from relayer.errors import Permanent, Transient
from relayer.message import BlockHash, Reason, RootSeen
from relayer.protocols.arbitrum.events import Ends
from relayer.protocols.arbitrum.states import SendStates

SICK_RECHECK_S = 10.0
MISMATCH_RECHECK_S = 60.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A root that the parent accepted in a final block."""

    root: bytes
    size: int
    """Leaves of the tree it is the root of, as the child says."""
    obstacle: Wait | None = None
    """Why nothing can be proved against it yet; None when our tree has it too."""


NOTHING = Accepted(b"", 0)
"""What an outbox accepts before its rollup's first confirmation: no leaf at all."""


class Roots:
    """Roots never go away, so the newest one serves every leaf that any older one does."""

    def __init__(self, ends: Ends, context: AdapterContext, states: SendStates) -> None:
        self._ends = ends
        self._context = context
        self._states = states

    async def newest(self) -> Accepted | Wait:
        """The newest accepted root, `NOTHING` before the first, a wait when its size is unknown."""
        best = await self._context.roots.best_root(self._ends.parent, self._ends.accepted)
        if best is None:
            return NOTHING
        return await self._sized(best)

    async def _sized(self, best: RootSeen) -> Accepted | Wait:
        block = BlockHash(best.extra.get("child_block", ""))
        try:
            state = await self._states.at(block)
        except (Transient, Permanent) as error:
            detail = f"the child cannot tell the tree size at block {block}: {error}"
            return Wait(Reason.SOURCE_UNREACHABLE, detail[:300], recheck_s=SICK_RECHECK_S)
        if state.root != best.root:
            detail = (
                f"the outbox accepted root 0x{best.root.hex()} for child block {block},"
                f" where the child has 0x{state.root.hex()}"
            )
            return Wait(Reason.ROOT_MISMATCH, detail, recheck_s=MISMATCH_RECHECK_S)
        return Accepted(best.root, state.count, await self._obstacle(best.root, state.count))

    async def _obstacle(self, root: bytes, size: int) -> Wait | None:
        """The size proves itself: our tree must have that root at it."""
        trees, tree = self._context.trees, self._ends.tree
        stored = await trees.size(tree)
        if stored < size:
            detail = f"the accepted root has {size} leaves, of which {stored} are stored"
            return Wait(Reason.AWAITING_LEAF, detail, recheck_s=MISMATCH_RECHECK_S)
        ours = (await trees.roots(tree, [size]))[0] if size > 0 else b""
        if ours == root:
            return None
        detail = f"at {size} leaves our root is 0x{ours.hex()}, the accepted one 0x{root.hex()}"
        return Wait(Reason.ROOT_MISMATCH, detail, recheck_s=MISMATCH_RECHECK_S)
