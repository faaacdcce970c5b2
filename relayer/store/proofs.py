"""Proofs that must be fetched while a node still has them, kept until they are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relayer.errors import BadChainData
from relayer.message import ChainId
from relayer.store.keys import base
from relayer.store.wire import Wire, each

PROOF_KEPT_S = 30 * 86400
"""Longer than any challenge period; a lost proof is fetched again."""
MAX_PROOF_BYTES = 256 * 1024


class Proofs(Wire):
    """Bytes by name in one chain's slot; what is read is checked again by whoever uses it."""

    async def keep_proofs(self, chain: ChainId, proofs: Mapping[str, bytes]) -> None:
        """Keep each for 30 days; `BadChainData` for one of more than 256 KiB."""
        for name, proof in proofs.items():
            if len(proof) > MAX_PROOF_BYTES:
                raise BadChainData(f"the proof {name} is {len(proof)} bytes long")
        if proofs:
            await self._register({chain})
        await each(
            [
                self.command("SET", self._proof_key(chain, name), proof, "EX", PROOF_KEPT_S)
                for name, proof in proofs.items()
            ]
        )

    async def kept_proofs(self, chain: ChainId, names: Sequence[str]) -> dict[str, bytes]:
        """Those of `names` that are still kept, in one round trip."""
        if not names:
            return {}
        found = await self.command("MGET", *(self._proof_key(chain, name) for name in names))
        return {name: proof for name, proof in zip(names, found, strict=True) if proof is not None}

    def _proof_key(self, chain: ChainId, name: str) -> str:
        return f"{base(self._prefix, chain)}proof:{name}"
