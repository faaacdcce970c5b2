"""Linea on local chains: its real contracts on both layers, its operator and traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_abi.abi import decode

from relayer.devnet.accounts import RELAYERS, SENDERS, Account
from relayer.devnet.anvil import Anvil
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Delivery, Outcome, Sent
from relayer.devnet.ledger import block_times, logs_of, read_deliveries
from relayer.devnet.linea_contracts import (
    MAILBOX,
    RECEIVED,
    Limits,
    LineaSite,
    deploy_message_service,
    deploy_rollup,
)
from relayer.devnet.linea_operator import MESSAGE_SENT, Operator
from relayer.devnet.patience import sending
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.message import Address, MessageId

L1, L2 = "l1", "lin"
MESSAGE_CLAIMED = "0x" + keccak256(b"MessageClaimed(bytes32)").hex()
ANCHORED_ON_L1 = "0x" + keccak256(b"L2MessagingBlockAnchored(uint256)").hex()
ANCHORED_ON_L2 = "0x" + keccak256(b"L1L2MessageHashesAddedToInbox(bytes32[])").hex()
SEND = "sendMessage(address,uint256,bytes)"
SEND_GAS = 300_000
FEE = 10**15
VALUE = 10**9


@dataclass(frozen=True, slots=True)
class LineaPlan:
    """How the bridge is set up."""

    withdrawals: Limits = field(default_factory=Limits)
    """The rate limit of L1, on what leaves it by claims."""
    fee_recipient: Address | None = RELAYERS[0].address
    """What the relayer is told."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to send."""

    origin: str
    body: bytes
    to: Address = MAILBOX
    fee: int = FEE
    value: int = VALUE


class LineaLocal:
    """`ground.LocalBridge` for Linea, both directions."""

    name = "linea"
    demo_messages = 200
    chains: Mapping[str, int] = {L1: 31900, L2: 31903}

    def __init__(self, plan: LineaPlan | None = None) -> None:
        self.plan = plan or LineaPlan()
        self.sites: dict[str, LineaSite] = {}
        self._operator: Operator | None = None

    @property
    def operator(self) -> Operator:
        """Who confirms messages; there after `deploy`."""
        assert self._operator is not None
        return self._operator

    @property
    def outcomes(self) -> Collection[Outcome]:
        return {(MESSAGE_CLAIMED, str(site.service)) for site in self.sites.values()}

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        l1, l2 = nodes[L1].rpc, nodes[L2].rpc
        self.sites = {
            L1: await deploy_rollup(L1, l1, self.plan.withdrawals),
            L2: await deploy_message_service(L2, l2, Limits()),
        }
        self._operator = Operator(self.sites[L1], self.sites[L2])

    def settings(self) -> Mapping[str, Any]:
        l1, l2 = self.sites[L1], self.sites[L2]
        section: dict[str, Any] = {
            "protocol": "linea",
            "l1": {"chain": L1, "rollup": str(l1.service), "start_block": l1.start_block},
            "l2": {"chain": L2, "message_service": str(l2.service), "start_block": l2.start_block},
        }
        if self.plan.fee_recipient is not None:
            section["fee_recipient"] = str(self.plan.fee_recipient)
        return section

    async def run(self) -> None:
        await self.operator.run()

    async def spread(self, count: int, *, label: str = "hello") -> Sequence[Sent]:
        letters = [
            Letter(origin, f"{label} {turn:06d} {origin} > {other(origin)}".encode())
            for turn, origin in ((turn, (L1, L2)[turn % 2]) for turn in range(count))
        ]
        return await self.send(letters)

    async def send(self, letters: Sequence[Letter]) -> list[Sent]:
        """Send letters and wait until all are mined; the answer is in their order."""
        places = {
            name: [place for place, one in enumerate(letters) if one.origin == name]
            for name in self.sites
        }
        async with sending(self.name, len(letters)), asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(self._send_from(self.sites[name], [letters[i] for i in at]))
                for name, at in places.items()
                if at
            }
        sent: dict[int, Sent] = {}
        for name, task in tasks.items():
            sent |= dict(zip(places[name], task.result(), strict=True))
        return [sent[place] for place in range(len(letters))]

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        claimed = {name: await _claims(site) for name, site in self.sites.items()}
        return [one for one in sent if one.id not in claimed[one.destination]]

    async def deliveries(self, sent: Sequence[Sent]) -> Mapping[MessageId, Delivery]:
        found: dict[MessageId, Delivery] = {}
        for name, site in self.sites.items():
            arriving = [one for one in sent if one.destination == name]
            since = self._finalised(arriving) if name == L1 else self._anchored()
            found |= await read_deliveries(
                site.rpc,
                arriving,
                await _claims(site),
                provable_at=await since,
                bodies=await _bodies(site),
            )
        return found

    async def _finalised(self, sent: Sequence[Sent]) -> dict[MessageId, float]:
        """When the block of each message to L1 was finalised there."""
        site = self.sites[L1]
        logs = await logs_of(site.rpc, ANCHORED_ON_L1, str(site.service))
        times = await block_times(site.rpc, {int(log["blockNumber"], 16) for log in logs})
        at = {int(log["topics"][1], 16): times[int(log["blockNumber"], 16)] for log in logs}
        return {one.id: at[one.block] for one in sent if one.block in at}

    async def _anchored(self) -> dict[MessageId, float]:
        """When L2 was told of each message."""
        site = self.sites[L2]
        logs = await logs_of(site.rpc, ANCHORED_ON_L2, str(site.service))
        times = await block_times(site.rpc, {int(log["blockNumber"], 16) for log in logs})
        return {
            MessageId("0x" + digest.hex()): times[int(log["blockNumber"], 16)]
            for log in logs
            for digest in decode(["bytes32[]"], bytes.fromhex(log["data"][2:]))[0]
        }

    async def _send_from(self, site: LineaSite, letters: Sequence[Letter]) -> list[Sent]:
        first_block = int(await site.rpc.call("eth_blockNumber"), 16)
        shares = [letters[turn :: len(SENDERS)] for turn in range(len(SENDERS))]
        hashes = await asyncio.gather(
            *(_send_share(site, *pair) for pair in zip(SENDERS, shares, strict=True))
        )
        query = {
            "address": site.service, "topics": [MESSAGE_SENT], "fromBlock": hex(first_block),
        }  # fmt: skip
        logs = {log["transactionHash"]: log for log in await site.rpc.call("eth_getLogs", query)}
        sent: list[Sent] = []
        for place, letter in enumerate(letters):
            log = logs.get(hashes[place % len(SENDERS)][place // len(SENDERS)])
            if log is None:
                raise CallReverted(f"a message from {site.name} was mined without its event")
            message_id, block = MessageId(str(log["topics"][3])), int(log["blockNumber"], 16)
            sent.append(Sent(message_id, site.name, other(site.name), block, letter.body))
        return sent


def other(side: str) -> str:
    """The side that messages of this one go to."""
    return L2 if side == L1 else L1


async def _send_share(site: LineaSite, sender: Account, letters: Sequence[Letter]) -> list[str]:
    queue = await Deployer.open(site.rpc, sender)
    for letter in letters:
        call_data = encode_call(SEND, [letter.to, letter.fee, letter.body])
        gas = SEND_GAS + 40 * len(letter.body)
        queue.call(site.service, call_data, value=letter.fee + letter.value, gas=gas)
    return await queue.send()


async def _claims(site: LineaSite) -> dict[MessageId, list[dict[str, Any]]]:
    """Every claim on one side, by message."""
    found: dict[MessageId, list[dict[str, Any]]] = {}
    for log in await logs_of(site.rpc, MESSAGE_CLAIMED, str(site.service)):
        found.setdefault(MessageId(log["topics"][1]), []).append(log)
    return found


async def _bodies(site: LineaSite) -> set[bytes]:
    """What the mailbox of one side was called with."""
    logs = await logs_of(site.rpc, "0x" + RECEIVED.hex(), str(MAILBOX))
    return {bytes.fromhex(log["data"][2:]) for log in logs}
