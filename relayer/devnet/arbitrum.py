"""Arbitrum on local chains: a child with ArbSys, its parent with the real outbox, and a rollup."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relayer.devnet.accounts import SENDERS, Account
from relayer.devnet.anvil import Anvil
from relayer.devnet.arbitrum_contracts import (
    ARB_SYS,
    ParentSite,
    deploy_parent,
    install_arb_sys,
    read_tree_state,
    tree_state_request,
)
from relayer.devnet.artefacts import decode_result, encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Delivery, Outcome, Sent
from relayer.devnet.ledger import block_times, logs_of, read_deliveries
from relayer.devnet.patience import sending
from relayer.devnet.rpc import NodeRpc
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.message import Address, ChainId, MessageId
from relayer.protocols.arbitrum.message import message_id

BEAT_S = 1.0
SEND_GAS = 400_000
SENT = (
    "0x"
    + keccak256(
        b"L2ToL1Tx(address,address,uint256,uint256,uint256,uint256,uint256,uint256,bytes)"
    ).hex()
)
ACCEPTED = "0x" + keccak256(b"SendRootUpdated(bytes32,bytes32)").hex()
EXECUTED = "0x" + keccak256(b"OutBoxTransactionExecuted(address,address,uint256,uint256)").hex()
ARRIVED = "0x" + keccak256(b"Arrived(address,uint256,bytes)").hex()


@dataclass(frozen=True, slots=True)
class ArbitrumPlan:
    """What kind of chain to make."""

    name: str = "arbitrum"
    child: str = "arb"
    child_id: int = 31901
    parent: str = "l1"
    parent_id: int = 31900
    token_decimals: int | None = None
    """Decimals of the gas token on the parent; None: the gas token is ether."""
    bold: bool = True
    """Which event its rollup confirms with: of BoLD's assertions, or of the nodes before."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One message to send."""

    recipient: Address
    body: bytes
    """Call data; none makes it a plain withdrawal."""
    value: int = 0


class ArbitrumLocal:
    """`ground.LocalBridge` for one child chain with its parent."""

    demo_messages = 100

    def __init__(self, plan: ArbitrumPlan | None = None) -> None:
        self.plan = plan or ArbitrumPlan()
        self._child: NodeRpc | None = None
        self._parent: ParentSite | None = None
        self._child_start = 0
        self._confirmed = b""
        self._positions: dict[MessageId, int] = {}

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def chains(self) -> Mapping[str, int]:
        return {self.plan.child: self.plan.child_id, self.plan.parent: self.plan.parent_id}

    @property
    def child(self) -> NodeRpc:
        """The node of the child; after `deploy`."""
        assert self._child is not None
        return self._child

    @property
    def parent(self) -> ParentSite:
        """What stands on the parent; after `deploy`."""
        assert self._parent is not None
        return self._parent

    @property
    def outcomes(self) -> Collection[Outcome]:
        return {(EXECUTED, str(self.parent.outbox))}

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        plan = self.plan
        self._child = nodes[plan.child].rpc
        self._child_start = int(await self.child.call("eth_blockNumber"), 16)
        await install_arb_sys(self.child)
        self._parent = await deploy_parent(
            plan.name,
            nodes[plan.parent].rpc,
            token_decimals=plan.token_decimals,
            bold=plan.bold,
        )

    def settings(self) -> Mapping[str, Any]:
        return {
            "protocol": "arbitrum",
            "child": {"chain": self.plan.child, "start_block": self._child_start},
            "parent": {
                "chain": self.plan.parent,
                "outbox": str(self.parent.outbox),
                "start_block": self.parent.start_block,
            },
        }

    async def run(self) -> None:
        while True:
            await self.confirm()
            await asyncio.sleep(BEAT_S)

    async def confirm(self) -> bool:
        """Let the outbox accept the child's newest root; False when it has it already."""
        block = await self.child.call("eth_getBlockByNumber", "latest", False)
        method, params = tree_state_request(block["hash"])
        size, root = read_tree_state(await self.child.call(method, *params))
        if not size or root == self._confirmed:
            return False
        await self.accept(root, block["hash"])
        self._confirmed = root
        return True

    async def accept(self, root: bytes, child_block: str) -> None:
        """Let the rollup confirm any root, as that of a child block."""
        operator = await Deployer.open(self.parent.rpc, self.parent.operator)
        arguments = [self.parent.outbox, root, bytes.fromhex(child_block[2:])]
        confirm = encode_call("confirm(address,bytes32,bytes32)", arguments)
        operator.call(self.parent.rollup, confirm)
        await operator.send()

    async def spread(self, count: int, *, label: str = "hello") -> Sequence[Sent]:
        doorstep = self.parent.doorstep
        value = 10**12 if self.plan.token_decimals is not None else 1
        return await self.send(
            [
                Withdrawal(doorstep, f"{label} {turn:06d}".encode(), value * (turn + 1))
                for turn in range(count)
            ]
        )

    async def send(self, withdrawals: Sequence[Withdrawal]) -> list[Sent]:
        """Send from two accounts and wait until all is mined; the answer is in the given order."""
        first_block = int(await self.child.call("eth_blockNumber"), 16)
        turns = len(SENDERS)
        async with sending(self.name, len(withdrawals)), asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._send_share(account, withdrawals[turn::turns]))
                for turn, account in enumerate(SENDERS)
            ]
        logs = {
            log["transactionHash"]: log
            for log in await logs_of(self.child, SENT, ARB_SYS)
            if int(log["blockNumber"], 16) >= first_block
        }
        return [
            self._sent(one, logs.get(tasks[place % turns].result()[place // turns]))
            for place, one in enumerate(withdrawals)
        ]

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        views = [encode_call("isSpent(uint256)", [self._positions[one.id]]).hex() for one in sent]
        answers = await self.parent.rpc.batch(
            [
                ("eth_call", [{"to": self.parent.outbox, "data": "0x" + view}, "latest"])
                for view in views
            ]
        )
        return [one for one, spent in zip(sent, answers, strict=True) if not int(spent, 16)]

    async def deliveries(self, sent: Sequence[Sent]) -> Mapping[MessageId, Delivery]:
        outbox = str(self.parent.outbox)
        by_id: dict[MessageId, list[dict[str, Any]]] = {}
        for log in await logs_of(self.parent.rpc, EXECUTED, outbox):
            by_id.setdefault(self._id(int(log["data"], 16)), []).append(log)
        return await read_deliveries(
            self.parent.rpc,
            sent,
            by_id,
            provable_at=await self._accepted_at(sent),
            bodies=await self._bodies(),
        )

    def position(self, sent: Sent) -> int:
        """The leaf of a message."""
        return self._positions[sent.id]

    async def _send_share(self, account: Account, share: Sequence[Withdrawal]) -> list[str]:
        queue = await Deployer.open(self.child, account)
        for one in share:
            call = encode_call("sendTxToL1(address,bytes)", [one.recipient, one.body])
            gas = SEND_GAS + 40 * len(one.body)
            queue.call(ARB_SYS, call, value=one.value, gas=gas)
        return await queue.send()

    def _sent(self, withdrawal: Withdrawal, log: dict[str, Any] | None) -> Sent:
        if log is None:
            raise CallReverted(f"a message from {self.plan.child} was mined without its event")
        position = int(log["topics"][3], 16)
        found = self._id(position)
        self._positions[found] = position
        block = int(log["blockNumber"], 16)
        return Sent(found, self.plan.child, self.plan.parent, block, withdrawal.body)

    def _id(self, position: int) -> MessageId:
        parent, child = ChainId(self.plan.parent_id), ChainId(self.plan.child_id)
        return message_id(parent, self.parent.outbox, child, position)

    async def _accepted_at(self, sent: Sequence[Sent]) -> dict[MessageId, float]:
        """The time of the block in which the outbox first had a root that covers each message."""
        accepted = await logs_of(self.parent.rpc, ACCEPTED, str(self.parent.outbox))
        requests = [tree_state_request(log["topics"][2]) for log in accepted]
        sizes = [read_tree_state(answer)[0] for answer in await self.child.batch(requests)]
        blocks = [int(log["blockNumber"], 16) for log in accepted]
        times = await block_times(self.parent.rpc, blocks)
        found: dict[MessageId, float] = {}
        for one in sent:
            position = self._positions[one.id]
            covering = [
                times[block] for block, size in zip(blocks, sizes, strict=True) if size > position
            ]
            if covering:
                found[one.id] = min(covering)
        return found

    async def _bodies(self) -> set[bytes]:
        logs = await logs_of(self.parent.rpc, ARRIVED, str(self.parent.doorstep))
        kinds = ["address", "uint256", "bytes"]
        return {bytes(decode_result(kinds, bytes.fromhex(log["data"][2:]))[2]) for log in logs}
