"""How many messages a chain had sent at one of its blocks, and the root of its tree there.

Three sources, the cheapest first: the fields that Nitro nodes add to a block; the block's own
`extraData` and `mixHash`, where the hash commits to them; ArbSys, called at that block. Sources:
OffchainLabs/go-ethereum `core/types/arb_types.go`, OffchainLabs/nitro `precompiles/ArbSys.go`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relayer.adapter import ChainReader, Header
from relayer.errors import BadChainData
from relayer.message import BlockHash
from relayer.protocols.arbitrum import contracts

MOST_KEPT = 1024
NOBODY = "0x" + "00" * 20
"""Who must call `sendMerkleTreeState`, so it cannot be asked through another contract."""


@dataclass(frozen=True, slots=True)
class SendState:
    """The tree as the chain itself had it at one block."""

    count: int
    root: bytes


class SendStates:
    """Reads a chain's send states; a block's never changes, so the newest ones are kept."""

    def __init__(self, chain: ChainReader) -> None:
        self._chain = chain
        self._kept: OrderedDict[BlockHash, SendState] = OrderedDict()

    async def at(self, block: BlockHash) -> SendState:
        """The state at a block; `Transient` when no node can tell, `Permanent` for nonsense."""
        known = self._kept.get(block)
        if known is not None:
            return known
        return await self.of(await self._chain.header(block))

    async def of(self, header: Header) -> SendState:
        """The same for a header at hand."""
        state = _added_fields(header.raw) or _sealed(header) or await self._ask(header.hash)
        self._kept[header.hash] = state
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return state

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
