"""A fake rollup whose state is a real trie, so that its proofs are real proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import rlp
from trie import HexaryTrie

from relayer.abi import word
from relayer.adapter import Header
from relayer.errors import RpcRefused, StaleEndpoint
from relayer.keccak import keccak256
from relayer.message import BlockHash, BlockNumber, ChainId, Timestamp
from relayer.protocols.op_stack.contracts import MESSAGE_NONCE, OutputProof
from relayer.protocols.op_stack.settings import MESSAGE_PASSER
from relayer.trees.state_proof import EMPTY_CODE
from tests.fakes import FakeChain, fake_header

GENESIS_S = 1_000_000
BLOCK_S = 2


@dataclass(frozen=True, slots=True)
class Block:
    """A block with all of its state."""

    header: Header
    state: HexaryTrie
    storage: HexaryTrie

    @property
    def output(self) -> OutputProof:
        digest = bytes.fromhex(self.header.hash[2:])
        return OutputProof(self.header.state_root, self.storage.root_hash, digest)


@dataclass
class Counters:
    """Requests made so far, by kind."""

    proofs: list[int] = field(default_factory=list)
    """Slots asked for by each `eth_getProof`."""
    headers: int = 0


class FakeRollup(FakeChain):
    """`adapter.ChainReader` of a chain that only has a message passer."""

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id)
        self._nodes: dict[bytes, bytes] = {}
        self._storage = HexaryTrie(self._nodes)
        self.blocks: list[Block] = []
        self.sent = 0
        self.pruned: set[int] = set()
        """Blocks whose state no node has any more."""
        self.lies: dict[str, Any] = {}
        """Fields put over what `eth_getProof` answers."""
        self.asked = Counters()
        self.answer(MESSAGE_PASSER, MESSAGE_NONCE, lambda _: word((1 << 240) + self.sent))
        self.mine()

    @property
    def head(self) -> Block:
        return self.blocks[-1]

    def keep(self, slot: bytes) -> None:
        """Set a slot of the message passer in the next block."""
        self._storage[keccak256(slot)] = rlp.encode(1)

    def mine(self, blocks: int = 1) -> int:
        """Make blocks; answers the number of the last."""
        for _ in range(blocks):
            number = len(self.blocks)
            storage = HexaryTrie(self._nodes, self._storage.root_hash)
            state = HexaryTrie(self._nodes)
            state[keccak256(bytes.fromhex(MESSAGE_PASSER[2:]))] = rlp.encode(
                [0, 0, storage.root_hash, EMPTY_CODE]
            )
            for other in range(20):
                address = keccak256(b"%d/%d" % (other, number))
                state[keccak256(address[:20])] = rlp.encode([1, number, keccak256(b""), EMPTY_CODE])
            header = replace(
                fake_header(BlockNumber(number)),
                hash=BlockHash("0x" + keccak256(b"block %d" % number).hex()),
                timestamp=Timestamp(GENESIS_S + BLOCK_S * number),
                state_root=state.root_hash,
            )
            self.blocks.append(Block(header, state, storage))
        self.final = BlockNumber(len(self.blocks) - 1)
        return self.final

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        self.asked.headers += 1
        if self.failure is not None:
            raise self.failure
        if not isinstance(block, int) or block >= len(self.blocks):
            raise StaleEndpoint(f"no block {block}")
        return self.blocks[block].header

    async def final_header(self) -> Header:
        if self.failure is not None:
            raise self.failure
        return self.blocks[self.final].header

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        assert method == "eth_getProof"
        assert params[0] == MESSAGE_PASSER
        number = int(params[2], 16)
        if number in self.pruned:
            raise RpcRefused(-32602, f"no state found for block number {number}")
        self.asked.proofs.append(len(params[1]))
        block = self.blocks[number]
        account = block.state.get_proof(keccak256(bytes.fromhex(MESSAGE_PASSER[2:])))
        storage = [
            {"key": key, "proof": _hex(block.storage.get_proof(keccak256(bytes.fromhex(key[2:]))))}
            for key in params[1]
        ]
        return {"accountProof": _hex(account), "storageProof": storage, **self.lies}


def rollup(chain_id: int = 10) -> FakeRollup:
    return FakeRollup(ChainId(chain_id))


def _hex(nodes: Sequence[Any]) -> list[str]:
    return ["0x" + rlp.encode(node).hex() for node in nodes]
