"""A small Scroll world of fakes: a rollup whose logs we write, and a layer 1 that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relayer.abi import address_word, word
from relayer.adapter import Call, ChainReader, Log, Step, TreeShape
from relayer.errors import RpcRefused
from relayer.keccak import keccak256
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
    TreeId,
    TxHash,
)
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.adapter import SHAPE, ScrollAdapter
from relayer.protocols.scroll.contracts import Withdrawal
from relayer.protocols.scroll.settings import MESSAGE_QUEUE, ScrollSettings
from tests.fakes import FakeChain, FakeClock, FakeTrees
from tests.unit.sample_records import record_of as sample_record

BRIDGE = BridgeName("wide")
L2_ID, L1_ID = ChainId(534352), ChainId(1)
L2_MESSENGER = Address("0x" + "22" * 20)
L1_MESSENGER = Address("0x" + "11" * 20)
SCROLL_CHAIN = Address("0x" + "cc" * 20)
TREE = TreeId(f"{BRIDGE}/{L2_ID}")
BATCHES = Gate(BRIDGE, "finalized_batches")
LEAVES = Gate(BRIDGE, "provable_leaves")
SETTINGS = ScrollSettings.model_validate(
    {
        "l2": {"chain": "rollup", "messenger": L2_MESSENGER, "start_block": 3},
        "l1": {"chain": "main", "messenger": L1_MESSENGER, "scroll_chain": SCROLL_CHAIN},
    }
)


def withdrawal(nonce: int, *, body: bytes = b"hello", value: int = 0) -> Withdrawal:
    """A message of no particular sender."""
    return Withdrawal(Address("0x" + "aa" * 20), Address("0x" + "bb" * 20), value, nonce, body)


def at(chain: ChainId, tx: int = 1, log_index: int = 0) -> LogRef:
    """A place on a chain."""
    return LogRef(
        chain, BlockNumber(9), BlockHash("0x" + "0b" * 32), TxHash(f"0x{tx:064x}"), log_index
    )


def append_log(index: int, leaf: bytes, tx: int = 1) -> Log:
    """What the queue says of a leaf."""
    topics = (contracts.APPEND_MESSAGE,)
    return Log(MESSAGE_QUEUE, topics, word(index) + leaf, at(L2_ID, tx))


def sent_log(one: Withdrawal, tx: int = 1) -> Log:
    """What the messenger says of a message."""
    where = (address_word(one.sender), address_word(one.target))
    body = word(len(one.body)) + one.body + bytes(-len(one.body) % 32)
    fields = word(one.value) + word(one.nonce) + word(0) + word(128) + body
    return Log(L2_MESSENGER, (contracts.SENT_MESSAGE, *where), fields, at(L2_ID, tx))


def logs_of(one: Withdrawal, tx: int = 1) -> list[Log]:
    """Both logs of one message, in the order in which they are made."""
    return [append_log(one.nonce, keccak256(one.encode()), tx), sent_log(one, tx)]


def finalize_log(batch: int, root: bytes, tx: int = 1) -> Log:
    """What the rollup contract says of a finalized bundle."""
    topics = (contracts.FINALIZE_BATCH, word(batch), b"\x07" * 32)
    return Log(SCROLL_CHAIN, topics, b"\x08" * 32 + root, at(L1_ID, tx))


class FakeRoots:
    """`adapter.RootReader` in memory."""

    def __init__(self) -> None:
        self.seen: list[RootSeen] = []

    async def best_root(self, chain: ChainId, gate: Gate) -> RootSeen | None:
        mine = [one for one in self.seen if one.at.chain == chain and one.gate == gate]
        return max(mine, key=lambda one: one.level, default=None)

    async def root_at(self, chain: ChainId, gate: Gate, level: int) -> RootSeen | None:
        mine = [one for one in self.seen if one.at.chain == chain and one.gate == gate]
        above = [one for one in mine if one.level >= level]
        return min(above, key=lambda one: one.level, default=None)


class CountingTrees(FakeTrees):
    """Trees that count how many roots were computed."""

    def __init__(self, shape: TreeShape) -> None:
        super().__init__(shape)
        self.computed = 0

    def held(self, tree: TreeId) -> int:
        """Leaves that the tree has."""
        return self._sizes.get(tree, 0)

    async def roots(self, tree: TreeId, sizes: Sequence[int]) -> list[bytes]:
        self.computed += len(sizes)
        return await super().roots(tree, sizes)


@dataclass
class Context:
    """`adapter.AdapterContext` of fakes."""

    chains: dict[str, ChainReader]
    trees: FakeTrees
    roots: FakeRoots
    now: FakeClock = field(default_factory=FakeClock)
    proofs: Any = None


class TryingChain(FakeChain):
    """A layer 1 that runs trials: it finds the deliveries in the program by their selector."""

    def __init__(self, chain_id: int) -> None:
        super().__init__(chain_id)
        self.failing: set[int] = set()
        """Nonces whose target refuses."""
        self.reverting: set[int] = set()
        """Nonces that the messenger itself refuses."""
        self.starving = False
        """In company only the first delivery gets gas."""
        self.refuses_trials = False
        self.garbage: str | None = None
        self.funds = 10**18
        self.gas = 60_000
        self.trials: list[list[int]] = []
        """Nonces of every trial so far."""

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        assert method == "eth_call"
        assert params[1] == "latest"
        assert "to" not in params[0]
        if self.refuses_trials:
            raise RpcRefused(-32602, "missing to")
        nonces = nonces_in(bytes.fromhex(params[0]["data"][2:]))
        self.trials.append(nonces)
        if self.garbage is not None:
            return self.garbage
        return "0x" + (word(self.funds) + b"".join(map(self._tried, nonces))).hex()

    def _tried(self, nonce: int) -> bytes:
        accepted = nonce not in self.reverting
        starved = self.starving and nonce != self.trials[-1][0]
        executed = accepted and nonce not in self.failing and not starved
        return word(int(accepted)) + word(self.gas) + word(int(executed))


def nonces_in(program: bytes) -> list[int]:
    """Nonces of the deliveries in a trial's program."""
    parts = program.split(contracts.RELAY_WITH_PROOF)[1:]
    return [int.from_bytes(part[96:128], "big") for part in parts]


class World:
    """The adapter among fakes."""

    def __init__(self) -> None:
        self.l2, self.l1 = FakeChain(L2_ID), TryingChain(L1_ID)
        self.trees, self.roots = CountingTrees(SHAPE), FakeRoots()
        chains: dict[str, ChainReader] = {"rollup": self.l2, "main": self.l1}
        self.context = Context(chains, self.trees, self.roots)
        self.adapter = ScrollAdapter(BRIDGE, SETTINGS, self.context)
        self.executed: set[bytes] = set()
        self.withdraw_roots: dict[int, bytes] = {}
        self.sent: list[Withdrawal] = []
        self.answer(L1_MESSENGER, contracts.IS_EXECUTED, self._is_executed)
        self.answer(SCROLL_CHAIN, contracts.WITHDRAW_ROOTS, self._withdraw_root)
        self.last_finalized: int | None = None
        """The last finalized batch by ScrollChain's view, where it is not that of the logs."""
        self.answer(SCROLL_CHAIN, contracts.LAST_FINALIZED, self._last_finalized)
        self.l2.answer(MESSAGE_QUEUE, contracts.NEXT_MESSAGE_INDEX, lambda _: word(len(self.sent)))

    def answer(self, to: Address, selector: bytes, say: Callable[[bytes], bytes]) -> None:
        self.l1.answer(to, selector, say)

    def send(
        self, count: int, *, follow: bool = True, value: int = 0, size: int = 0
    ) -> list[Record]:
        """Messages leave the rollup; our tree gets their leaves unless `follow` is false."""
        records = []
        for _ in range(count):
            body = (b"body %d" % len(self.sent)).ljust(size, b"x")
            one = withdrawal(len(self.sent), body=body, value=value)
            self.sent.append(one)
            facts = self.adapter.decode(logs_of(one, tx=one.nonce + 1))
            (message,) = [fact.message for fact in facts if isinstance(fact, MessageSeen)]
            records.append(replace(sample_record(message=message), seen_at=self.context.now()))
            if follow:
                self.grow(1)
        return records

    def grow(self, count: int) -> None:
        """Our tree gets the next leaves."""
        size = self.trees.held(TREE)
        leaves = [keccak256(one.encode()) for one in self.sent[size : size + count]]
        self.trees.grow(TREE, leaves)

    def root(self, size: int) -> bytes:
        """The true root of the first `size` messages."""
        full = FakeTrees(SHAPE)
        full.grow(TREE, [keccak256(one.encode()) for one in self.sent])
        return full.root(TREE, size)

    def finalize(self, batch: int, root: bytes, *, hidden: bool = False) -> None:
        """Layer 1 accepts a root; the log of it may be hidden from us."""
        self.withdraw_roots[batch] = root
        if hidden:
            return
        facts = self.adapter.decode([finalize_log(batch, root, tx=batch)])
        self.roots.seen += [fact for fact in facts if isinstance(fact, RootSeen)]

    async def step(self, record: Record) -> Step:
        """The next step of one message."""
        return (await self.adapter.next_steps([record]))[record.id]

    def _is_executed(self, arguments: bytes) -> bytes:
        return word(int(arguments in self.executed))

    def _last_finalized(self, _: bytes) -> bytes:
        told = max(self.withdraw_roots, default=0)
        return word(told if self.last_finalized is None else self.last_finalized)

    def _withdraw_root(self, arguments: bytes) -> bytes:
        return self.withdraw_roots.get(int.from_bytes(arguments, "big"), bytes(32))


def proof_of(call: Call) -> tuple[int, list[bytes]]:
    """Batch index and siblings of a delivery call."""
    data = call.data[4:]
    start = int.from_bytes(data[160:192], "big")
    size = int.from_bytes(data[start + 64 : start + 96], "big")
    raw = data[start + 96 : start + 96 + size]
    return int.from_bytes(data[start : start + 32], "big"), [
        raw[at : at + 32] for at in range(0, size, 32)
    ]
