"""Scroll on local chains: its real contracts on both layers, its operator and traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import decode

from relayer.devnet.accounts import SENDERS, Account
from relayer.devnet.anvil import Anvil
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Delivery, Outcome, Sent
from relayer.devnet.ledger import block_times, logs_of, read_deliveries
from relayer.devnet.patience import sending
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.scroll_contracts import (
    MESSAGE_QUEUE,
    ScrollL1,
    ScrollL2,
    deploy_scroll,
)
from relayer.devnet.scroll_operator import Operator
from relayer.devnet.targets import received_bodies
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.message import Address, MessageId

L1, L2 = "l1", "scr"
RELAYED = "0x" + keccak256(b"RelayedMessage(bytes32)").hex()
APPENDED = "0x" + keccak256(b"AppendMessage(uint256,bytes32)").hex()
SEND = "sendMessage(address,uint256,bytes,uint256)"
SEND_GAS = 400_000


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message to send."""

    body: bytes
    target: str = "Target"
    """Name of the contract in `devnet.targets`."""
    value: int = 0


class ScrollLocal:
    """`ground.LocalBridge` for Scroll, from the rollup to layer 1."""

    name = "scroll"
    demo_messages = 100
    chains: Mapping[str, int] = {L1: 31900, L2: 31902}

    def __init__(self) -> None:
        self._nodes: Mapping[str, Anvil] = {}
        self._sites: tuple[ScrollL1, ScrollL2] | None = None
        self._operator: Operator | None = None

    @property
    def l1(self) -> ScrollL1:
        """Layer 1; there after `deploy`."""
        assert self._sites is not None
        return self._sites[0]

    @property
    def l2(self) -> ScrollL2:
        """The rollup; there after `deploy`."""
        assert self._sites is not None
        return self._sites[1]

    @property
    def operator(self) -> Operator:
        """Who finalizes batches; there after `deploy`."""
        assert self._operator is not None
        return self._operator

    @property
    def outcomes(self) -> Collection[Outcome]:
        return {(RELAYED, str(self.l1.messenger))}

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        self._nodes = nodes
        self._sites = await deploy_scroll(self._rpc(L1), self._rpc(L2), self.chains[L2])
        self._operator = Operator(self._rpc(L1), self._rpc(L2), self.l1)

    def settings(self) -> Mapping[str, Any]:
        return {
            "protocol": "scroll",
            "l2": {
                "chain": L2,
                "messenger": str(self.l2.messenger),
                "start_block": self.l2.start_block,
            },
            "l1": {
                "chain": L1,
                "messenger": str(self.l1.messenger),
                "scroll_chain": str(self.l1.scroll_chain),
                "start_block": self.l1.start_block,
            },
        }

    async def run(self) -> None:
        await self.operator.run()

    async def spread(self, count: int, *, label: str = "hello") -> Sequence[Sent]:
        bodies = [f"{label} {turn:06d} {L2} > {L1}".encode() for turn in range(count)]
        return await self.send([Parcel(body, value=turn % 3) for turn, body in enumerate(bodies)])

    async def send(self, parcels: Sequence[Parcel]) -> list[Sent]:
        """Send parcels and wait until all are mined; the answer is in their order."""
        rpc = self._rpc(L2)
        first_block = int(await rpc.call("eth_blockNumber"), 16)
        shares = [parcels[turn :: len(SENDERS)] for turn in range(len(SENDERS))]
        async with sending(self.name, len(parcels)):
            hashes = await asyncio.gather(
                *(self._send_share(*pair) for pair in zip(SENDERS, shares, strict=True))
            )
        query = {"address": MESSAGE_QUEUE, "topics": [APPENDED], "fromBlock": hex(first_block)}
        logs = {log["transactionHash"]: log for log in await rpc.call("eth_getLogs", query)}
        sent: list[Sent] = []
        for place, parcel in enumerate(parcels):
            log = logs.get(hashes[place % len(SENDERS)][place // len(SENDERS)])
            if log is None:
                raise CallReverted("a message was mined without its leaf")
            block = int(log["blockNumber"], 16)
            sent.append(Sent(_leaf_of(log)[1], L2, L1, block, parcel.body))
        return sent

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        relayed = await self._relayed()
        return [one for one in sent if one.id not in relayed]

    async def deliveries(self, sent: Sequence[Sent]) -> Mapping[MessageId, Delivery]:
        return await read_deliveries(
            self._rpc(L1),
            sent,
            await self._relayed(),
            provable_at=await self._finalized(),
            bodies=await received_bodies(self._rpc(L1), self.l1.targets.values()),
        )

    async def switch_on(self, target: str) -> None:
        """Send a target on layer 1 a bare transaction."""
        queue = await Deployer.open(self._rpc(L1), SENDERS[0])
        queue.call(self.l1.targets[target], b"")
        await queue.send()

    def _rpc(self, chain: str) -> NodeRpc:
        return self._nodes[chain].rpc

    async def _send_share(self, sender: Account, parcels: Sequence[Parcel]) -> list[str]:
        queue = await Deployer.open(self._rpc(L2), sender)
        for parcel in parcels:
            to: Address = self.l1.targets[parcel.target]
            call_data = encode_call(SEND, [to, parcel.value, parcel.body, 0])
            gas = SEND_GAS + 40 * len(parcel.body)
            queue.call(self.l2.messenger, call_data, value=parcel.value, gas=gas)
        return await queue.send()

    async def _relayed(self) -> dict[MessageId, list[dict[str, Any]]]:
        """Every delivery, by message."""
        found: dict[MessageId, list[dict[str, Any]]] = {}
        for log in await logs_of(self._rpc(L1), RELAYED, str(self.l1.messenger)):
            found.setdefault(MessageId(log["topics"][1]), []).append(log)
        return found

    async def _finalized(self) -> dict[MessageId, float]:
        """When the first root that covers each message was finalized."""
        bundles = self.operator.finalized
        times = await block_times(self._rpc(L1), {bundle.block for bundle in bundles})
        found: dict[MessageId, float] = {}
        for log in await logs_of(self._rpc(L2), APPENDED, str(MESSAGE_QUEUE)):
            index, message_id = _leaf_of(log)
            first = next((one for one in bundles if one.messages > index), None)
            if first is not None:
                found[message_id] = times[first.block]
        return found


def _leaf_of(log: Mapping[str, Any]) -> tuple[int, MessageId]:
    index, digest = decode(["uint256", "bytes32"], bytes.fromhex(log["data"][2:]))
    return index, MessageId("0x" + digest.hex())
