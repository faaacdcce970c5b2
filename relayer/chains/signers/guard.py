"""What a signer may be used for: the last gate before any key, whatever the rest of us believes.

Chain id, value, destination and function of every transaction are checked here, also those of
each call inside a Multicall3 pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.chains.multicall import AGGREGATE3_VALUE, decode_aggregate3_value
from relayer.chains.signers.signer import Signer
from relayer.chains.transactions import Envelope, SignedTransaction
from relayer.errors import BadChainData, SigningRefused
from relayer.message import Address, ChainId, Wei
from relayer.settings import AllowedTarget

SELECTOR_BYTES = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be signed."""

    chain_id: ChainId
    max_value: Wei
    """Of one transaction."""
    allow: Sequence[AllowedTarget] | None = None
    """None: any destination."""
    multicall: Address | None = None
    """The contract whose packs may be sent if each call in them may."""


class GuardedSigner:
    """Another signer that refuses what `limits` do not allow."""

    def __init__(self, signer: Signer, limits: Limits) -> None:
        self._signer = signer
        self._limits = limits

    @property
    def address(self) -> Address:
        return self._signer.address

    def __repr__(self) -> str:
        return f"GuardedSigner({self._signer!r})"

    async def sign(self, tx: Envelope) -> SignedTransaction:
        """Sign; `SigningRefused` says which limit forbids it, and then no key was asked."""
        self._check(tx)
        return await self._signer.sign(tx)

    async def aclose(self) -> None:
        await self._signer.aclose()

    def _check(self, tx: Envelope) -> None:
        limits = self._limits
        if tx.chain_id != limits.chain_id:
            raise SigningRefused(
                f"a transaction of chain {tx.chain_id}, the signer is for {limits.chain_id}"
            )
        if tx.value > limits.max_value:
            raise SigningRefused(
                f"sends {tx.value} wei, the signer's max_value_wei is {limits.max_value}"
            )
        if limits.allow is None or self._is_empty_transfer(tx):
            return
        if tx.to == limits.multicall and tx.data[:SELECTOR_BYTES] == AGGREGATE3_VALUE:
            self._check_pack(tx)
        elif not _is_allowed(limits.allow, tx.to, tx.data):
            raise _not_allowed(tx.to, tx.data)

    def _is_empty_transfer(self, tx: Envelope) -> bool:
        """What fills a gap of nonces, or takes the place of a transaction that nobody takes."""
        return tx.to == self.address and not tx.data and not tx.value and not tx.access_list

    def _check_pack(self, tx: Envelope) -> None:
        try:
            calls = decode_aggregate3_value(tx.data)
        except BadChainData as bad:
            raise SigningRefused(f"a pack that cannot be read: {bad}") from None
        if sum(value for _, _, value, _ in calls) != tx.value:
            raise SigningRefused("a pack whose calls do not send what the transaction sends")
        for to, _, _, data in calls:
            if not _is_allowed(self._limits.allow or (), to, data):
                raise _not_allowed(to, data)


def _is_allowed(allow: Sequence[AllowedTarget], to: Address, data: bytes) -> bool:
    selector = "0x" + data[:SELECTOR_BYTES].hex()
    return any(one.to == to and (not one.selectors or selector in one.selectors) for one in allow)


def _not_allowed(to: Address, data: bytes) -> SigningRefused:
    selector = "0x" + data[:SELECTOR_BYTES].hex()
    return SigningRefused(f"calls {selector} of {to}, which is not in the signer's allow list")
