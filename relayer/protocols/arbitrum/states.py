"""How many messages a chain had sent at one of its blocks, and the root of its tree there.

Three sources, the best first: the block's own `extraData` and `mixHash`, where the hash commits to
them; the fields that Nitro nodes add to a block; ArbSys, called at that block. Sources:
OffchainLabs/go-ethereum `core/types/arb_types.go`, OffchainLabs/nitro `precompiles/ArbSys.go`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from relayer.adapter import ChainReader, Header
from relayer.errors import BadChainData
from relayer.message import BlockHash, Timestamp
from relayer.protocols.arbitrum import contracts

MOST_KEPT = 1024
UNPROVED_S = 10.0
"""How long an answer is believed that nothing has confirmed yet."""
NOBODY = "0x" + "00" * 20
"""Who must call `sendMerkleTreeState`, so it cannot be asked through another contract."""


@dataclass(frozen=True, slots=True)
class SendState:
    """The tree as the chain itself had it at one block."""

    count: int
    root: bytes


@dataclass(frozen=True, slots=True)
class _Kept:
    state: SendState
    until: float


class SendStates:
    """Reads a chain's send states; a block's never changes, so a proved one is kept."""

    def __init__(self, chain: ChainReader, now: Callable[[], Timestamp]) -> None:
        self._chain = chain
        self._now = now
        self._kept: OrderedDict[BlockHash, _Kept] = OrderedDict()

    async def at(self, block: BlockHash) -> SendState:
        """The state at a block; `Transient` when no node can tell, `Permanent` for nonsense."""
        known = self._kept.get(block)
        if known is not None and self._now() < known.until:
            return known.state
        state = await self.of(await self._chain.header(block))
        self._remember(block, _Kept(state, self._now() + UNPROVED_S))
        return state

    async def of(self, header: Header) -> SendState:
        """The same for a header at hand, read anew."""
        sealed, added = _sealed(header), _added_fields(header.raw)
        if sealed is not None and added is not None and sealed != added:
            raise BadChainData(
                f"a node says {added.count} messages at block {header.hash}, its header"
                f" {sealed.count}, or their roots differ"
            )
        return sealed or added or await self._ask(header.hash)

    def keep(self, block: BlockHash, state: SendState) -> None:
        """Believe a state from now on: our own tree has that root at that size."""
        self._remember(block, _Kept(state, math.inf))

    def _remember(self, block: BlockHash, kept: _Kept) -> None:
        self._kept[block] = kept
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    async def _ask(self, block: BlockHash) -> SendState:
        call = {
            "from": NOBODY,
            "to": contracts.ARB_SYS,
            "data": "0x" + contracts.SEND_MERKLE_TREE_STATE.hex(),
        }
        answer = await self._chain.rpc("eth_call", [call, {"blockHash": block}])
        return SendState(*contracts.read_tree_state(contracts.read_hex(answer)))


def _added_fields(raw: Mapping[str, Any]) -> SendState | None:
    if raw.get("sendCount") is None or raw.get("sendRoot") is None:
        return None
    return SendState(_number(raw["sendCount"]), _word(raw["sendRoot"]))


def _sealed(header: Header) -> SendState | None:
    """What a Nitro header commits to; other blocks differ in difficulty, base fee or extra data."""
    raw = header.raw
    extra, mix = raw.get("extraData"), raw.get("mixHash")
    if not header.base_fee or raw.get("difficulty") != "0x1" or mix is None:
        return None
    if not isinstance(extra, str) or len(extra) != 66:
        return None
    return SendState(int.from_bytes(_word(mix)[:8], "big"), _word(extra))


def _number(value: object) -> int:
    if not isinstance(value, str) or not 3 <= len(value) <= 66:
        raise BadChainData("a block's sendCount is not a number")
    try:
        return int(value, 16)
    except ValueError:
        raise BadChainData("a block's sendCount is not a number") from None


def _word(value: object) -> bytes:
    word = contracts.read_hex(value)
    if len(word) != 32:
        raise BadChainData("a block's send root is not 32 bytes")
    return word
