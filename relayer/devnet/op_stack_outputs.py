"""Plays the OP Stack's proposer and challenger before there were dispute games.

An output root commits to a layer-2 block: keccak(0 ++ state root ++ storage root of the message
passer ++ block hash). Source: ethereum-optimism/specs, `protocol/withdrawals.md` and
`Hashing.hashOutputRootProof` of contracts-bedrock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import send_as
from relayer.devnet.multicall import eth_call
from relayer.devnet.op_stack_contracts import CHALLENGER, MESSAGE_PASSER, PROPOSER, OpL1
from relayer.devnet.rpc import NodeRpc
from relayer.keccak import keccak256
from relayer.message import Address

BEAT_S = 0.5
T = TypeVar("T")
PROPOSE = "proposeL2Output(bytes32,uint256,bytes32,uint256)"


@dataclass(frozen=True, slots=True)
class Claim:
    """A root that stands on layer 1 for a layer-2 block, whether it is true or not."""

    l2_block: int
    root: bytes
    block: int
    """Of layer 1."""
    index: int
    """Among the oracle's outputs, or among all games of the factory."""
    is_true: bool
    game: Address | None = None


async def output_root(l2: NodeRpc, block: int) -> bytes:
    """The true root of a layer-2 block, from what its own node says."""
    header, account = await l2.batch(
        [
            ("eth_getBlockByNumber", [hex(block), False]),
            ("eth_getProof", [MESSAGE_PASSER, [], hex(block)]),
        ]
    )
    words = ("0x" + "00" * 32, header["stateRoot"], account["storageHash"], header["hash"])
    return keccak256(b"".join(bytes.fromhex(word[2:]) for word in words))


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do what must not be cut off half-way; who is cancelled meanwhile is so after it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


class Proposer:
    """Proposes the output of every block that is due, in order, one at a time."""

    def __init__(self, l1: NodeRpc, l2: NodeRpc, site: OpL1) -> None:
        assert site.oracle is not None
        self._l1 = l1
        self._l2 = l2
        self._oracle = site.oracle
        self._lock = asyncio.Lock()
        self.claims: list[Claim] = []
        """Everything that was ever proposed, what was deleted again too."""

    async def run(self) -> None:
        """Propose what is due, about twice a second, until cancelled."""
        while True:
            await self.propose_due()
            await asyncio.sleep(BEAT_S)

    async def propose_due(self) -> None:
        """Propose the true output of every due block that the layer 2 has already."""
        await self.propose_below(int(await self._l2.call("eth_blockNumber"), 16) + 1)

    async def propose_below(self, block: int) -> None:
        """Propose the true output of every due block before this one: the next covers it."""
        while await self.next_block() < block:
            await self.propose()

    async def propose(self, *, root: bytes | None = None) -> Claim:
        """Propose the next output, making layer-2 blocks up to it; `root` is a lie to tell."""
        async with self._lock:
            return await to_the_end(self._propose(root))

    async def next_block(self) -> int:
        """The layer-2 block whose output is due next."""
        return await self._number("nextBlockNumber()")

    async def delete_from(self, claim: Claim) -> None:
        """Take an output and all after it back, as the challenger may while they are young."""
        call_data = encode_call("deleteL2Outputs(uint256)", [claim.index])
        await send_as(self._l1, CHALLENGER, self._oracle, call_data)

    async def _propose(self, root: bytes | None) -> Claim:
        block = await self.next_block()
        missing = block - int(await self._l2.call("eth_blockNumber"), 16)
        if missing > 0:
            await self._l2.call("anvil_mine", hex(missing))
        index = await self._number("nextOutputIndex()")
        truth = await output_root(self._l2, block)
        said = root or truth
        call_data = encode_call(PROPOSE, [said, block, bytes(32), 0])
        receipt = await send_as(self._l1, PROPOSER, self._oracle, call_data)
        claim = Claim(block, said, int(receipt["blockNumber"], 16), index, said == truth)
        self.claims.append(claim)
        return claim

    async def _number(self, view: str) -> int:
        return int.from_bytes(await eth_call(self._l1, self._oracle, encode_call(view)), "big")
