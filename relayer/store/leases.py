"""Leases: one owner per chain and role, each with a fencing token that every write repeats."""

from __future__ import annotations

from relayer.message import ChainId
from relayer.store.keys import base
from relayer.store.shapes import Lease, Role
from relayer.store.wire import Wire


def lease_text(lease: Lease) -> str:
    """The value of the lease's key; scripts compare it before they write."""
    return f"{lease.token} {lease.owner}"


class Leases(Wire):
    """Who may follow a chain, and who may send to it."""

    async def acquire(self, chain: ChainId, role: Role, owner: str) -> Lease | None:
        """Take the role for `lease_s` seconds of Redis time; None while anybody holds it.

        The token is larger than any given out before, also after the server lost its data.
        """
        await self._register({chain})
        token = await self.run(
            "acquire",
            chain,
            {"role": role.value, "owner": owner, "lease_ms": round(self._lease_s * 1000)},
        )
        return None if token is None else Lease(chain, role, owner, int(token))

    async def end_leases(self) -> None:
        """Take all leases away at once; only for the sole owner of the store, before it begins."""
        for chain in await self.chains():
            keys = [f"{base(self._prefix, chain)}lease:{role.value}" for role in Role]
            await self.command("DEL", *keys)

    async def holders(self, chain: ChainId) -> dict[Role, str]:
        """Who holds each role of a chain now, by the owner's name."""
        keys = [f"{base(self._prefix, chain)}lease:{role.value}" for role in Role]
        held = await self.command("MGET", *keys)
        return {
            role: text.decode("utf-8", "replace").partition(" ")[2]
            for role, text in zip(Role, held, strict=True)
            if text is not None
        }

    async def renew(self, lease: Lease) -> bool:
        """Hold it for another `lease_s` seconds; False when it is no longer ours."""
        return bool(
            await self.run(
                "renew",
                lease.chain,
                {
                    "role": lease.role.value,
                    "lease": lease_text(lease),
                    "lease_ms": round(self._lease_s * 1000),
                },
            )
        )

    async def release_lease(self, lease: Lease) -> None:
        """Give it back so that another may take it at once; nothing when it is not ours."""
        await self.run(
            "release", lease.chain, {"role": lease.role.value, "lease": lease_text(lease)}
        )
