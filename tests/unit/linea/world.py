"""Linea in memory: two fake chains whose contracts send, finalise, anchor and answer views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode

from relayer.abi import word
from relayer.adapter import Call, ChainReader, Header, Log, Step, TreeReader, Wait
from relayer.devnet.linea_operator import roots_of
from relayer.errors import RangeTooWide, RelayerError
from relayer.keccak import keccak256
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    Fact,
    Gate,
    LogRef,
    MessageSeen,
    Record,
    RootSeen,
    Timestamp,
    TxHash,
    Wei,
)
from relayer.protocols.linea import contracts
from relayer.protocols.linea.adapter import SHAPE, LineaAdapter
from relayer.protocols.linea.events import Finalisation
from relayer.protocols.linea.message import LineaMessage
from relayer.protocols.linea.proofs import Confirmed
from relayer.protocols.linea.settings import LineaSettings
from tests.fakes import FakeChain, FakeClock, FakeTrees
from tests.unit.sample_records import record_of

L1, L2 = ChainId(1), ChainId(59144)
ROLLUP = Address("0x" + "11" * 20)
SERVICE = Address("0x" + "22" * 20)
FEE_RECIPIENT = Address("0x" + "33" * 20)
ALICE = Address("0x" + "a1" * 20)
BOB = Address("0x" + "b0" * 20)
DEPTH = 2
"""Trees of four, so that a few messages fill more than one."""


class MemoryRoots:
    """`adapter.RootReader` over facts in memory."""

    def __init__(self) -> None:
        self.facts: list[RootSeen] = []

    async def best_root(self, chain: ChainId, gate: Gate) -> RootSeen | None:
        return max(self._of(chain, gate), key=lambda fact: fact.level, default=None)

    async def root_at(self, chain: ChainId, gate: Gate, level: int) -> RootSeen | None:
        high = [fact for fact in self._of(chain, gate) if fact.level >= level]
        return min(high, key=lambda fact: fact.level, default=None)

    def _of(self, chain: ChainId, gate: Gate) -> list[RootSeen]:
        return [fact for fact in self.facts if (fact.at.chain, fact.gate) == (chain, gate)]


@dataclass
class LineaContext:
    """`adapter.AdapterContext` for tests."""

    chains: Mapping[str, ChainReader]
    trees: TreeReader
    roots: MemoryRoots = field(default_factory=MemoryRoots)
    now: Callable[[], Timestamp] = field(default_factory=FakeClock)


class LoggedChain(FakeChain):
    """A fake chain with logs, some of which it may hide."""

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id)
        self.past: list[Log] = []
        self.hidden: set[int] = set()
        """Places in `past` that are not shown."""
        self.log_failure: RelayerError | None = None
        self.log_reads: list[tuple[int, int]] = []
        self.widest = 10**9
        """Blocks per read; more is `RangeTooWide`."""
        self.time = 1_000_000.0
        self.number = 0
        self.code_sizes: dict[Address, int] = {}
        self.code_answer: str | None = None
        """What is answered instead when code is asked for."""
        self.code_failure: RelayerError | None = None
        """Raised when code is asked for."""
        self.codes_asked: list[int] = []
        """Accounts of each question for code so far."""

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        assert method == "eth_call"
        assert "to" not in params[0]
        failure = self.failure or self.code_failure
        if failure is not None:
            raise failure
        code = bytes.fromhex(params[0]["data"][2:])
        asked = [code[at + 1 : at + 21] for at in range(0, len(code) - 6, 26)]
        self.codes_asked.append(len(asked))
        sizes = [self.code_sizes.get(Address("0x" + one.hex()), 0) for one in asked]
        return self.code_answer or "0x" + b"".join(map(word, sizes)).hex()

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        found = await super().header(self.final if block == "latest" else block)
        return Header(
            found.number, found.hash, found.parent_hash, Timestamp(self.time),
            found.state_root, found.base_fee, found.gas_limit,
        )  # fmt: skip

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> list[Log]:
        self.log_reads.append((first, last))
        if self.log_failure is not None:
            raise self.log_failure
        if last - first + 1 > self.widest:
            raise RangeTooWide("too wide")
        return [
            log
            for place, log in enumerate(self.past)
            if place not in self.hidden
            and first <= log.at.block <= last
            and log.address in addresses
            and all(words is None or log.topics[at] in words for at, words in enumerate(topics))
        ]

    def emit(
        self, address: Address, topics: Sequence[bytes], data: bytes = b"", *, block: int, tx: int
    ) -> Log:
        """One more log, after all others of its block."""
        at = LogRef(
            self.chain_id,
            BlockNumber(block),
            BlockHash(f"0x{block:064x}"),
            TxHash(f"0x{tx:064x}"),
            len(self.past),
        )
        self.past.append(Log(address, tuple(topics), data, at))
        return self.past[-1]


def sent_log_parts(message: LineaMessage) -> tuple[list[bytes], bytes]:
    """Topics and data of `MessageSent`, encoded by a library that is not ours."""
    digest = keccak256(abi_message(message))
    topics = [
        keccak256(b"MessageSent(address,address,uint256,uint256,uint256,bytes,bytes32)"),
        encode(["address"], [message.sender]),
        encode(["address"], [message.recipient]),
        digest,
    ]
    kinds = ["uint256", "uint256", "uint256", "bytes"]
    return topics, encode(kinds, [message.fee, message.value, message.number, message.body])


def abi_message(message: LineaMessage) -> bytes:
    """What the contracts hash, encoded by a library that is not ours."""
    kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes"]
    return encode(
        kinds,
        [
            message.sender, message.recipient, message.fee, message.value, message.number,
            message.body,
        ],
    )  # fmt: skip


AT = LogRef(L1, BlockNumber(9), BlockHash("0x" + "0b" * 32), TxHash("0x" + "0c" * 32), log_index=0)


def confirmed(
    leaves: Sequence[bytes], *, depth: int, roots: Sequence[bytes] | None = None, first: int = 101
) -> Confirmed:
    """A finalisation of these messages, numbered from `first`."""
    accepted = roots_of(leaves, depth) if roots is None else roots
    return Confirmed(Finalisation(AT, (7,), tuple(accepted), depth), first, tuple(leaves))


class World:
    """Both chains, the adapter, and what their contracts hold."""

    def __init__(self, **settings: Any) -> None:
        self.l1, self.l2 = LoggedChain(L1), LoggedChain(L2)
        self.claimed: set[int] = set()
        self.status: dict[bytes, int] = {}
        self.depths: dict[bytes, int] = {}
        self.paused: dict[str, set[int]] = {"l1": set(), "l2": set()}
        self.anchored = 0
        self.finalised = 0
        self.limit, self.used, self.period_end = 10**24, 0, 2_000_000
        self._numbers = {L1: 0, L2: 0}
        self._txs = 0
        self.clock = FakeClock()
        self.context = LineaContext(
            {"one": self.l1, "two": self.l2}, FakeTrees(SHAPE), now=self.clock
        )
        section: dict[str, Any] = {
            "l1": {"chain": "one", "rollup": ROLLUP},
            "l2": {"chain": "two", "message_service": SERVICE},
            "fee_recipient": FEE_RECIPIENT,
            **settings,
        }
        self.adapter = LineaAdapter(
            BridgeName("linea"), LineaSettings.model_validate(section), self.context
        )
        self._answer()

    def send(
        self,
        origin: ChainId,
        *,
        block: int,
        fee: int = 5,
        value: int = 7,
        body: bytes = b"hi",
        to: Address = BOB,
    ) -> Record:
        """Send a message; gives the record that the engine would keep."""
        self._numbers[origin] += 1
        message = LineaMessage(ALICE, to, Wei(fee), Wei(value), self._numbers[origin], body)
        chain, contract = (self.l1, ROLLUP) if origin == L1 else (self.l2, SERVICE)
        topics, data = sent_log_parts(message)
        log = chain.emit(contract, topics, data, block=block, tx=self._tx())
        return next(
            record_of(message=fact.message)
            for fact in self.adapter.decode([log])
            if isinstance(fact, MessageSeen)
        )

    def finalise(self, records: Sequence[Record], *, block: int, follow: bool = True) -> str:
        """Confirm on L1 the blocks that hold these messages; says the transaction."""
        tx = self._tx()
        leaves = [bytes.fromhex(record.id[2:]) for record in records]
        logs = []
        for root in roots_of(leaves, DEPTH):
            self.depths[root] = DEPTH
            topics = [contracts.ROOT_ADDED, root, word(DEPTH)]
            logs.append(self.l1.emit(ROLLUP, topics, block=block, tx=tx))
        blocks = sorted({record.message.at.block for record in records})
        for one in blocks:
            topics = [contracts.BLOCK_ANCHORED, word(one)]
            logs.append(self.l1.emit(ROLLUP, topics, block=block, tx=tx))
        self.finalised = max(self.finalised, blocks[-1])
        if follow:
            self.follow(logs)
        return f"0x{tx:064x}"

    def follow(self, logs: Sequence[Log]) -> list[Fact]:
        """Take in logs as the follower would."""
        facts = self.adapter.decode(logs)
        self.context.roots.facts += [fact for fact in facts if isinstance(fact, RootSeen)]
        return facts

    async def step(self, record: Record) -> Step:
        """What one message needs."""
        return (await self.adapter.next_steps([record]))[record.id]

    async def wait(self, record: Record) -> Wait:
        """What one message waits for; it must wait."""
        step = await self.step(record)
        assert isinstance(step, Wait), step
        return step

    async def call(self, record: Record) -> Call:
        """The call of one message; it must have one."""
        step = await self.step(record)
        assert isinstance(step, Call), step
        return step

    def _tx(self) -> int:
        self._txs += 1
        return 0xEE00 + self._txs

    def _answer(self) -> None:
        def number(read: Callable[[], int]) -> Callable[[bytes], bytes]:
            return lambda _: word(read())

        one, two = self.l1, self.l2
        one.answer(
            ROLLUP,
            contracts.IS_CLAIMED,
            lambda data: word(int.from_bytes(data, "big") in self.claimed),
        )
        one.answer(ROLLUP, contracts.LAST_FINALISED, number(lambda: self.finalised))
        one.answer(ROLLUP, contracts.LIMIT, number(lambda: self.limit))
        one.answer(ROLLUP, contracts.PERIOD_USED, number(lambda: self.used))
        one.answer(ROLLUP, contracts.PERIOD_END, number(lambda: self.period_end))
        one.answer(ROLLUP, contracts.NEXT_NUMBER, number(lambda: self._numbers[L1] + 1))
        one.answer(ROLLUP, contracts.ROOT_DEPTH, lambda root: word(self.depths.get(root, 0)))
        two.answer(SERVICE, contracts.INBOX_STATUS, lambda one: word(self.status.get(one, 0)))
        two.answer(SERVICE, contracts.LAST_ANCHORED, number(lambda: self.anchored))
        two.answer(SERVICE, contracts.NEXT_NUMBER, number(lambda: self._numbers[L2] + 1))
        for name, chain, contract in (("l1", one, ROLLUP), ("l2", two, SERVICE)):
            chain.answer(
                contract,
                contracts.IS_PAUSED,
                lambda data, name=name: word(int.from_bytes(data, "big") in self.paused[name]),
            )
