"""Logs of both contracts as facts, and logs that cannot be."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode

from relayer.abi import word
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import (
    DeliverySeen,
    LeafAdded,
    MessageSeen,
    PaymentSeen,
    ProgressSeen,
    RootSeen,
)
from relayer.protocols.linea import contracts
from relayer.protocols.linea.events import read_finalisations
from tests.unit.linea.world import L1, L2, ROLLUP, SERVICE, World

ROOTS = [keccak256(b"one"), keccak256(b"two")]


@pytest.fixture
def world() -> World:
    return World()


def test_topics_are_those_of_the_contracts() -> None:
    """The constants of Linea's own tests."""
    assert contracts.MESSAGE_SENT.hex().startswith("e856c2b8bd4eb002")
    assert contracts.ROOT_ADDED.hex().startswith("300e6f978eee6a4b")
    assert contracts.BLOCK_ANCHORED.hex().startswith("3c116827db9db3a3")
    assert contracts.MESSAGE_CLAIMED.hex().startswith("a4c827e719e911e8")
    assert contracts.HASHES_ADDED.hex().startswith("9995fb3da0c2de40")


@pytest.mark.parametrize("origin", [L1, L2])
def test_a_message_is_a_leaf_a_message_and_a_payment(world: World, origin: int) -> None:
    """The hash is the id and the leaf, its place is its number less one, the fee was paid."""
    world.send(origin, block=3)  # type: ignore[arg-type]
    world.send(origin, block=3, fee=0)  # type: ignore[arg-type]
    chain = world.l1 if origin == L1 else world.l2
    facts = world.adapter.decode(chain.past)
    leaf, seen, paid, leaf2, seen2 = facts
    assert isinstance(leaf, LeafAdded)
    assert isinstance(seen, MessageSeen)
    assert isinstance(paid, PaymentSeen)
    assert isinstance(leaf2, LeafAdded)
    assert isinstance(seen2, MessageSeen)
    message = seen.message
    assert "0x" + leaf.leaf.hex() == message.id == paid.message_id
    assert (leaf.index, leaf2.index, message.nonce) == (0, 1, 1)
    assert leaf.tree == message.tree
    assert {message.route.origin, message.route.destination} == {L1, L2}
    assert message.route.origin == origin
    assert (paid.amount, paid.destination) == (5, message.route.destination)
    assert message.extra == {"fee": "5", "value": "7"}


def test_each_direction_has_its_own_tree(world: World) -> None:
    """Numbers count per contract, so the trees must not mix."""
    first, second = world.send(L1, block=1), world.send(L2, block=1)
    assert first.message.tree != second.message.tree
    assert {spec.id: spec.chain for spec in world.adapter.trees()} == {
        first.message.tree: L1, second.message.tree: L2,
    }  # fmt: skip


@pytest.mark.parametrize("chain", [L1, L2])
def test_a_claim_is_a_delivery_there(world: World, chain: int) -> None:
    """`MessageClaimed` of either contract, whoever claimed."""
    fake, contract = (world.l1, ROLLUP) if chain == L1 else (world.l2, SERVICE)
    log = fake.emit(contract, [contracts.MESSAGE_CLAIMED, ROOTS[0]], block=4, tx=1)
    assert world.adapter.decode([log]) == [DeliverySeen("0x" + ROOTS[0].hex(), log.at)]  # type: ignore[arg-type]


def test_anchoring_on_l2_is_progress_of_each_message(world: World) -> None:
    """All hashes of the array."""
    data = encode(["bytes32[]"], [ROOTS])
    log = world.l2.emit(SERVICE, [contracts.HASHES_ADDED], data, block=4, tx=1)
    facts = world.adapter.decode([log])
    assert [fact.message_id for fact in facts if isinstance(fact, ProgressSeen)] == [
        "0x" + root.hex() for root in ROOTS
    ]


def test_a_finalisation_raises_the_gate_to_its_last_block(world: World) -> None:
    """One fact per transaction, whatever the order of its blocks; two transactions, two facts."""
    for tx, blocks in ((1, [30, 10, 20]), (2, [41])):
        topics = [contracts.ROOT_ADDED, ROOTS[tx - 1], word(5)]
        world.l1.emit(ROLLUP, topics, block=9, tx=tx)
        for block in blocks:
            topics = [contracts.BLOCK_ANCHORED, word(block)]
            world.l1.emit(ROLLUP, topics, block=9, tx=tx)
    facts = [fact for fact in world.adapter.decode(world.l1.past) if isinstance(fact, RootSeen)]
    assert [(fact.level, fact.root) for fact in facts] == [(30, ROOTS[0]), (41, ROOTS[1])]
    assert len({fact.at.tx for fact in facts}) == 2


def test_blocks_without_a_root_raise_no_gate(world: World) -> None:
    """Somebody hides a log: the fact must not be made of what is left."""
    topics = [contracts.BLOCK_ANCHORED, word(7)]
    log = world.l1.emit(ROLLUP, topics, block=9, tx=1)
    assert world.adapter.decode([log]) == []


@pytest.mark.parametrize(
    "roots",
    [
        [(bytes(32), 5)],
        [(ROOTS[0], 5), (ROOTS[1], 6)],
        [(ROOTS[0], 5), (ROOTS[0], 5)],
        [(ROOTS[0], 0)],
        [(ROOTS[0], 33)],
        [(ROOTS[0], 2**255)],
    ],
)
def test_finalisations_that_cannot_be(world: World, roots: list[tuple[bytes, int]]) -> None:
    """Zero roots, mixed depths, a root twice, no depth or one that no leaf index has."""
    for root, depth in roots:
        topics = [contracts.ROOT_ADDED, root, word(depth)]
        world.l1.emit(ROLLUP, topics, block=9, tx=1)
    world.l1.emit(ROLLUP, [contracts.BLOCK_ANCHORED, word(7)], block=9, tx=1)
    with pytest.raises(BadChainData):
        world.adapter.decode(world.l1.past)


def test_a_block_number_that_cannot_be(world: World) -> None:
    """A gate must not be raised to infinity."""
    topics = [contracts.ROOT_ADDED, ROOTS[0], word(5)]
    world.l1.emit(ROLLUP, topics, block=9, tx=1)
    world.l1.emit(ROLLUP, [contracts.BLOCK_ANCHORED, word(2**255)], block=9, tx=1)
    with pytest.raises(BadChainData):
        world.adapter.decode(world.l1.past)


@pytest.mark.parametrize(
    ("topic", "topics", "data"),
    [
        (contracts.MESSAGE_CLAIMED, [], b""),
        (contracts.MESSAGE_CLAIMED, [ROOTS[0]], b"\1"),
        (contracts.ROOT_ADDED, [ROOTS[0]], b""),
        (contracts.BLOCK_ANCHORED, [], word(1)),
    ],
)
def test_misshapen_logs_on_l1(world: World, topic: bytes, topics: list[bytes], data: bytes) -> None:
    """Too few topics, or data where there are none."""
    log = world.l1.emit(ROLLUP, [topic, *topics], data, block=9, tx=1)
    with pytest.raises(BadChainData):
        world.adapter.decode([log])


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ([], b""),
        ([], encode(["bytes32[]"], [ROOTS])[:-1]),
        ([], encode(["bytes32[]"], [ROOTS]) + bytes(32)),
        ([], word(64) + word(0)),
        ([], word(32) + word(2**255)),
        ([ROOTS[0]], encode(["bytes32[]"], [ROOTS])),
    ],
)
def test_misshapen_anchorings(world: World, topics: list[bytes], data: bytes) -> None:
    """A count that the data do not hold, of any size, costs nothing."""
    log = world.l2.emit(SERVICE, [contracts.HASHES_ADDED, *topics], data, block=9, tx=1)
    with pytest.raises(BadChainData):
        world.adapter.decode([log])


def test_roots_alone_are_no_finalisation() -> None:
    """Without a block there is nothing to wait for."""
    world = World()
    topics = [contracts.ROOT_ADDED, ROOTS[0], word(5)]
    log = world.l1.emit(ROLLUP, topics, block=9, tx=1)
    assert read_finalisations([log]) == []
    assert world.adapter.decode([log]) == []
