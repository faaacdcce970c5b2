"""The roots that the parent accepted, and the newest of them that our own tree has too."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from relayer.adapter import AdapterContext, Wait
from relayer.errors import Permanent, Transient
from relayer.message import BlockHash, Reason, RootSeen
from relayer.protocols.arbitrum.events import Ends
from relayer.protocols.arbitrum.missed import MissedRoots
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


@dataclass(frozen=True, slots=True)
class Standing:
    """What the parent accepts now."""

    newest: Accepted | Wait
    """By its logs; a wait when its size is unknown."""
    usable: Accepted
    """The largest known one that our tree has too: a newer one with an obstacle stops nobody."""

    @property
    def reach(self) -> int:
        """Leaves that accepted roots are known to cover, provable or not."""
        newest = self.newest.size if isinstance(self.newest, Accepted) else 0
        return max(newest, self.usable.size)


class Roots:
    """Roots never go away, so the largest one serves every leaf that any smaller one does."""

    def __init__(
        self, ends: Ends, context: AdapterContext, states: SendStates, missed: MissedRoots
    ) -> None:
        self._ends = ends
        self._context = context
        self._states = states
        self._missed = missed
        self._usable = NOTHING
        self._log = structlog.get_logger("relayer").bind(bridge=ends.bridge)

    async def standing(self) -> Standing:
        """The newest accepted root by the logs that we know, and the one to prove against."""
        best = await self._context.roots.best_root(self._ends.parent, self._ends.accepted)
        newest = NOTHING if best is None else await self._sized(best)
        await self._revise(newest)
        found = await self._missed.beyond(self._usable.size)
        if found is not None:
            self._usable = Accepted(*found)
            root, size = found
            self._log.warning("root_not_told", root="0x" + root.hex(), leaves=size)
        return Standing(newest, self._usable)

    def doubt(self) -> None:
        """The outbox does not know the root that we proved against: begin anew with the logs."""
        self._usable = NOTHING

    async def _revise(self, newest: Accepted | Wait) -> None:
        """Prove against the newest root, or else the one before, while our tree still has it."""
        usable = self._usable
        if isinstance(newest, Accepted) and newest.obstacle is None and newest.size >= usable.size:
            self._usable = newest
        elif usable.size and await self._obstacle(usable.root, usable.size) is not None:
            self._usable = NOTHING
            await self._revise(newest)

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
        obstacle = await self._obstacle(best.root, state.count)
        if obstacle is None:
            self._states.keep(block, state)
        return Accepted(best.root, state.count, obstacle)

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
