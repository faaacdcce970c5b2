"""Which replicas are at work, and what each of them would take: so that they can share it out."""

from __future__ import annotations

from collections.abc import Sequence

from relayer.message import ChainId
from relayer.store.keys import META, base
from relayer.store.shapes import Role
from relayer.store.wire import Wire

Place = tuple[ChainId, Role]
"""A role of a chain, which one replica holds at a time."""

MOST_REPLICAS = 256


class Replicas(Wire):
    """A replica that says nothing for `lease_s` seconds is forgotten, like its leases."""

    async def announce(self, owner: str, wants: Sequence[Place]) -> None:
        """Say that `owner` is at work, and which places it would take."""
        text = " ".join(f"{chain}:{role.value}" for chain, role in wants)
        lease_ms = round(self._lease_s * 1000)
        await self.command("SET", self._replica_key(owner), text, "PX", lease_ms)
        await self.command("SADD", self._replicas_key, owner)

    async def withdraw(self, owner: str) -> None:
        """Say that `owner` takes nothing more."""
        await self.command("SREM", self._replicas_key, owner)
        await self.command("DEL", self._replica_key(owner))

    async def replicas(self) -> dict[str, frozenset[Place]]:
        """Every replica at work with the places it would take; what makes no sense is no place."""
        names = await self.command("SMEMBERS", self._replicas_key)
        owners = sorted(name.decode("utf-8", "replace") for name in names)[:MOST_REPLICAS]
        if not owners:
            return {}
        texts = await self.command("MGET", *(self._replica_key(owner) for owner in owners))
        gone = [owner for owner, text in zip(owners, texts, strict=True) if text is None]
        if gone:
            await self.command("SREM", self._replicas_key, *gone)
        return {
            owner: frozenset(_places(text.decode("utf-8", "replace")))
            for owner, text in zip(owners, texts, strict=True)
            if text is not None
        }

    @property
    def _replicas_key(self) -> str:
        return base(self._prefix, META) + "replicas"

    def _replica_key(self, owner: str) -> str:
        return f"{base(self._prefix, META)}replica:{owner}"


def _places(text: str) -> list[Place]:
    found: list[Place] = []
    for word in text.split(" "):
        chain, _, role = word.partition(":")
        if chain.isdecimal() and role in set(Role):
            found.append((ChainId(int(chain)), Role(role)))
    return found
