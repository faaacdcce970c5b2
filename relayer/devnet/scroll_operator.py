"""Plays Scroll's sequencer and prover: commits batches and finalizes bundles on layer 1."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from relayer.devnet.artefacts import encode_call
from relayer.devnet.multicall import eth_call
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.scroll_contracts import BLOB_HASH, MESSAGE_QUEUE, OPERATOR, ScrollL1
from relayer.errors import CallReverted
from relayer.keccak import keccak256

BEAT_S = 1.0
POLL_S = 0.05
GAS = 1_000_000
VERSION = 7
"""Of batches since Euclid V2."""
COMMIT = "commitBatches(uint8,bytes32,bytes32)"
FINALIZE = "finalizeBundlePostEuclidV2(bytes,uint256,bytes32,bytes32,bytes)"
SET_BLOB = "setBlobVersionedHash(uint256,bytes32)"


@dataclass(frozen=True, slots=True)
class Finalized:
    """One bundle: the batch its root is stored under, and how many messages that covers."""

    batch: int
    root: bytes
    messages: int
    block: int
    """Of layer 1."""


class Operator:
    """Finalizes what the rollup's queue holds; one bundle at a time."""

    def __init__(self, l1: NodeRpc, l2: NodeRpc, contracts: ScrollL1) -> None:
        self._l1 = l1
        self._l2 = l2
        self._contracts = contracts
        self._batch = 0
        self._parent = contracts.genesis_hash
        self._lock = asyncio.Lock()
        self.finalized: list[Finalized] = []

    async def run(self) -> None:
        """Finalize what is new, about once a second, until cancelled."""
        while True:
            await self.finalize_news()
            await asyncio.sleep(BEAT_S)

    async def finalize_news(self) -> Finalized | None:
        """Finalize one batch if messages came since the last one."""
        root = await eth_call(self._l2, MESSAGE_QUEUE, encode_call("messageRoot()"))
        known = self.finalized[-1].root if self.finalized else bytes(32)
        return None if root == known else await self.finalize()

    async def finalize(self, *, batches: int = 1) -> Finalized:
        """Commit a bundle of batches and finalize it at the rollup's latest block, news or not."""
        async with self._lock:
            work = asyncio.create_task(self._finalize(batches))
            return await asyncio.shield(work)  # cut off half-way, we would not know where we stand

    async def _finalize(self, batches: int) -> Finalized:
        block = await self._l2.call("eth_blockNumber")
        root = await eth_call(self._l2, MESSAGE_QUEUE, encode_call("messageRoot()"), block)
        count = await eth_call(self._l2, MESSAGE_QUEUE, encode_call("nextMessageIndex()"), block)
        headers = self._headers(batches)
        state = keccak256(headers[-1])
        calls = [encode_call(SET_BLOB, [n, BLOB_HASH]) for n in range(1, batches)]
        calls.append(encode_call(COMMIT, [VERSION, self._parent, keccak256(headers[-1])]))
        calls.append(encode_call(FINALIZE, [headers[-1], 0, state, root, b""]))
        calls += [encode_call(SET_BLOB, [n, bytes(32)]) for n in range(1, batches)]
        mined_in = await self._send(calls, finalize_at=batches)
        self._batch += batches
        self._parent = keccak256(headers[-1])
        done = Finalized(self._batch, root, int.from_bytes(count, "big"), mined_in)
        self.finalized.append(done)
        return done

    def _headers(self, batches: int) -> list[bytes]:
        """Batch headers of version 7: version, index, blob hash, parent's hash."""
        headers: list[bytes] = []
        parent = self._parent
        for index in range(self._batch + 1, self._batch + batches + 1):
            headers.append(bytes([VERSION]) + index.to_bytes(8, "big") + BLOB_HASH + parent)
            parent = keccak256(headers[-1])
        return headers

    async def _send(self, calls: list[bytes], *, finalize_at: int) -> int:
        """Send calls in order and say which block the finalizing one is in."""
        to = self._contracts.scroll_chain
        await self._l1.call("anvil_impersonateAccount", OPERATOR)
        await self._l1.call("anvil_setBalance", OPERATOR, hex(10**21))
        first = int(await self._l1.call("eth_getTransactionCount", OPERATOR, "pending"), 16)
        hashes = await self._l1.batch(
            [
                (
                    "eth_sendTransaction",
                    [
                        {
                            "from": OPERATOR, "to": to, "data": "0x" + one.hex(),
                            "gas": hex(GAS), "nonce": hex(first + place),
                        }
                    ],
                )
                for place, one in enumerate(calls)
            ]
        )  # fmt: skip
        while True:
            receipts = await self._l1.batch([("eth_getTransactionReceipt", [h]) for h in hashes])
            if all(receipts):
                break
            await asyncio.sleep(POLL_S)
        if any(receipt["status"] != "0x1" for receipt in receipts):
            raise CallReverted("ScrollChain refused a batch")
        return int(receipts[finalize_at]["blockNumber"], 16)
