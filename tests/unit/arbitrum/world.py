"""A child chain, its parent's outbox and the adapter between them, all in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from relayer.adapter import ChainReader, Header, Log
from relayer.errors import StaleEndpoint
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    ChainId,
    Gate,
    LogRef,
    MessageSeen,
    Record,
    RootSeen,
    Timestamp,
    TreeId,
    TxHash,
)
from relayer.protocols.arbitrum.adapter import SHAPE, ArbitrumAdapter
from relayer.protocols.arbitrum.settings import ArbitrumSettings
from tests.fakes import FakeChain, FakeClock, FakeTrees, fake_header
from tests.unit import sample_records

CHILD, PARENT = ChainId(42161), ChainId(1)
OUTBOX = Address("0x0b9857ae2d4a3dbe74ffe1d7df045bb7f96e4840")
ARB_SYS = Address("0x" + "00" * 19 + "64")
BRIDGE = BridgeName("arb")
TREE = TreeId("arb")
ACCEPTED, PROVABLE = Gate(BRIDGE, "accepted"), Gate(BRIDGE, "provable")
SENDER, RECIPIENT = "0x" + "a1" * 20, "0x" + "b2" * 20

SENT = keccak(
    text="L2ToL1Tx(address,address,uint256,uint256,uint256,uint256,uint256,uint256,bytes)"
)
UPDATED = keccak(text="SendRootUpdated(bytes32,bytes32)")
EXECUTED = keccak(text="OutBoxTransactionExecuted(address,address,uint256,uint256)")
IS_SPENT = keccak(text="isSpent(uint256)")[:4]
ROOTS = keccak(text="roots(bytes32)")[:4]
TREE_STATE = "0x" + keccak(text="sendMerkleTreeState()")[:4].hex()


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def padded(address: str) -> bytes:
    return bytes.fromhex(address[2:]).rjust(32, b"\x00")


def ref(chain: ChainId, *, tx: int = 1, block: int = 5, log_index: int = 0) -> LogRef:
    return LogRef(
        chain, BlockNumber(block), BlockHash("0x" + "05" * 32), TxHash(f"0x{tx:064x}"), log_index
    )


def packed_send(
    *,
    sender: str = SENDER,
    recipient: str = RECIPIENT,
    numbers: Sequence[int] = (100, 90, 1_700_000_000, 7),
    payload: bytes = b"hello",
) -> bytes:
    """`abi.encodePacked` of a message, from l2Block, l1Block, timestamp and value."""
    addresses = bytes.fromhex(sender[2:]) + bytes.fromhex(recipient[2:])
    return addresses + b"".join(word(number) for number in numbers) + payload


def sent_log(position: int, packed: bytes | None = None, **at: Any) -> Log:
    """The L2ToL1Tx of a packed message."""
    packed = packed_send() if packed is None else packed
    numbers = [int.from_bytes(packed[i : i + 32], "big") for i in range(40, 168, 32)]
    kinds = ["address", "uint256", "uint256", "uint256", "uint256", "bytes"]
    content = abi_encode(kinds, ["0x" + packed[:20].hex(), *numbers, packed[168:]])
    topics = (SENT, packed[20:40].rjust(32, b"\x00"), keccak(packed), word(position))
    return Log(ARB_SYS, topics, content, ref(CHILD, **at))


def updated_log(root: bytes, child_block: str, **at: Any) -> Log:
    return Log(OUTBOX, (UPDATED, root, bytes.fromhex(child_block[2:])), b"", ref(PARENT, **at))


def executed_log(index: int, **at: Any) -> Log:
    topics = (EXECUTED, padded(RECIPIENT), padded(SENDER), word(0))
    return Log(OUTBOX, topics, word(index), ref(PARENT, **at))


class NodeChain(FakeChain):
    """A fake chain whose node knows blocks by hash and answers raw requests."""

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id)
        self.blocks: dict[str, Header] = {}
        self.methods: dict[str, Callable[[Sequence[Any]], Any]] = {}
        self.asked: list[tuple[str, Sequence[Any]]] = []

    def add_block(self, number: int, **raw: Any) -> Header:
        """A block that carries `raw` fields."""
        header = replace(fake_header(BlockNumber(number)), raw=raw)
        self.blocks[header.hash] = header
        return header

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        if self.failure is not None:
            raise self.failure
        if str(block) not in self.blocks:
            raise StaleEndpoint(f"no block {block}")
        return self.blocks[str(block)]

    async def final_header(self) -> Header:
        if self.failure is not None:
            raise self.failure
        return list(self.blocks.values())[-1]

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        self.asked.append((method, params))
        if self.failure is not None:
            raise self.failure
        if method not in self.methods:
            raise StaleEndpoint(f"no method {method}")
        return self.methods[method](params)


class FakeRoots:
    """`adapter.RootReader` over a list."""

    def __init__(self) -> None:
        self.seen: list[RootSeen] = []

    async def best_root(self, chain: ChainId, gate: Gate) -> RootSeen | None:
        mine = [one for one in self.seen if (one.at.chain, one.gate) == (chain, gate)]
        return max(mine, key=lambda one: one.level, default=None)

    async def root_at(self, chain: ChainId, gate: Gate, level: int) -> RootSeen | None:
        raise AssertionError("only the newest root is used")


@dataclass
class Context:
    """`adapter.AdapterContext` of fakes."""

    chains: dict[str, ChainReader]
    trees: FakeTrees
    roots: FakeRoots
    now: Callable[[], Timestamp] = field(default_factory=FakeClock)


class World:
    """Messages that were sent, roots that were accepted, and what is spent."""

    def __init__(self, **settings: Any) -> None:
        self.child, self.parent = NodeChain(CHILD), NodeChain(PARENT)
        self.trees, self.roots = FakeTrees(SHAPE), FakeRoots()
        self.spent: set[int] = set()
        self.known_roots: set[bytes] = set()
        self.parent.answer(OUTBOX, IS_SPENT, self._is_spent)
        self.parent.answer(OUTBOX, ROOTS, lambda root: word(int(root in self.known_roots)))
        section = {
            "child": {"chain": "child", "start_block": 3},
            "parent": {"chain": "parent", "outbox": OUTBOX, "start_block": 4},
        }
        self.clock = FakeClock()
        chains: dict[str, ChainReader] = {"child": self.child, "parent": self.parent}
        context = Context(chains, self.trees, self.roots, self.clock)
        chosen = ArbitrumSettings.model_validate(section | settings)
        self.adapter = ArbitrumAdapter(BRIDGE, chosen, context)
        self._position = 0

    def send(self, *, stored: bool = True, **parts: Any) -> Record:
        """One more message; its leaf is in our tree unless it is not `stored`."""
        packed = packed_send(**({"numbers": (100, 90, self._position, 7)} | parts))
        log = sent_log(self._position, packed)
        (message,) = [f.message for f in self.adapter.decode([log]) if isinstance(f, MessageSeen)]
        if stored:
            self.trees.grow(TREE, [keccak(keccak(packed))])
        self._position += 1
        return sample_records.record_of(message=message)

    def accept(self, root: bytes, count: int, *, block: int = 50, **raw: Any) -> None:
        """Let the outbox accept a root of a child block that says of itself what `raw` says."""
        fields = {"sendCount": hex(count), "sendRoot": "0x" + root.hex()}
        header = self.child.add_block(block, **(raw or fields))
        log = updated_log(root, header.hash, block=block)
        self.roots.seen += [f for f in self.adapter.decode([log]) if isinstance(f, RootSeen)]
        self.known_roots.add(root)

    def accept_size(self, size: int, **more: Any) -> bytes:
        """Let the outbox accept the root that our own tree has at `size`."""
        root = self.trees.root(TREE, size)
        self.accept(root, size, **more)
        return root

    def _is_spent(self, argument: bytes) -> bytes:
        return word(int(int.from_bytes(argument, "big") in self.spent))
