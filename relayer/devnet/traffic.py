"""Dispatches many messages over all routes of a local world, from two senders, and counts them.

The senders are unlocked accounts, so the nodes sign (in native code) and Python only batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from relayer.abi import address_word
from relayer.devnet.accounts import SENDERS, Account
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Sent
from relayer.devnet.hyperlane import HyperlaneChain
from relayer.devnet.multicall import eth_call
from relayer.devnet.patience import sending
from relayer.devnet.rpc import NodeRpc
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.message import Address, MessageId

DISPATCH = "dispatch(uint32,bytes32,bytes)"
QUOTE_DISPATCH = "quoteDispatch(uint32,bytes32,bytes)"
DISPATCH_ID = "0x" + keccak256(b"DispatchId(bytes32)").hex()
DISPATCH_GAS = 500_000


@dataclass(frozen=True, slots=True)
class Site:
    """One chain that sends and receives."""

    name: str
    chain_id: int
    rpc: NodeRpc
    hyperlane: HyperlaneChain


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message to dispatch."""

    origin: Site
    destination: Site
    recipient: Address
    body: bytes


class Traffic:
    """Sends messages between sites; one instance at a time may use the two senders."""

    def __init__(self, sites: Iterable[Site]) -> None:
        self.sites = {site.name: site for site in sites}
        self._quotes: dict[tuple[str, str, int], int] = {}

    async def spread(self, count: int, *, label: str = "hello") -> list[Sent]:
        """Dispatch `count` messages to the test recipients, round-robin over all routes."""
        routes = list(permutations(self.sites.values(), 2))
        turns = [routes[turn % len(routes)] for turn in range(count)]
        parcels = [
            Parcel(
                origin,
                destination,
                destination.hyperlane.recipient,
                f"{label} {turn:06d} {origin.name} > {destination.name}".encode(),
            )
            for turn, (origin, destination) in enumerate(turns)
        ]
        return await self.send(parcels)

    async def dispatch(
        self, origin: str, destination: str, *, body: bytes, recipient: Address | None = None
    ) -> Sent:
        """Dispatch one message; without a recipient to the destination's test recipient."""
        target = self.sites[destination]
        to = recipient or target.hyperlane.recipient
        return (await self.send([Parcel(self.sites[origin], target, to, body)]))[0]

    async def send(self, parcels: Sequence[Parcel]) -> list[Sent]:
        """Dispatch parcels and wait until all are mined; the answer is in the parcels' order."""
        places: dict[str, list[int]] = {}
        for place, parcel in enumerate(parcels):
            places.setdefault(parcel.origin.name, []).append(place)
        async with sending("hyperlane", len(parcels)), asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(self._send_from(self.sites[name], [parcels[i] for i in at]))
                for name, at in places.items()
            }
        sent = {
            place: one
            for name, at in places.items()
            for place, one in zip(at, tasks[name].result(), strict=True)
        }
        return [sent[place] for place in range(len(parcels))]

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        """Those of `sent`, in order, that their destination's mailbox has not taken yet."""
        taken: set[MessageId] = set()
        for site in self.sites.values():
            due = [one for one in sent if one.destination == site.name]
            answers = await site.rpc.batch([_is_delivered(site, one) for one in due])
            taken.update(one.id for one, yes in zip(due, answers, strict=True) if int(yes, 16))
        return [one for one in sent if one.id not in taken]

    async def _send_from(self, origin: Site, parcels: Sequence[Parcel]) -> list[Sent]:
        first_block = int(await origin.rpc.call("eth_blockNumber"), 16)
        shares = [parcels[turn :: len(SENDERS)] for turn in range(len(SENDERS))]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._send_share(origin, sender, share))
                for sender, share in zip(SENDERS, shares, strict=True)
            ]
        dispatched = await _dispatched(origin, first_block)
        hashes = {
            turn + place * len(SENDERS): tx_hash
            for turn, task in enumerate(tasks)
            for place, tx_hash in enumerate(task.result())
        }
        return [
            _sent(parcel, dispatched.get(hashes[place])) for place, parcel in enumerate(parcels)
        ]

    async def _send_share(
        self, origin: Site, sender: Account, parcels: Sequence[Parcel]
    ) -> list[str]:
        queue = await Deployer.open(origin.rpc, sender)
        for parcel in parcels:
            arguments = [
                parcel.destination.hyperlane.domain,
                address_word(parcel.recipient),
                parcel.body,
            ]
            queue.call(
                origin.hyperlane.mailbox,
                encode_call(DISPATCH, arguments),
                value=await self._quote(parcel, arguments),
                gas=DISPATCH_GAS + 40 * len(parcel.body),
            )
        return await queue.send()

    async def _quote(self, parcel: Parcel, arguments: Sequence[Any]) -> int:
        """What the hooks ask for a message; it depends on route and size only."""
        key = (parcel.origin.name, parcel.destination.name, len(parcel.body))
        if key not in self._quotes:
            view = encode_call(QUOTE_DISPATCH, arguments)
            answer = await eth_call(parcel.origin.rpc, parcel.origin.hyperlane.mailbox, view)
            self._quotes[key] = int.from_bytes(answer, "big")
        return self._quotes[key]


async def _dispatched(site: Site, first_block: int) -> dict[str, dict[str, Any]]:
    """DispatchId logs since a block, by transaction."""
    query = {
        "address": site.hyperlane.mailbox,
        "topics": [DISPATCH_ID],
        "fromBlock": hex(first_block),
        "toBlock": "latest",
    }
    return {log["transactionHash"]: log for log in await site.rpc.call("eth_getLogs", query)}


def _sent(parcel: Parcel, log: dict[str, Any] | None) -> Sent:
    if log is None:
        raise CallReverted(f"a dispatch from {parcel.origin.name} was mined without its event")
    message_id, block = MessageId(str(log["topics"][1])), int(log["blockNumber"], 16)
    return Sent(message_id, parcel.origin.name, parcel.destination.name, block, parcel.body)


def _is_delivered(site: Site, sent: Sent) -> tuple[str, list[Any]]:
    view = encode_call("delivered(bytes32)", [bytes.fromhex(sent.id[2:])])
    return "eth_call", [{"to": site.hyperlane.mailbox, "data": "0x" + view.hex()}, "latest"]
