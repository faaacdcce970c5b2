"""The OP Stack on local chains, from a rollup to layer 1: contracts, proposers and traffic.

Two deployments, one for each generation of roots: `OutputsLocal` on two chains of ours, and
`GamesLocal` on supersim's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_abi.abi import decode

from relayer.devnet.accounts import SENDERS, WITHDRAWERS, Account
from relayer.devnet.anvil import Anvil
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer, receipts_of
from relayer.devnet.ground import Delivery, Outcome, Sent
from relayer.devnet.ledger import block_times, logs_of, read_deliveries
from relayer.devnet.op_stack_contracts import (
    L2_MESSENGER,
    MESSAGE_PASSED,
    MESSAGE_PASSER,
    OpL1,
    OracleRules,
    deploy_oracle_generation,
)
from relayer.devnet.op_stack_games import GameProposer, Warp, adopt_game_generation
from relayer.devnet.op_stack_outputs import Claim, Proposer
from relayer.devnet.patience import sending
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.supersim import CHAINS, SupersimOptions, bring_supersim
from relayer.devnet.targets import received_bodies
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.message import Address, MessageId

L1, L2 = "l1", "op"
SIM_L1, SIM_L2 = list(CHAINS)[:2]
PROVEN = "0x" + keccak256(b"WithdrawalProven(bytes32,address,address)").hex()
FINALIZED = "0x" + keccak256(b"WithdrawalFinalized(bytes32,bool)").hex()
RELAYED = "0x" + keccak256(b"RelayedMessage(bytes32)").hex()
WITHDRAW = "initiateWithdrawal(address,uint256,bytes)"
SEND = "sendMessage(address,bytes,uint32)"
SEND_GAS = 300_000


@dataclass(frozen=True, slots=True)
class Parcel:
    """One withdrawal to send."""

    body: bytes
    target: str = "Target"
    """Name of a contract in `devnet.targets`, or an address."""
    value: int = 0
    messenger: bool = False
    """Through the cross-domain messengers, where a failed call can be made again."""
    gas: int = 100_000
    """What the target gets at least on layer 1."""


class OpStackLocal:
    """What both deployments share: withdrawals of one rollup, and what layer 1 says of them."""

    def __init__(self, l1: str, l2: str, senders: Sequence[Account]) -> None:
        self._ends = (l1, l2)
        self._senders = senders
        self._nodes: Mapping[str, Anvil] = {}
        self._site: OpL1 | None = None

    @property
    def l1_rpc(self) -> NodeRpc:
        return self._nodes[self._ends[0]].rpc

    @property
    def l2_rpc(self) -> NodeRpc:
        return self._nodes[self._ends[1]].rpc

    @property
    def site(self) -> OpL1:
        """The contracts on layer 1; there after `deploy`."""
        assert self._site is not None
        return self._site

    @property
    def claims(self) -> Sequence[Claim]:
        """Every root that the proposer has put on layer 1."""
        raise NotImplementedError

    @property
    def warps(self) -> Sequence[Warp]:
        """Every time that the layer 1's clock was put forward."""
        return ()

    @property
    def outcomes(self) -> Collection[Outcome]:
        return {(topic, str(self.site.portal)) for topic in (PROVEN, FINALIZED)}

    def settings(self) -> Mapping[str, Any]:
        site, (l1, l2) = self.site, self._ends
        section: dict[str, Any] = {
            "chain": l1,
            "portal": str(site.portal),
            "messenger": str(site.messenger),
            "start_block": site.start_block,
        }
        if site.oracle is not None:
            section["oracle"] = str(site.oracle)
        if site.factory is not None:
            section["dispute_game_factory"] = str(site.factory)
        return {"protocol": "op_stack", "l2": {"chain": l2, "start_block": 0}, "l1": section}

    async def spread(self, count: int, *, label: str = "hello") -> Sequence[Sent]:
        l1, l2 = self._ends
        return await self.send(
            [
                Parcel(
                    f"{label} {turn:06d} {l2} > {l1}".encode(),
                    value=turn % 3,
                    messenger=bool(turn % 2),
                )
                for turn in range(count)
            ]
        )

    async def send(self, parcels: Sequence[Parcel]) -> list[Sent]:
        """Send parcels and wait until all are mined; the answer is in their order."""
        senders = self._senders
        shares = [parcels[turn :: len(senders)] for turn in range(len(senders))]
        async with sending("op_stack", len(parcels)):
            hashes = await asyncio.gather(
                *(self._send_share(*pair) for pair in zip(senders, shares, strict=True))
            )
            in_order = [
                hashes[place % len(senders)][place // len(senders)] for place in range(len(parcels))
            ]
            receipts = await receipts_of(self.l2_rpc, in_order)
        return [
            self._sent(receipt, parcel.body)
            for receipt, parcel in zip(receipts, parcels, strict=True)
        ]

    async def undelivered(self, sent: Sequence[Sent]) -> list[Sent]:
        delivered = await self._delivered()
        return [one for one in sent if one.id not in delivered]

    async def deliveries(self, sent: Sequence[Sent]) -> Mapping[MessageId, Delivery]:
        delivered = await self._delivered()
        found = await read_deliveries(
            self.l1_rpc,
            sent,
            delivered,
            provable_at=await self._provable(sent, delivered),
            bodies=await received_bodies(self.l1_rpc, self.site.targets.values()),
        )
        proofs: dict[MessageId, list[dict[str, Any]]] = {}
        for log in await logs_of(self.l1_rpc, PROVEN, str(self.site.portal)):
            proofs.setdefault(MessageId(log["topics"][1]), []).append(log)
        proved = await read_deliveries(self.l1_rpc, sent, proofs, provable_at={}, bodies=())
        return {key: replace(one, gas=one.gas + proved[key].gas) for key, one in found.items()}

    async def switch_on(self, target: str) -> None:
        """Send a target on layer 1 a bare transaction."""
        queue = await Deployer.open(self.l1_rpc, self._senders[0])
        queue.call(self.site.targets[target], b"")
        await queue.send()

    async def _send_share(self, sender: Account, parcels: Sequence[Parcel]) -> list[str]:
        queue = await Deployer.open(self.l2_rpc, sender)
        for parcel in parcels:
            to, call_data = self._call_for(parcel)
            gas = SEND_GAS + 60 * len(parcel.body)
            queue.call(to, call_data, value=parcel.value, gas=gas)
        return await queue.send() if parcels else []

    def _call_for(self, parcel: Parcel) -> tuple[Address, bytes]:
        target = self.site.targets.get(parcel.target, Address(parcel.target))
        if parcel.messenger:
            return L2_MESSENGER, encode_call(SEND, [target, parcel.body, parcel.gas])
        return MESSAGE_PASSER, encode_call(WITHDRAW, [target, parcel.gas, parcel.body])

    def _sent(self, receipt: Mapping[str, Any], body: bytes) -> Sent:
        l1, l2 = self._ends
        passed = [log for log in receipt["logs"] if log["topics"][0] == MESSAGE_PASSED]
        if len(passed) != 1:
            raise CallReverted("a withdrawal was mined without its event")
        withdrawal_hash, _ = _said(passed[0])
        return Sent(withdrawal_hash, l2, l1, int(receipt["blockNumber"], 16), body)

    async def _delivered(self) -> dict[MessageId, list[dict[str, Any]]]:
        """Every delivery, by message: a plain withdrawal has arrived when its call succeeded, one
        of the messenger's when that has called the target."""
        finalized: dict[str, list[dict[str, Any]]] = {}
        for log in await logs_of(self.l1_rpc, FINALIZED, str(self.site.portal)):
            if int(log["data"], 16) == 1:
                finalized.setdefault(log["topics"][1], []).append(log)
        relayed: dict[str, list[dict[str, Any]]] = {}
        for log in await logs_of(self.l1_rpc, RELAYED, str(self.site.messenger)):
            relayed.setdefault(log["topics"][1], []).append(log)
        found: dict[MessageId, list[dict[str, Any]]] = {}
        for log in await logs_of(self.l2_rpc, MESSAGE_PASSED, str(MESSAGE_PASSER)):
            withdrawal_hash, data = _said(log)
            if log["topics"][2][-40:] == L2_MESSENGER[2:]:
                logs = relayed.get("0x" + keccak256(data).hex())
            else:
                logs = finalized.get(withdrawal_hash)
            if logs:
                found[withdrawal_hash] = logs
        return found

    async def _provable(
        self, sent: Sequence[Sent], delivered: Mapping[MessageId, Sequence[dict[str, Any]]]
    ) -> dict[MessageId, float]:
        """When a true root that covers each message stood on layer 1, as if its clock had only
        been put forward before that."""
        true = [one for one in self.claims if one.is_true]
        times = await block_times(self.l1_rpc, {one.block for one in true})
        found: dict[MessageId, float] = {}
        for one in sent:
            first = next((claim for claim in true if claim.l2_block >= one.block), None)
            if first is not None and one.id in delivered:
                last = int(delivered[one.id][0]["blockNumber"], 16)
                between = (warp for warp in self.warps if first.block < warp.block <= last)
                found[one.id] = times[first.block] + sum(warp.seconds for warp in between)
        return found


@dataclass(frozen=True, slots=True)
class OutputsPlan:
    """How the first generation is set up."""

    rules: OracleRules = field(default_factory=OracleRules)
    more_settings: Mapping[str, Any] = field(default_factory=dict)
    """Top-level keys of the bridge's section, put over ours."""


class OutputsLocal(OpStackLocal):
    """`ground.LocalBridge` for a rollup whose roots are the outputs of an oracle."""

    name = "op_stack"
    demo_messages = 25
    chains: Mapping[str, int] = {L1: 31900, L2: 31904}

    def __init__(self, plan: OutputsPlan | None = None) -> None:
        super().__init__(L1, L2, SENDERS)
        self.plan = plan or OutputsPlan()
        self._proposer: Proposer | None = None

    @property
    def proposer(self) -> Proposer:
        """Who proposes outputs; there after `deploy`."""
        assert self._proposer is not None
        return self._proposer

    @property
    def claims(self) -> Sequence[Claim]:
        return self.proposer.claims

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        self._nodes = nodes
        self._site = await deploy_oracle_generation(self.l1_rpc, self.l2_rpc, self.plan.rules)
        self._proposer = Proposer(self.l1_rpc, self.l2_rpc, self.site)

    def settings(self) -> Mapping[str, Any]:
        return {**super().settings(), **self.plan.more_settings}

    async def run(self) -> None:
        await self.proposer.run()


class GamesLocal(OpStackLocal):
    """`ground.LocalBridge` for a rollup whose roots are the claims of dispute games."""

    name = "op_stack_games"
    demo_messages = 25
    chains: Mapping[str, int] = {name: CHAINS[name] for name in (SIM_L1, SIM_L2)}

    def __init__(self, options: SupersimOptions | None = None) -> None:
        super().__init__(SIM_L1, SIM_L2, WITHDRAWERS)
        self.options = options
        self._proposer: GameProposer | None = None

    @property
    def proposer(self) -> GameProposer:
        """Who makes games and decides them; there after `deploy`."""
        assert self._proposer is not None
        return self._proposer

    @property
    def claims(self) -> Sequence[Claim]:
        return self.proposer.claims

    @property
    def warps(self) -> Sequence[Warp]:
        return self.proposer.warps

    async def bring_nodes(
        self, stack: AsyncExitStack, missing: Collection[str], directory: Path
    ) -> Mapping[str, Anvil]:
        return await bring_supersim(stack, directory / "supersim", missing, self.options)

    async def deploy(self, nodes: Mapping[str, Anvil], directory: Path) -> None:
        self._nodes = nodes
        self._site = await adopt_game_generation(self.l1_rpc, self.l2_rpc)
        self._proposer = GameProposer(self.l1_rpc, self.l2_rpc, self.site)

    async def run(self) -> None:
        await self.proposer.run()


def _said(log: Mapping[str, Any]) -> tuple[MessageId, bytes]:
    """The withdrawal's hash and its data, of MessagePassed."""
    types = ["uint256", "uint256", "bytes", "bytes32"]
    _, _, data, withdrawal_hash = decode(types, bytes.fromhex(log["data"][2:]))
    return MessageId("0x" + withdrawal_hash.hex()), data
