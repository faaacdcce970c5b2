"""A small OP Stack world of fakes: a rollup with real proofs, and a layer 1 that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relayer.abi import address_of, address_word, dynamic, word
from relayer.adapter import Call, ChainReader, Header, Log, Refuse, Step, Wait
from relayer.errors import CallReverted
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
    Reason,
    Record,
    RootSeen,
    Timestamp,
    TxHash,
)
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.adapter import OpStackAdapter
from relayer.protocols.op_stack.contracts import Relay, Withdrawal
from relayer.protocols.op_stack.settings import MESSAGE_PASSER, MESSENGER, OpStackSettings
from relayer.protocols.op_stack.trials import ESTIMATOR
from tests.fakes import FakeChain, FakeClock, Reverts, fake_header
from tests.unit.op_stack.rollup import BLOCK_S, GENESIS_S, rollup
from tests.unit.sample_records import record_of as sample_record

BRIDGE = BridgeName("wide")
L2_ID, L1_ID = ChainId(10), ChainId(1)
PORTAL = Address("0x" + "11" * 20)
L1_MESSENGER = Address("0x" + "12" * 20)
ROOTS = Address("0x" + "13" * 20)
"""L2OutputOracle or DisputeGameFactory."""
REGISTRY = Address("0x" + "14" * 20)
US, RIVAL = Address("0x" + "21" * 20), Address("0x" + "22" * 20)
SENDER, TARGET = Address("0x" + "aa" * 20), Address("0x" + "bb" * 20)
PROOF_DELAY_S, ROOT_DELAY_S, CLOCK_S = 700, 300, 500
NOW_S = 2_000_000
PROVABLE, L1_TIME = Gate(BRIDGE, "provable_block"), Gate(BRIDGE, "l1_time")
PERMISSIONLESS, SUPER = 0, 9


def section(version: str, **l1: Any) -> OpStackSettings:
    """The bridge's section for a portal of that version."""
    key = "oracle" if version < "3" else "dispute_game_factory"
    told = {"chain": "main", "portal": PORTAL, "messenger": L1_MESSENGER, key: ROOTS}
    return OpStackSettings.model_validate({"l2": {"chain": "rollup"}, "l1": {**told, **l1}})


def withdrawal(number: int, *, data: bytes = b"hello", value: int = 0) -> Withdrawal:
    """A plain withdrawal."""
    return Withdrawal((1 << 240) + number, SENDER, TARGET, value, 100_000, data)


def relayed(number: int, *, body: bytes = b"hello") -> Withdrawal:
    """A withdrawal that carries a cross-domain message."""
    relay = Relay((1 << 240) + number, SENDER, TARGET, 0, 50_000, body)
    nonce = (1 << 240) + number
    return Withdrawal(nonce, MESSENGER, L1_MESSENGER, 0, 200_000, relay.encode())


def at(chain: ChainId, block: int = 9, tx: int = 1, log_index: int = 0) -> LogRef:
    """A place on a chain."""
    digest = BlockHash("0x" + "0b" * 32)
    return LogRef(chain, BlockNumber(block), digest, TxHash(f"0x{tx:064x}"), log_index)


def passed_log(one: Withdrawal, block: int = 9, tx: int = 1) -> Log:
    """What the message passer says of a withdrawal."""
    topics = (
        contracts.MESSAGE_PASSED,
        word(one.nonce),
        address_word(one.sender),
        address_word(one.target),
    )
    head = word(one.value) + word(one.gas_limit) + word(128) + one.hash
    return Log(MESSAGE_PASSER, topics, head + dynamic(one.data), at(L2_ID, block, tx))


def portal_log(topic: bytes, digest: bytes, *rest: bytes, data: bytes = b"", tx: int = 1) -> Log:
    return Log(PORTAL, (topic, digest, *rest), data, at(L1_ID, tx=tx))


def finalized_log(one: Withdrawal, *, success: bool, tx: int = 1) -> Log:
    """What the portal says when it has finalised a withdrawal."""
    return portal_log(contracts.WITHDRAWAL_FINALIZED, one.hash, data=word(int(success)), tx=tx)


def messenger_log(topic: bytes, one: Withdrawal, tx: int = 1) -> Log:
    """What the messenger says of the cross-domain message in a withdrawal."""
    return Log(L1_MESSENGER, (topic, keccak256(one.data)), b"", at(L1_ID, tx=tx))


class FakeRoots:
    """`adapter.RootReader` in memory."""

    def __init__(self) -> None:
        self.seen: list[RootSeen] = []

    async def best_root(self, chain: ChainId, gate: Gate) -> RootSeen | None:
        mine = [one for one in self.seen if one.at.chain == chain and one.gate == gate]
        return max(mine, key=lambda one: one.level, default=None)

    async def root_at(self, chain: ChainId, gate: Gate, level: int) -> RootSeen | None:
        raise AssertionError("not asked for")


class FakeKeeper:
    """`adapter.ProofKeeper` in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def keep_proofs(self, chain: ChainId, proofs: Mapping[str, bytes]) -> None:
        self.kept.update(proofs)

    async def kept_proofs(self, chain: ChainId, names: Sequence[str]) -> dict[str, bytes]:
        return {name: self.kept[name] for name in names if name in self.kept}


@dataclass
class Context:
    """`adapter.AdapterContext` of fakes."""

    chains: dict[str, ChainReader]
    roots: FakeRoots = field(default_factory=FakeRoots)
    proofs: FakeKeeper = field(default_factory=FakeKeeper)
    now: FakeClock = field(default_factory=FakeClock)
    trees: Any = None


@dataclass
class Game:
    """A dispute game or an output."""

    root: bytes
    place: int
    created: int
    kind: int = PERMISSIONLESS
    status: int = contracts.IN_PROGRESS
    resolved: int = 0
    registered: bool = True
    blacklisted: bool = False
    retired: bool = False
    respected: bool = True


class FakeL1(FakeChain):
    """A layer 1 with a clock of its own, logs, and targets that may fail."""

    def __init__(self) -> None:
        super().__init__(L1_ID)
        self.time = NOW_S
        self.said: list[Log] = []
        self.failing: bytes | None = None
        """What an estimate made from the estimator's address reverts with."""
        self.gas: object = hex(123_456)
        self.estimates: list[Mapping[str, str]] = []

    async def header(self, block: BlockNumber | BlockHash | str) -> Header:
        number = BlockNumber(block) if isinstance(block, int) else self.final
        return replace(fake_header(number), timestamp=Timestamp(self.time))

    async def final_header(self) -> Header:
        return await self.header(self.final)

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> list[Log]:
        wanted = topics[1]
        assert wanted is not None
        return [
            log
            for log in self.said
            if first <= log.at.block <= last
            and log.address in addresses
            and log.topics[1] in wanted
        ]

    async def rpc(self, method: str, params: Sequence[Any]) -> Any:
        assert method == "eth_estimateGas"
        assert params[0]["from"] == ESTIMATOR
        self.estimates.append(params[0])
        if self.failing is not None:
            raise CallReverted("execution reverted", self.failing)
        return self.gas


class World:
    """The adapter among fakes; the layer 1 is of the generation that its version says."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.is_old = version < "3"
        self.l2, self.l1 = rollup(L2_ID), FakeL1()
        self.context = Context({"rollup": self.l2, "main": self.l1})
        self.games: list[Game] = []
        self.sent: list[Withdrawal] = []
        self.proofs: dict[bytes, list[tuple[Address, int, int]]] = {}
        """By withdrawal: (submitter, index of the game, second)."""
        self.finalized: set[bytes] = set()
        self.successful: set[bytes] = set()
        self.failed: set[bytes] = set()
        self.paused = False
        self._replaced: dict[bytes, bytes] = {}
        self.adapter = OpStackAdapter(BRIDGE, section(version), self.context)
        self._answer_portal()
        self._answer_roots()

    # --- what happens -------------------------------------------------------------------------

    def send(self, *withdrawals: Withdrawal) -> list[Record]:
        """Send withdrawals in a new block; their records as the store would give them."""
        block = len(self.l2.blocks)
        for one in withdrawals:
            self.l2.keep(one.slot)
            self.sent.append(one)
        self.l2.sent += len(withdrawals)
        self.l2.mine()
        facts = self.adapter.decode([passed_log(one, block) for one in withdrawals])
        seen_at = self.context.now()
        return [
            sample_record(message=fact.message, seen_at=seen_at)
            for fact in facts
            if isinstance(fact, MessageSeen)
        ]

    def claim(self, block: int | None = None, **changes: Any) -> Game:
        """Put the true root of a block (the newest) on layer 1, a while ago."""
        number = self.l2.mine() if block is None else block
        game = Game(self.l2.blocks[number].output.root, number, self.l1.time - 50, **changes)
        if game.kind == SUPER:
            game.place = GENESIS_S + BLOCK_S * number + 1
        self.games.append(game)
        self._answer_game(len(self.games) - 1)
        self.context.now.pass_s(60)
        return game

    def prove(self, record: Record, game: Game, *, by: Address = US) -> None:
        """A proof against a game stands at the portal from now on."""
        index = next(place for place, one in enumerate(self.games) if one is game)
        digest = bytes.fromhex(record.id[2:])
        mine = self.proofs.setdefault(digest, [])
        mine[:] = [one for one in mine if one[0] != by]
        mine.append((by, index, self.l1.time))

    def resolve(self, game: Game, status: int = contracts.DEFENDER_WINS) -> None:
        game.status, game.resolved = status, self.l1.time

    def pass_s(self, seconds: int) -> None:
        """Let time pass everywhere."""
        self.l1.time += seconds
        self.context.now.pass_s(seconds)

    async def step(self, record: Record) -> Step:
        return (await self.adapter.next_steps([record]))[record.id]

    # --- what layer 1 answers -------------------------------------------------------------------

    def _answer_portal(self) -> None:
        say = self._say
        text = self.version.encode()
        say(PORTAL, contracts.VERSION, lambda _: word(32) + dynamic(text))
        say(PORTAL, contracts.PAUSED, lambda _: word(int(self.paused)))
        say(PORTAL, contracts.FINALIZED, lambda a: word(int(a in self.finalized)))
        say(L1_MESSENGER, contracts.PORTAL_OF[int(self.is_old)], address_word(PORTAL))
        say(L1_MESSENGER, contracts.SUCCESSFUL_MESSAGES, lambda a: word(int(a in self.successful)))
        say(L1_MESSENGER, contracts.FAILED_MESSAGES, lambda a: word(int(a in self.failed)))
        if self.is_old:
            say(PORTAL, contracts.L2_ORACLE, address_word(ROOTS))
            say(ROOTS, contracts.PERIOD, word(PROOF_DELAY_S))
            say(PORTAL, contracts.PROVEN_OLD, self._proven_old)
            return
        say(PORTAL, contracts.FACTORY, address_word(ROOTS))
        say(PORTAL, contracts.RESPECTED_TYPE, word(PERMISSIONLESS))
        say(PORTAL, contracts.MATURITY_DELAY, word(PROOF_DELAY_S))
        say(PORTAL, contracts.FINALITY_DELAY, word(ROOT_DELAY_S))
        say(PORTAL, contracts.PROVEN, self._proven)
        say(PORTAL, contracts.SUBMITTER_COUNT, lambda a: word(len(self.proofs.get(a, []))))
        say(PORTAL, contracts.SUBMITTER, self._submitter)
        if self.version < "4":
            since = NOW_S - 10_000
            say(PORTAL, contracts.RESPECTED_SINCE, word(since))
            say(PORTAL, contracts.PORTAL_BLACKLIST, lambda a: self._judge(a, "blacklisted"))
        else:
            say(PORTAL, contracts.REGISTRY, address_word(REGISTRY))
            for selector, name in (
                (contracts.IS_REGISTERED, "registered"),
                (contracts.IS_RESPECTED, "respected"),
                (contracts.IS_BLACKLISTED, "blacklisted"),
                (contracts.IS_RETIRED, "retired"),
            ):
                say(REGISTRY, selector, lambda a, name=name: self._judge(a, name))

    def _answer_roots(self) -> None:
        count = contracts.NEXT_OUTPUT if self.is_old else contracts.GAME_COUNT
        self._say(ROOTS, count, lambda _: word(len(self.games)))
        self._say(ROOTS, contracts.OUTPUT, self._output)
        self._say(ROOTS, contracts.GAME_AT, self._game_at)

    def _answer_game(self, index: int) -> None:
        if self.is_old:
            return
        game, place = self.games[index], address_of_game(index)
        for selector, name in (
            (contracts.CREATED_AT, "created"),
            (contracts.GAME_TYPE, "kind"),
            (contracts.GAME_STATUS, "status"),
            (contracts.RESOLVED_AT, "resolved"),
            (contracts.GAME_SEQUENCE if game.kind == SUPER else contracts.GAME_BLOCK, "place"),
        ):
            self._say(place, selector, lambda _, name=name: word(getattr(game, name)))
        self._say(place, contracts.CLOCK_LIMIT, word(CLOCK_S))
        if game.kind == SUPER:
            self._say(place, contracts.ROOT_CLAIM, b"\x99" * 32)
            self._say(place, contracts.ROOT_CLAIM_OF, lambda a: self._root_for(game, a))
        else:
            self._say(place, contracts.ROOT_CLAIM, lambda _: game.root)

    def _say(self, to: Address, selector: bytes, say: Callable[..., bytes] | bytes) -> None:
        self.l1.answer(to, selector, say)

    def _root_for(self, game: Game, chain: bytes) -> bytes:
        if chain != word(L2_ID):
            raise Reverts(b"unknown chain")
        return game.root

    def _output(self, index: bytes) -> bytes:
        number = int.from_bytes(index, "big")
        if number >= len(self.games):
            raise Reverts(b"")
        game = self.games[number]
        return game.root + word(game.created) + word(game.place)

    def _game_at(self, index: bytes) -> bytes:
        number = int.from_bytes(index, "big")
        game = self.games[number]
        return word(game.kind) + word(game.created) + address_word(address_of_game(number))

    def _judge(self, game: bytes, name: str) -> bytes:
        return word(int(getattr(self.games[int.from_bytes(game, "big") - 1], name)))

    def _proven_old(self, digest: bytes) -> bytes:
        stored = self.proofs.get(digest)
        if not stored:
            return bytes(96)
        _, index, second = stored[-1]
        root = self.proved_roots.get(digest) or self.games[index].root
        return root + word(second) + word(index)

    @property
    def proved_roots(self) -> dict[bytes, bytes]:
        """Roots that proofs were made against, where the output has been replaced since."""
        return self._replaced

    def _proven(self, arguments: bytes) -> bytes:
        digest, submitter = arguments[:32], address_of(arguments[32:])
        for who, index, second in self.proofs.get(digest, []):
            if who == submitter:
                return address_word(address_of_game(index)) + word(second)
        return bytes(64)

    def _submitter(self, arguments: bytes) -> bytes:
        digest, place = arguments[:32], int.from_bytes(arguments[32:], "big")
        return address_word(self.proofs[digest][place][0])


def address_of_game(index: int) -> Address:
    """The proxy of a game."""
    return Address(f"0x{index + 1:040x}")


def called(step: Step, what: str) -> Call:
    assert isinstance(step, Call), step
    assert step.what == what
    return step


def waits(step: Step, reason: Reason) -> Wait:
    assert isinstance(step, Wait), step
    assert step.reason is reason, step
    return step


def refused(step: Step, reason: Reason) -> Refuse:
    assert isinstance(step, Refuse), step
    assert step.reason is reason, step
    return step
