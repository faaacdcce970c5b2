"""OP interop on local chains: two of supersim's, its own predeploys, and traffic both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relayer.devnet.accounts import DEPLOYER, SENDERS, Account
from relayer.devnet.anvil import Anvil
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Delivery, Outcome, Sent
from relayer.devnet.ledger import block_times, logs_of, read_deliveries
from relayer.devnet.patience import sending
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.supersim import CHAINS, SupersimOptions, bring_supersim
from relayer.devnet.targets import compile_targets, received_bodies
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.message import Address, MessageId

A, B = list(CHAINS)[1:]
"""The two layer 2s."""
MESSENGER = Address("0x4200000000000000000000000000000000000023")
SENT_MESSAGE = "0x" + keccak256(b"SentMessage(uint256,address,uint256,address,bytes)").hex()
RELAYED = "0x" + keccak256(b"RelayedMessage(uint256,uint256,bytes32,bytes32)").hex()
SEND = "sendMessage(uint256,address,bytes)"
SEND_GAS = 250_000
LOG_TRIES = 50
POLL_S = 0.1
NOWHERE = Address("0x00000000000000000000000000000000000c0de0")
"""A target that no chain has code at."""
TARGET_NAMES = ("Target", "Switched", "Lying")


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message to send."""

    origin: str
    body: bytes
    target: str = "Target"
    """Name of a contract in `devnet.targets`, or an address."""

    @property
    def destination(self) -> str:
        return B if self.origin == A else A


@dataclass(frozen=True, slots=True)
class InteropPlan:
    """How the chains are run and how the relayer is to carry."""

    supersim: SupersimOptions = field(default_factory=SupersimOptions)
    safety: str = "unsafe"
    more_settings: Mapping[str, Any] = field(default_factory=dict)
    """Top-level keys of the bridge's section, put over ours."""
    supervisors: Mapping[str, str] = field(default_factory=dict)
    """URLs by chain."""


class OpInteropLocal:
    """`ground.LocalBridge` for two chains of one dependency set, in both directions."""

    name = "op_interop"
    demo_messages = 300
    chains: Mapping[str, int] = {name: CHAINS[name] for name in (A, B)}

    def __init__(self, plan: InteropPlan | None = None) -> None:
        self.plan = plan or InteropPlan()
        self.targets: dict[str, Address] = {}
        """By contract name, the same on both chains; there after `deploy`."""
        self._nodes: Mapping[str, Anvil] = {}

    @property
    def outcomes(self) -> Collection[Outcome]:
        return {(RELAYED, str(MESSENGER))}

    async def bring_nodes(
        self, stack: AsyncExitStack, missing: Collection[str], directory: Path
    ) -> Mapping[str, Anvil]:
        return await bring_supersim(stack, directory / "supersim", missing, self.plan.supersim)

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        self._nodes = nodes
        code = await compile_targets(TARGET_NAMES)
        creations = {name: code[name].creation() for name in TARGET_NAMES}
        places = await asyncio.gather(*(_deploy(self._rpc(chain), creations) for chain in (A, B)))
        if places[0] != places[1]:
            raise CallReverted("the targets are not at the same addresses on both chains")
        self.targets = places[0]

    def settings(self) -> Mapping[str, Any]:
        return {
            "protocol": "op_interop",
            "safety": self.plan.safety,
            "chains": {name: self._chain_settings(name) for name in (A, B)},
            **self.plan.more_settings,
        }

    async def run(self) -> None:
        """Nothing is to be done: supersim's chains know of each other by themselves."""

    async def spread(self, count: int, *, label: str = "hello") -> Sequence[Sent]:
        turns = [(A, B)[turn % 2] for turn in range(count)]
        return await self.send(
            [
                Parcel(name, f"{label} {turn:06d} from {name}".encode())
                for turn, name in enumerate(turns)
            ]
        )

    async def send(self, parcels: Sequence[Parcel]) -> list[Sent]:
        """Send parcels and wait until all are mined; the answer is in their order."""
        places: dict[str, list[int]] = {}
        for place, parcel in enumerate(parcels):
            places.setdefault(parcel.origin, []).append(place)
        async with sending(self.name, len(parcels)):
            groups = await asyncio.gather(
                *(
                    self._send_from(name, [parcels[at] for at in own])
                    for name, own in places.items()
                )
            )
        sent = {
            place: one
            for own, group in zip(places.values(), groups, strict=True)
            for place, one in zip(own, group, strict=True)
        }
        return [sent[place] for place in range(len(parcels))]

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        relayed = await self._relayed_anywhere()
        return [one for one in sent if one.id not in relayed]

    async def deliveries(self, sent: Sequence[Sent]) -> Mapping[MessageId, Delivery]:
        found: dict[MessageId, Delivery] = {}
        for name in (A, B):
            due = [one for one in sent if one.destination == name]
            times = await block_times(self._rpc(B if name == A else A), {one.block for one in due})
            found |= await read_deliveries(
                self._rpc(name),
                due,
                await self._relayed(name),
                provable_at={one.id: times[one.block] for one in due},
                bodies=await received_bodies(self._rpc(name), self.targets.values()),
            )
        return found

    async def switch_on(self, chain: str, target: str) -> None:
        """Send a target a bare transaction."""
        queue = await Deployer.open(self._rpc(chain), SENDERS[0])
        queue.call(self.targets[target], b"")
        await queue.send()

    def _chain_settings(self, name: str) -> Mapping[str, Any]:
        url = self.plan.supervisors.get(name)
        return {"start_block": 0, "first_nonce": 0, **({"supervisor": url} if url else {})}

    def _rpc(self, chain: str) -> NodeRpc:
        return self._nodes[chain].rpc

    async def _send_from(self, name: str, parcels: Sequence[Parcel]) -> list[Sent]:
        rpc = self._rpc(name)
        head = int(await rpc.call("eth_blockNumber"), 16)
        shares = [parcels[turn :: len(SENDERS)] for turn in range(len(SENDERS))]
        await asyncio.gather(
            *(self._send_share(rpc, *pair) for pair in zip(SENDERS, shares, strict=True))
        )
        said = await self._said(rpc, head, [len(share) for share in shares])
        mine = [said[at % len(SENDERS)][at // len(SENDERS)] for at in range(len(parcels))]
        ids = await rpc.batch([_hash_of(log) for log in mine])
        return [
            Sent(
                MessageId(message_id),
                name,
                parcel.destination,
                int(log["blockNumber"], 16),
                parcel.body,
            )
            for parcel, log, message_id in zip(parcels, mine, ids, strict=True)
        ]

    async def _said(
        self, rpc: NodeRpc, head: int, counts: Sequence[int]
    ) -> list[list[dict[str, Any]]]:
        """What each sender has said after block `head`; anvil counts a transaction before its logs
        can be read."""
        for _ in range(LOG_TRIES):
            logs = await logs_of(rpc, SENT_MESSAGE, str(MESSENGER))
            said = [_said_by(sender, logs, after=head) for sender in SENDERS]
            if [len(own) for own in said] == list(counts):
                return said
            await asyncio.sleep(POLL_S)
        raise CallReverted("a message was mined without its event")

    async def _send_share(self, rpc: NodeRpc, sender: Account, parcels: Sequence[Parcel]) -> None:
        queue = await Deployer.open(rpc, sender)
        for parcel in parcels:
            target = self.targets.get(parcel.target, parcel.target)
            arguments = [self.chains[parcel.destination], target, parcel.body]
            gas = SEND_GAS + 40 * len(parcel.body)
            queue.call(MESSENGER, encode_call(SEND, arguments), gas=gas)
        await queue.send()

    async def _relayed_anywhere(self) -> set[MessageId]:
        return {one for name in (A, B) for one in await self._relayed(name)}

    async def _relayed(self, name: str) -> dict[MessageId, list[dict[str, Any]]]:
        """Every delivery on one chain, by message."""
        found: dict[MessageId, list[dict[str, Any]]] = {}
        for log in await logs_of(self._rpc(name), RELAYED, str(MESSENGER)):
            found.setdefault(MessageId(log["topics"][3]), []).append(log)
        return found


async def _deploy(rpc: NodeRpc, creations: Mapping[str, bytes]) -> dict[str, Address]:
    """Nothing is mined by hand: more blocks than seconds would carry times yet to come."""
    queue = await Deployer.open(rpc, DEPLOYER)
    places = {name: queue.create(creation) for name, creation in creations.items()}
    await queue.send()
    codes = await rpc.batch([("eth_getCode", [place, "latest"]) for place in places.values()])
    if "0x" in codes:
        raise CallReverted("a target was not deployed")
    return places


def _said_by(
    sender: Account, logs: Sequence[dict[str, Any]], *, after: int
) -> list[dict[str, Any]]:
    """One account's messages of the blocks `after` one, in the order in which it sent them."""
    who = str(sender.address)[2:]
    return [
        log for log in logs if log["data"][26:66] == who and int(log["blockNumber"], 16) > after
    ]


def _hash_of(log: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Asks the messenger for the hash of the message of a SentMessage."""
    view = encode_call("sentMessages(uint256)", [int(log["topics"][3], 16)])
    return "eth_call", [{"to": MESSENGER, "data": "0x" + view.hex()}, "latest"]
