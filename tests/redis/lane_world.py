"""A lane's agents on a real store, over nodes that say what a test makes them say."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import rlp

from relayer.adapter import Call, Log, LogSource, Outcome, Step, Verdict
from relayer.chains import ChainClient
from relayer.chains.signers import LocalSigner, Signer
from relayer.keccak import keccak256
from relayer.message import (
    Address,
    BridgeName,
    DeliverySeen,
    Fact,
    Gate,
    MessageId,
    ProgressSeen,
    Record,
    Route,
    Wei,
)
from relayer.ops.metrics import Metrics
from relayer.pipeline.inbox import Inbox, ReadyCall
from relayer.pipeline.nonces import SignerLane
from relayer.pipeline.pauses import PauseBoard
from relayer.pipeline.policy import Policy
from relayer.pipeline.prover import Prover
from relayer.pipeline.submitter import Submitter
from relayer.settings import PolicySettings
from relayer.store import Lease, Store
from tests.redis.conftest import Clock, Leases
from tests.redis.sample_facts import BRIDGE, ONE, TEN, id_of, message
from tests.unit.chain_node import Node, Refused, block_hash

INBOX = Address("0x" + "cd" * 20)
DELIVERED, MOVED = b"\x01" * 32, b"\x02" * 32
SIGNER = LocalSigner(b"\x07" * 32)
GAS = 50_000
GAS_PRICE = 10**9


class Sea(Node):
    """A destination that takes transactions and mines them when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.mined = 0
        self.pending: int | None = None
        self.taken: dict[str, bytes] = {}
        self.receipts: dict[str, dict[str, Any]] = {}
        self.refusal: Refused | None = None
        self.estimate: int | Refused = GAS
        self.more_in_receipts: dict[str, Any] = {}
        self.base_fee = 10**9
        self.on |= {
            "eth_chainId": lambda params: hex(TEN),
            "eth_getTransactionCount": self._count,
            "eth_getTransactionReceipt": lambda params: self.receipts.get(params[0]),
            "eth_sendRawTransaction": self._take,
            "eth_estimateGas": self._estimate,
            "eth_getBalance": lambda params: hex(10**24),
            "eth_getBlockByNumber": lambda params: (
                self._block(params[0]) | {"baseFeePerGas": hex(self.base_fee)}
            ),
            "eth_feeHistory": lambda params: {
                "baseFeePerGas": [hex(self.base_fee)] * 6,
                "reward": [["0x1"]] * 5,
            },
            "eth_maxPriorityFeePerGas": lambda params: "0x1",
            "eth_gasPrice": lambda params: hex(10**9),
        }

    def mine(self, *logs: dict[str, Any], ok: bool = True) -> None:
        """The transaction with the next nonce, last sent first, into a new block."""
        raw = next(raw for raw in reversed(self.taken.values()) if nonce_of(raw) == self.mined)
        tx = "0x" + keccak256(raw).hex()
        self.mined += 1
        self.head += 1
        at = {"blockNumber": hex(self.head), "blockHash": block_hash(self.head)}
        self.receipts[tx] = {
            **at,
            "transactionHash": tx,
            "status": "0x1" if ok else "0x0",
            "gasUsed": hex(GAS),
            "effectiveGasPrice": hex(GAS_PRICE),
            "logs": [{**log, **at, "transactionHash": tx} for log in logs],
        } | self.more_in_receipts

    def _count(self, params: Sequence[Any]) -> str:
        pending = self.mined if self.pending is None else self.pending
        return hex(pending if params[1] == "pending" else self.mined)

    def _estimate(self, params: Sequence[Any]) -> str:
        if isinstance(self.estimate, Refused):
            raise self.estimate
        return hex(self.estimate)

    def _take(self, params: Sequence[str]) -> str:
        if self.refusal is not None:
            raise self.refusal
        raw = bytes.fromhex(params[0][2:])
        tx = "0x" + keccak256(raw).hex()
        self.taken[tx] = raw
        return tx


def nonce_of(raw: bytes) -> int:
    """The nonce of a signed EIP-1559 transaction."""
    return int.from_bytes(rlp.decode(raw[1:])[1], "big")


def log_of(what: bytes, number: int) -> dict[str, Any]:
    """The inbox's log about one message."""
    return {
        "address": INBOX,
        "topics": ["0x" + what.hex(), id_of(number)],
        "data": "0x",
        "logIndex": hex(number),
    }


@dataclass
class Bridge:
    """An adapter whose every message needs one call; tests change what it says."""

    name: BridgeName = BRIDGE
    final: bool = True
    income: Wei = Wei(0)
    verdicts: dict[MessageId, Callable[[], Verdict]] = field(default_factory=dict)
    steps: dict[MessageId, Step] = field(default_factory=dict)
    """What is needed instead of a call."""
    decodes: bool = True
    asked: list[list[MessageId]] = field(default_factory=list)
    failure: BaseException | None = None
    proving: Callable[[], object] = lambda: None
    """Called while proofs are made."""

    def routes(self) -> list[Route]:
        return [Route(self.name, ONE, TEN)]

    def sources(self) -> list[LogSource]:
        return [LogSource(TEN, (INBOX,), (DELIVERED, MOVED), 0)]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        if not self.decodes:
            raise ZeroDivisionError
        facts: list[Fact] = []
        for log in logs:
            mid = MessageId("0x" + log.topics[1].hex())
            moved = ProgressSeen(mid, TEN, "proved", log.at)
            facts.append(DeliverySeen(mid, log.at) if log.topics[0] == DELIVERED else moved)
        return facts

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        self.asked.append([record.id for record in records])
        self.proving()
        if self.failure is not None:
            raise self.failure
        return {record.id: self.steps.get(record.id) or self.call(record) for record in records}

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        return {}

    def classify(self, record: Record, call: Call, outcome: Outcome) -> Verdict:
        return self.verdicts[record.id]()

    def call(self, record: Record, size: int = 32) -> Call:
        """What would deliver the message."""
        word = bytes.fromhex(record.id[2:])
        return Call(
            record.id, INBOX, word.rjust(size, b"\x00"), final=self.final, income=self.income
        )


class LaneWorld:
    """One lane of chain 10 with its agents; `again` is what a restart finds."""

    def __init__(
        self,
        store: Store,
        chain: ChainClient,
        lease: Lease,
        clock: Clock,
        bridge: Bridge,
        policy: PolicySettings | None = None,
    ) -> None:
        self.store = store
        self.chain = chain
        self.lease = lease
        self.clock = clock
        self.bridge = bridge
        self.inbox = Inbox(1000)
        self.metrics = Metrics()
        self.pauses = PauseBoard(store, names={TEN: "ten"})
        shared: dict[str, Any] = {
            "chain": chain,
            "adapters": {bridge.name: bridge},
            "store": store,
            "lease": lease,
            "policy": Policy(policy or PolicySettings()),
            "pauses": self.pauses,
            "metrics": self.metrics,
            "now": clock,
        }
        self.prover = Prover(**shared, out=self.inbox, on_ready=lambda: None)
        self._shared = shared
        self.signer = self.signer_lane(SIGNER)
        self.submitter = self.submitter_of(self.signer)

    def signer_lane(self, signer: Signer | None) -> SignerLane:
        return SignerLane(
            chain=self.chain,
            address=SIGNER.address if signer is None else signer.address,
            signer=signer,
            store=self.store,
            lease=self.lease,
            pauses=self.pauses,
            metrics=self.metrics,
            now=self.clock,  # type: ignore[arg-type]
        )

    def submitter_of(self, *signers: SignerLane, lacks_signers: bool = False) -> Submitter:
        return Submitter(
            **self._shared,
            signers=signers,
            inbox=self.inbox,
            rng=random.Random(1),
            dry_run=False,
            lacks_signers=lacks_signers,
        )

    async def ready(self, leases: Leases, *numbers: int, size: int = 32) -> None:
        """Messages whose calls wait in the inbox."""
        await self.store.save_facts(leases.follower, [message(number) for number in numbers])
        ids = [id_of(number) for number in numbers]
        await self.store.note_ready(self.lease, ids)
        records = await self.store.get_many(ids)
        self.inbox.put([ReadyCall(one, self.bridge.call(one, size)) for one in records])

    async def mail(self, leases: Leases, recipients: Mapping[int, str]) -> None:
        """Messages to recipients of their own, whose calls wait in the inbox."""
        for number, recipient in recipients.items():
            fact = message(number)
            told = replace(fact, message=replace(fact.message, recipient=recipient))
            await self.store.save_facts(leases.follower, [told])
        ids = [id_of(number) for number in recipients]
        await self.store.note_ready(self.lease, ids)
        records = await self.store.get_many(ids)
        self.inbox.put([ReadyCall(one, self.bridge.call(one)) for one in records])

    async def send(self, leases: Leases, *numbers: int) -> None:
        """Messages on their way, each in a transaction of its own."""
        await self.ready(leases, *numbers)
        await self.submitter.tick()

    async def record(self, number: int) -> Record:
        found = await self.store.get(id_of(number))
        assert found is not None
        return found
