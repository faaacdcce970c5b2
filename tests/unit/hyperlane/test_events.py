"""Logs become facts: joined by transaction, filtered by route, refused when malformed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.message import (
    Address,
    DeliverySeen,
    Fact,
    LeafAdded,
    MessageId,
    MessageSeen,
    PaymentSeen,
)
from relayer.protocols.hyperlane.message import HyperlaneMessage
from tests.unit.hyperlane.world import (
    DESTINATION_DOMAIN,
    DESTINATION_ID,
    HOOK,
    INBOX,
    MAILBOX,
    ORIGIN_DOMAIN,
    ORIGIN_ID,
    PAYMASTER,
    RECIPIENT,
    TREE,
    World,
    message_of,
    padded,
    ref,
)


def topic(signature: str) -> bytes:
    return keccak(text=signature)


def id_of(message: HyperlaneMessage) -> MessageId:
    return MessageId("0x" + keccak(message.encode()).hex())


def number(value: int) -> bytes:
    return value.to_bytes(32, "big")


def dispatch(message: HyperlaneMessage, *, tx: int = 1) -> Log:
    topics = (
        topic("Dispatch(address,uint32,bytes32,bytes)"),
        message.sender,
        number(message.destination),
        message.recipient,
    )
    return Log(MAILBOX, topics, abi_encode(["bytes"], [message.encode()]), ref(tx=tx))


def inserted(message: HyperlaneMessage, index: int, *, tx: int = 1) -> Log:
    content = keccak(message.encode()) + number(index)
    return Log(HOOK, (topic("InsertedIntoTree(bytes32,uint32)"),), content, ref(tx=tx))


def paid(message: HyperlaneMessage, gas: int, amount: int, *, domain: int) -> Log:
    topics = (
        topic("GasPayment(bytes32,uint32,uint256,uint256)"),
        keccak(message.encode()),
        number(domain),
    )
    return Log(PAYMASTER, topics, number(gas) + number(amount), ref())


def delivered(message: HyperlaneMessage, *, origin: int = ORIGIN_DOMAIN) -> list[Log]:
    at = ref(chain=DESTINATION_ID)
    process = (
        topic("Process(uint32,bytes32,address)"),
        number(origin),
        message.sender,
        padded(RECIPIENT),
    )
    process_id = (topic("ProcessId(bytes32)"), keccak(message.encode()))
    return [Log(INBOX, process, b"", at), Log(INBOX, process_id, b"", at)]


def kinds(facts: list[Fact]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def test_one_dispatch(world: World) -> None:
    """Dispatch, leaf and payments of one transaction become three facts, joined by the id."""
    message = message_of(7)
    logs = [
        dispatch(message),
        inserted(message, 41),
        paid(message, 125_000, 10**15, domain=DESTINATION_DOMAIN),
    ]
    facts = world.adapter.decode(logs)
    assert kinds(facts) == ["LeafAdded", "MessageSeen", "PaymentSeen"]
    leaf, seen, payment = facts
    assert isinstance(leaf, LeafAdded)
    assert isinstance(seen, MessageSeen)
    assert isinstance(payment, PaymentSeen)
    assert (leaf.tree, leaf.index, leaf.leaf) == (TREE, 41, keccak(message.encode()))
    assert seen.message.id == payment.message_id == id_of(message)
    assert (seen.message.tree, seen.message.leaf_index) == (TREE, 41)
    assert seen.message.payload == message.encode()
    assert seen.message.body == b"hi"
    assert str(seen.message.route) == f"hyper:{ORIGIN_ID}>{DESTINATION_ID}"
    assert (payment.gas, payment.amount, payment.destination) == (125_000, 10**15, DESTINATION_ID)


def test_every_leaf_counts_even_of_other_routes(world: World) -> None:
    """Messages elsewhere are no messages of ours, but their leaves are leaves of the tree."""
    mine, other = message_of(1), replace(message_of(2), destination=999)
    logs = [
        dispatch(other),
        inserted(other, 0),
        paid(other, 1, 1, domain=999),
        dispatch(mine, tx=2),
        inserted(mine, 1, tx=2),
    ]
    facts = world.adapter.decode(logs)
    assert kinds(facts) == ["LeafAdded", "LeafAdded", "MessageSeen"]


def test_two_dispatches_of_one_transaction(world: World) -> None:
    """Each message finds its own leaf."""
    one, two = message_of(1), message_of(2)
    logs = [dispatch(one), inserted(one, 8), dispatch(two), inserted(two, 9)]
    seen = [f.message for f in world.adapter.decode(logs) if isinstance(f, MessageSeen)]
    assert [(m.id, m.leaf_index) for m in seen] == [(id_of(one), 8), (id_of(two), 9)]


def test_a_message_inserted_twice_has_its_first_leaf(world: World) -> None:
    """Both insertions are leaves; the message is proved by the first."""
    message = message_of(1)
    facts = world.adapter.decode([dispatch(message), inserted(message, 3), inserted(message, 4)])
    assert kinds(facts) == ["LeafAdded", "LeafAdded", "MessageSeen"]
    assert isinstance(facts[2], MessageSeen)
    assert facts[2].message.leaf_index == 3


def test_a_dispatch_without_the_hook_has_no_leaf(world: World) -> None:
    """It is a message all the same (a null ISM needs no leaf)."""
    (fact,) = world.adapter.decode([dispatch(message_of(1))])
    assert isinstance(fact, MessageSeen)
    assert (fact.message.tree, fact.message.leaf_index) == (None, None)


@pytest.mark.parametrize("change", [{"version": 2}, {"origin": 5}])
def test_foreign_dispatches_are_skipped_but_their_leaf_is_kept(
    world: World, change: dict[str, int]
) -> None:
    """An unknown version or a wrong origin domain is no message; the tree does not mind."""
    message = replace(message_of(1), **change)  # type: ignore[arg-type]
    facts = world.adapter.decode([dispatch(message), inserted(message, 0)])
    assert kinds(facts) == ["LeafAdded"]


def test_a_chain_that_no_route_leaves_from_has_no_leaves(world: World) -> None:
    """Nobody keeps its tree: its leaves would stop the follower that is to see deliveries there."""
    log = inserted(message_of(1), 0)
    there = replace(log, address=Address("0x" + "b2" * 20), at=ref(chain=DESTINATION_ID))
    assert world.adapter.decode([there]) == []
    assert {spec.id for spec in world.adapter.trees()} == {TREE}


def test_deliveries_of_configured_origins(world: World) -> None:
    """A ProcessId counts when the Process before it names an origin of ours."""
    mine, other = message_of(1), message_of(2)
    logs = [*delivered(other, origin=999), *delivered(mine)]
    (fact,) = world.adapter.decode(logs)
    assert isinstance(fact, DeliverySeen)
    assert fact.message_id == id_of(mine)
    assert fact.at.chain == DESTINATION_ID


def test_payments_of_unknown_paymasters_do_not_count(world: World) -> None:
    """Only the configured paymasters are believed."""
    log = paid(message_of(1), 1, 1, domain=DESTINATION_DOMAIN)
    assert world.adapter.decode([replace(log, address=Address("0x" + "99" * 20))]) == []


def test_the_same_events_of_other_contracts_are_not_ours(world: World) -> None:
    """Anybody can emit our topics."""
    message = message_of(1)
    stranger = Address("0x" + "99" * 20)
    logs = [dispatch(message), inserted(message, 0), *delivered(message)[1:]]
    assert world.adapter.decode([replace(log, address=stranger) for log in logs]) == []


def malformed() -> list[Log]:
    message = message_of(1)
    sent, leaf = dispatch(message), inserted(message, 0)
    payment = paid(message, 1, 1, domain=DESTINATION_DOMAIN)
    return [
        replace(sent, data=b""),
        replace(sent, data=sent.data[:64]),
        replace(sent, data=number(64) + sent.data[32:]),
        replace(sent, data=number(32) + number(2**255) + sent.data[64:]),
        replace(sent, data=abi_encode(["bytes"], [b"short"])),
        replace(sent, topics=sent.topics[:3]),
        replace(sent, topics=(sent.topics[0], bytes(32), *sent.topics[2:])),
        replace(leaf, data=leaf.data[:63]),
        replace(leaf, data=leaf.data[:32] + number(2**32)),
        replace(leaf, topics=(*leaf.topics, bytes(32))),
        replace(payment, data=payment.data + b"\x00"),
        replace(payment, topics=payment.topics[:2]),
    ]


@pytest.mark.parametrize("log", malformed(), ids=lambda log: str(len(log.data)))
def test_malformed_logs_are_refused(world: World, log: Log) -> None:
    """A log of our contracts in a wrong shape is bad chain data, never half a fact."""
    with pytest.raises(BadChainData):
        world.adapter.decode([log])


def test_a_delivery_without_its_process_is_refused(world: World) -> None:
    """ProcessId alone does not say from where the message came."""
    process, process_id = delivered(message_of(1))
    elsewhere = replace(process, at=ref(chain=DESTINATION_ID, tx=2))
    for logs in ([process_id], [elsewhere, process_id], [process, process_id, process_id]):
        with pytest.raises(BadChainData):
            world.adapter.decode(logs)
