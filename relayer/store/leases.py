"""Leases: one owner per chain and role, each with a fencing token that every write repeats."""

from __future__ import annotations

import asyncio

from relayer.errors import RelayerError
from relayer.message import ChainId
from relayer.store.keys import base
from relayer.store.shapes import Lease, Role
from relayer.store.wire import Wire

NO_TOKEN = 2**53
"""From here on two tokens could look the same to Lua, so none is."""


def lease_text(lease: Lease) -> str:
    """The value of the lease's key; scripts compare it before they write."""
    return f"{lease.token} {lease.owner}"


class Leases(Wire):
    """Who may follow a chain, and who may send to it."""

    async def acquire(self, chain: ChainId, role: Role, owner: str) -> Lease | None:
        """Take the role for `lease_s` seconds of Redis time; None while anybody holds it.

        The token is larger than any given out before, also after the server lost its data, or the
        key of the fence came to hold something else.
        """
        await self._register({chain})
        lease = await self._take(chain, role, owner)
        if lease is None or role is not Role.FOLLOWER:
            return lease
        seen = await self._highest_seen(chain)
        if seen < lease.token:
            return lease
        await self.release_lease(lease)
        return await self._take(chain, role, owner, above=seen)

    async def _take(
        self, chain: ChainId, role: Role, owner: str, *, above: int = 0
    ) -> Lease | None:
        lease_ms = round(self._lease_s * 1000)
        args = {"role": role.value, "owner": owner, "lease_ms": lease_ms, "above": str(above)}
        answer = await self.run("acquire", chain, args)
        if answer is None:
            return None
        token, garbage = answer
        if garbage is not None:
            key = f"{base(self._prefix, chain)}fence:{role.value}"
            self.tell_garbage(key, garbage, f"it holds the new token {int(token)} now")
        return Lease(chain, role, owner, int(token))

    async def _highest_seen(self, chain: ChainId) -> int:
        """The highest token with which a follower of the chain wrote into another chain's slot.

        A slot that does not answer keeps nobody from following: it fences for itself.
        """
        others = sorted((self._known_chains | self._configured) - {chain})
        keys = [base(self._prefix, other) + "origins" for other in others]
        reads = [self.command("HGET", key, chain) for key in keys]
        found = await asyncio.gather(*reads, return_exceptions=True)
        tokens = [0]
        for key, text in zip(keys, found, strict=True):
            if isinstance(text, RelayerError) or text is None:
                continue
            if isinstance(text, BaseException):
                raise text
            if text.isdigit() and int(text) < NO_TOKEN:
                tokens.append(int(text))
            else:
                self.tell_garbage(f"{key} {chain}", text, "its next write puts it right")
        return max(tokens)

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
