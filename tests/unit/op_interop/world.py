"""Two fake chains of one dependency set: we write the logs of each, and each answers the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from relayer.abi import address_word, word
from relayer.adapter import Header, Log, Step
from relayer.errors import RangeTooWide, StaleEndpoint
from relayer.keccak import keccak256
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    Fact,
    LogRef,
    MessageSeen,
    Record,
    Timestamp,
    TxHash,
)
from relayer.protocols.op_interop import contracts
from relayer.protocols.op_interop.adapter import OpInteropAdapter
from relayer.protocols.op_interop.contracts import MESSENGER, InteropMessage
from relayer.protocols.op_interop.settings import OpInteropSettings
from tests.fakes import FakeChain, FakeClock, fake_header
from tests.unit.sample_records import record_of as sample_record

BRIDGE = BridgeName("set")
A, B = ChainId(901), ChainId(902)
SENDER, TARGET = Address("0x" + "aa" * 20), Address("0x" + "bb" * 20)
START = 1_700_000_000
"""Time of block 0 of every chain."""
BLOCK_S = 2
SECTION: dict[str, Any] = {"chains": {"a": {"first_nonce": 0}, "b": {"first_nonce": 0}}}


class InteropChain(FakeChain):
    """A member of the set: a block every two seconds, a messenger, accounts with code."""

    def __init__(self, chain_id: ChainId) -> None:
        super().__init__(chain_id)
        self.head = 100
        self.tags = {"safe": 50, "finalized": 20}
        self.fork = 0
        """Blocks from `forked_at` on have other hashes for each value."""
        self.forked_at = 0
        self.sent: list[Log] = []
        self.relayed: set[bytes] = set()
        self.version = b"1.3.0"
        self.codes = {TARGET}
        self.tells_codes = True
        self.asked_logs: list[tuple[int, int]] = []
        self.asked_headers: list[Any] = []
        self.widest: int | None = None
        """Blocks that a request for logs may span."""
        self.nonce = 0
        self.answer(MESSENGER, contracts.SUCCESSFUL_MESSAGES, self._is_relayed)
        self.answer(MESSENGER, contracts.VERSION, lambda _: self._version())
        self.answer(MESSENGER, contracts.MESSAGE_NONCE, lambda _: word(self.nonce))

    def hash_at(self, number: int) -> BlockHash:
        fork = self.fork if number >= self.forked_at else 0
        seed = f"{self.chain_id} {number} {fork}".encode()
        return BlockHash("0x" + keccak256(seed).hex())

    def say(self, message: InteropMessage, *, block: int = 10, log_index: int = 0) -> Log:
        """The messenger's log of a message, in a block."""
        topics = (
            contracts.SENT_MESSAGE,
            word(message.destination),
            address_word(message.target),
            word(message.nonce),
        )
        tx = TxHash("0x" + keccak256(message.encode() + bytes([block % 256])).hex())
        at = LogRef(
            self.chain_id, BlockNumber(block), self.hash_at(block), tx, log_index, Timestamp(0.0)
        )
        log = Log(MESSENGER, topics, message.log_data(), at)
        self.sent.append(log)
        return log

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        self.asked_headers.append(block)
        if self.failure is not None:
            raise self.failure
        number = {"latest": self.head, **self.tags}.get(str(block), block)
        if not isinstance(number, int) or number > self.head:
            raise StaleEndpoint(f"no block {block}")
        return replace(
            fake_header(BlockNumber(number)),
            hash=self.hash_at(number),
            timestamp=Timestamp(START + BLOCK_S * number),
        )

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> list[Log]:
        self.asked_logs.append((first, last))
        if self.failure is not None:
            raise self.failure
        if self.widest is not None and last - first >= self.widest:
            raise RangeTooWide("too wide")
        assert list(addresses) == [MESSENGER]
        return [
            log
            for log in self.sent
            if first <= log.at.block <= last
            and all(
                own in wanted for own, wanted in zip(log.topics, topics, strict=False) if wanted
            )
        ]

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        """Runs the probe for code: PUSH20 address, EXTCODESIZE, PUSH3 place, MSTORE: 27 bytes."""
        assert method == "eth_call"
        code = bytes.fromhex(params[0]["data"][2:])
        targets = [code[at + 1 : at + 21] for at in range(0, len(code) - 27, 27)]
        coded = {bytes.fromhex(one[2:]) for one in self.codes}
        if not self.tells_codes:
            return "0x"
        return "0x" + b"".join(word(int(one in coded)) for one in targets).hex()

    def _is_relayed(self, arguments: bytes) -> bytes:
        return word(int(arguments in self.relayed))

    def _version(self) -> bytes:
        return word(32) + word(len(self.version)) + self.version.ljust(32, b"\x00")


@dataclass
class World:
    """The adapter between two fake chains."""

    more: dict[str, Any] = field(default_factory=dict)
    a: InteropChain = field(default_factory=lambda: InteropChain(A))
    b: InteropChain = field(default_factory=lambda: InteropChain(B))
    now: FakeClock = field(default_factory=lambda: FakeClock(START + 200.0))

    def __post_init__(self) -> None:
        section = OpInteropSettings.model_validate({**SECTION, "safety": "unsafe", **self.more})
        context: Any = SimpleNamespace(chains={"a": self.a, "b": self.b}, now=self.now)
        self.adapter = OpInteropAdapter(BRIDGE, section, context)
        self._nonce = 0

    def message(self, *, target: Address = TARGET, body: bytes = b"hello") -> InteropMessage:
        """A new message from a to b."""
        self._nonce += 1
        return InteropMessage(B, A, self._nonce - 1, SENDER, target, body)

    def send(self, count: int = 1, *, block: int = 10, target: Address = TARGET) -> list[Record]:
        """Messages leave chain a in one block, and are followed."""
        first = sum(log.at.block == block for log in self.a.sent)
        logs = [
            self.a.say(self.message(target=target), block=block, log_index=first + turn)
            for turn in range(count)
        ]
        return self.records(self.adapter.decode(logs))

    def records(self, facts: Sequence[Fact]) -> list[Record]:
        """What the store would remember of the messages among facts."""
        messages = [fact.message for fact in facts if isinstance(fact, MessageSeen)]
        return [sample_record(message=one) for one in messages]

    async def step(self, record: Record) -> Step:
        """The next step of one message."""
        return (await self.adapter.next_steps([record]))[record.id]
