"""Shares followers and lanes out over the replicas that are at work.

Leases alone would leave everything with the replica that came first. Here a replica that holds at
least two more places of a role than another one that would take one of them hands that one over,
and so does one that cannot do the work, because it sees no endpoint or has no signer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from relayer.message import ChainId
from relayer.store import Place, Role


class PlaceHolder(Protocol):
    """What holds one place, or would."""

    @property
    def place(self) -> Place: ...

    @property
    def is_held(self) -> bool: ...

    @property
    def is_willing(self) -> bool: ...

    def can_work(self) -> bool: ...

    def hand_over(self) -> None:
        """Stop working, give the lease back, and leave it to others for a while."""
        ...


class ReplicaStore(Protocol):
    """The part of the store that knows who is at work."""

    async def announce(self, owner: str, wants: Sequence[Place]) -> None: ...

    async def replicas(self) -> dict[str, frozenset[Place]]: ...

    async def holders(self, chain: ChainId) -> dict[Role, str]: ...


class Sharer:
    """An agent that hands one place over at a time."""

    name = "sharer"

    def __init__(self, store: ReplicaStore, owner: str, tenures: Sequence[PlaceHolder]) -> None:
        self._store = store
        self._owner = owner
        self._tenures = tenures
        self._log = structlog.get_logger("relayer").bind(agent=self.name)

    async def tick(self) -> bool:
        """Say what we would take, and hand a place over that another should have."""
        wants = [one.place for one in self._tenures if one.is_willing]
        await self._store.announce(self._owner, wants)
        others = await self._store.replicas()
        others.pop(self._owner, None)
        if not others:
            return False
        counts = await self._counts({place for wanted in others.values() for place in wanted})
        for tenure in self._tenures:
            chain, role = tenure.place
            most = counts[self._owner, role] - 2
            poorer = [
                owner
                for owner, wanted in others.items()
                if tenure.place in wanted and (counts[owner, role] <= most or not tenure.can_work())
            ]
            if tenure.is_held and poorer:
                self._log.info("handed_over", chain=chain, role=role.value, other=min(poorer))
                tenure.hand_over()
                return False
        return False

    async def _counts(self, wanted: Collection[Place]) -> Counter[tuple[str, Role]]:
        """How many places of each role every replica holds, ours and those that others want."""
        counts: Counter[tuple[str, Role]] = Counter()
        for chain in sorted({chain for chain, _ in (*wanted, *(t.place for t in self._tenures))}):
            for role, owner in (await self._store.holders(chain)).items():
                counts[owner, role] += 1
        return counts
