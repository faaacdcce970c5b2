"""Plays Linea's sequencer, prover and coordinator: anchors messages on L2, finalises blocks on L1.

Finalising goes the security council's way, which needs no ZK proof and makes the same events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from relayer.devnet.accounts import Account
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.linea_contracts import STATE_ROOT, LineaSite
from relayer.devnet.multicall import eth_call
from relayer.errors import CallReverted
from relayer.keccak import keccak256

MESSAGE_SENT = (
    "0x" + keccak256(b"MessageSent(address,address,uint256,uint256,uint256,bytes,bytes32)").hex()
)
SUBMIT = "submitData((bytes32,bytes32,bytes32,uint256,uint256,bytes32,bytes))"
FINALISE = (
    "finalizeCompressedBlocksWithoutProof((bytes32,bytes32[],bytes32,uint256,uint256,uint256,"
    "bytes32,uint256,bytes32[],uint256,bytes))"
)
ANCHOR = "anchorL1L2MessageHashes(bytes32[],uint256,uint256,bytes32)"
DEPTH = 5
"""What mainnet uses: trees of 32 messages."""
MOST_MESSAGES = 4096
"""Per finalisation, give or take a block's worth."""
MOST_BLOCKS = 65_535
"""A finalisation names blocks by their 16-bit distance from the one before."""
MOST_ANCHORED = 100
GAS = 25_000_000
BEAT_S = 1.0

NO_WORD = bytes(32)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message as the operator sees it."""

    block: int
    digest: bytes


class Operator:
    """Confirms what either side sends; one beat at a time."""

    def __init__(self, l1: LineaSite, l2: LineaSite) -> None:
        self._l1 = l1
        self._l2 = l2
        self._seen_to = 0
        """The last L2 block looked at for messages."""
        self._finalised_to = 0
        self._anchored_to = 0
        """The last L1 block looked at for messages."""
        self._state = STATE_ROOT
        self._submission = NO_WORD
        self._time = 0

    async def run(self) -> None:
        """Confirm what is new, about once a second, until cancelled."""
        while True:
            await self.finalise()
            await self.anchor()
            await asyncio.sleep(BEAT_S)

    async def anchor(self) -> int:
        """Tell L2 of every new message on L1; says how many."""
        head = await _head(self._l1)
        found = await _outgoing(self._l1, self._anchored_to + 1, head)
        view = await eth_call(
            self._l2.rpc, self._l2.service, encode_call("lastAnchoredL1MessageNumber()")
        )
        number = int.from_bytes(view, "big")
        rest = iter(found)
        while batch := [one.digest for one in islice(rest, MOST_ANCHORED)]:
            last = number + len(batch)
            rolling = await eth_call(
                self._l1.rpc, self._l1.service, encode_call("rollingHashes(uint256)", [last])
            )
            arguments = [batch, number + 1, last, rolling]
            await _send(self._l2, [encode_call(ANCHOR, arguments)])
            number = last
        self._anchored_to = head
        return len(found)

    async def finalise(self) -> int:
        """Confirm on L1 every L2 block with messages that is new; says how many messages."""
        total = 0
        while found := await self._next_batch():
            await self._finalise(found)
            total += len(found)
        return total

    async def _next_batch(self) -> list[Outgoing]:
        """Messages of whole blocks, no more than one finalisation takes."""
        head = min(await _head(self._l2), self._finalised_to + MOST_BLOCKS)
        found = await _outgoing(self._l2, self._seen_to + 1, head)
        if len(found) <= MOST_MESSAGES:
            self._seen_to = head
            return found
        last = found[MOST_MESSAGES].block
        self._seen_to = last
        return [one for one in found if one.block <= last]

    async def _finalise(self, found: Sequence[Outgoing]) -> None:
        first, last = self._finalised_to + 1, found[-1].block
        state = keccak256(b"the state after block %d" % last)
        content = b"\0" + keccak256(b"the blocks up to %d" % last)[1:]
        # the first submission's parent state must be zero: there is no submission before it
        parent = self._state if any(self._submission) else NO_WORD
        submission = (parent, self._submission, state, first, last, keccak256(b"snark"), content)
        distances = sorted({one.block - self._finalised_to for one in found})
        head = await self._l1.rpc.call("eth_getBlockByNumber", "latest", False)
        time = max(self._time, int(head["timestamp"], 16) - 1)
        finalisation = (
            self._state, [keccak256(content)], self._submission, last, self._time, time,
            NO_WORD, 0, roots_of([one.digest for one in found]), DEPTH,
            b"".join(distance.to_bytes(2, "big") for distance in distances),
        )  # fmt: skip
        calls = [encode_call(SUBMIT, [submission]), encode_call(FINALISE, [finalisation])]
        await _send(self._l1, calls)
        self._finalised_to, self._state, self._time = last, state, time
        self._submission = keccak256(content)


def roots_of(leaves: Sequence[bytes], depth: int = DEPTH) -> list[bytes]:
    """The roots of consecutive trees of 2**depth leaves, the last one filled up with zeros."""
    width = 1 << depth
    roots: list[bytes] = []
    for start in range(0, len(leaves), width):
        level = [*leaves[start : start + width]]
        level += [NO_WORD] * (width - len(level))
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=True)
            level = [keccak256(left + right) for left, right in pairs]
        roots.append(level[0])
    return roots


async def _send(site: LineaSite, calls: Sequence[bytes]) -> None:
    """Send calls to a side's contract as its operator; raises when one fails."""
    queue = await Deployer.open(site.rpc, Account(site.operator, b""))
    for one in calls:
        queue.call(site.service, one, gas=GAS)
    for tx in await queue.send():
        receipt = await site.rpc.call("eth_getTransactionReceipt", tx)
        if receipt["status"] != "0x1":
            raise CallReverted(f"the operator's transaction {tx} on {site.name} failed")


async def _outgoing(site: LineaSite, first: int, last: int) -> list[Outgoing]:
    if first > last:
        return []
    query: dict[str, Any] = {
        "address": site.service,
        "topics": [MESSAGE_SENT],
        "fromBlock": hex(first),
        "toBlock": hex(last),
    }
    logs = await site.rpc.call("eth_getLogs", query)
    return [
        Outgoing(int(log["blockNumber"], 16), bytes.fromhex(log["topics"][3][2:])) for log in logs
    ]


async def _head(site: LineaSite) -> int:
    return int(await site.rpc.call("eth_blockNumber"), 16)
