"""Logs become facts, and lies become errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.abi import word
from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import (
    DeliverySeen,
    LeafAdded,
    Message,
    MessageId,
    MessageSeen,
    ProgressSeen,
    RootSeen,
    Route,
)
from relayer.protocols.scroll import contracts
from tests.unit.scroll.world import (
    BATCHES,
    BRIDGE,
    L1_ID,
    L1_MESSENGER,
    L2_ID,
    L2_MESSENGER,
    TREE,
    World,
    append_log,
    at,
    finalize_log,
    logs_of,
    sent_log,
    withdrawal,
)

ONE = withdrawal(7, body=b"x" * 33, value=12)


def relayed_log(topic: bytes, leaf: bytes) -> Log:
    return Log(L1_MESSENGER, (topic, leaf), b"", at(L1_ID))


def test_a_message_and_its_leaf(world: World) -> None:
    """The message id is the leaf; nonce and leaf index are one number."""
    leaf, message = world.adapter.decode(logs_of(ONE))
    digest = keccak256(ONE.encode())
    assert leaf == LeafAdded(TREE, 7, digest, at(L2_ID))
    assert isinstance(message, MessageSeen)
    assert message.message == Message(
        id=MessageId("0x" + digest.hex()),
        route=Route(BRIDGE, L2_ID, L1_ID),
        sender=ONE.sender,
        recipient=ONE.target,
        nonce=7,
        body=ONE.body,
        payload=ONE.encode(),
        at=at(L2_ID),
        tree=TREE,
        leaf_index=7,
        extra={"value": "12"},
    )


def test_two_messages_in_one_transaction(world: World) -> None:
    """Each message finds its own leaf, in whatever order the logs come."""
    two = withdrawal(8)
    logs = [*logs_of(two), *logs_of(ONE)]
    facts = world.adapter.decode(logs)
    assert [fact.index for fact in facts if isinstance(fact, LeafAdded)] == [8, 7]
    assert [f.message.nonce for f in facts if isinstance(f, MessageSeen)] == [8, 7]


def test_a_leaf_of_another_sender_is_a_leaf(world: World) -> None:
    """The tree needs every leaf of the queue, whoever appended it."""
    (leaf,) = world.adapter.decode([append_log(0, b"\x05" * 32)])
    assert isinstance(leaf, LeafAdded)


def lied_about() -> dict[str, list[Log]]:
    append, sent = logs_of(ONE)
    return {
        "no leaf": [sent],
        "leaf in another transaction": [append_log(7, append.data[32:], tx=2), sent],
        "another hash": [append_log(7, b"\x05" * 32), sent],
        "another number": [append_log(6, append.data[32:]), sent],
        "two leaves with one number": [append, append_log(7, b"\x05" * 32)],
        "zero leaf": [append_log(7, bytes(32))],
        "index beyond the tree": [append_log(2**40, b"\x05" * 32)],
        "leaf cut short": [replace(append, data=append.data[:63])],
        "leaf with topics": [replace(append, topics=(*append.topics, bytes(32)))],
        "message cut short": [append, replace(sent, data=sent.data[:-32])],
        "message too long": [append, replace(sent, data=sent.data + bytes(32))],
        "message without a target": [append, replace(sent, topics=sent.topics[:2])],
        "dirty address": [append, replace(sent, topics=(*sent.topics[:2], b"\x01" * 32))],
        "another offset": [append, replace(sent, data=sent.data[:96] + word(64) + sent.data[128:])],
        "boundless size": [append, replace(sent, data=sent.data[:128] + word(2**256 - 1))],
    }


@pytest.mark.parametrize("name", lied_about())
def test_lies_of_the_origin(world: World, name: str) -> None:
    """A log of ours in a wrong shape, or two that contradict each other, are an error."""
    with pytest.raises(BadChainData):
        world.adapter.decode(lied_about()[name])


def test_a_root_is_known_by_its_batch(world: World) -> None:
    """The level of a root is the batch that it is stored under."""
    log = finalize_log(41, b"\x0a" * 32)
    assert world.adapter.decode([log]) == [RootSeen(BATCHES, 41, b"\x0a" * 32, log.at)]


def test_zero_roots_are_skipped(world: World) -> None:
    """Before the first message batches have a zero root; nothing can be proved by it."""
    assert world.adapter.decode([finalize_log(1, bytes(32))]) == []


def test_a_failed_try_is_progress_and_no_delivery(world: World) -> None:
    """Only RelayedMessage is delivery."""
    leaf = b"\x0d" * 32
    failed = relayed_log(contracts.FAILED_RELAYED_MESSAGE, leaf)
    (progress,) = world.adapter.decode([failed])
    assert isinstance(progress, ProgressSeen)
    assert (progress.message_id, progress.destination) == ("0x" + leaf.hex(), L1_ID)
    assert at(L1_ID).tx in progress.what
    done = relayed_log(contracts.RELAYED_MESSAGE, leaf)
    assert world.adapter.decode([done]) == [DeliverySeen(MessageId("0x" + leaf.hex()), done.at)]


@pytest.mark.parametrize(
    "log",
    [
        finalize_log(2**53, b"\x0a" * 32),
        replace(finalize_log(1, b"\x0a" * 32), data=b"\x0a" * 63),
        replace(finalize_log(1, b"\x0a" * 32), topics=(contracts.FINALIZE_BATCH, word(1))),
        Log(L1_MESSENGER, (contracts.RELAYED_MESSAGE,), bytes(32), at(L1_ID)),
        Log(L1_MESSENGER, (contracts.RELAYED_MESSAGE, bytes(32)), b"x", at(L1_ID)),
    ],
)
def test_lies_of_the_destination(world: World, log: Log) -> None:
    """Impossible batches and misshapen deliveries are errors."""
    with pytest.raises(BadChainData):
        world.adapter.decode([log])


def test_names_that_others_share_are_not_ours(world: World) -> None:
    """The messengers of both layers emit SentMessage and RelayedMessage; the address decides."""
    stray = replace(sent_log(ONE), address=L1_MESSENGER)
    back = Log(L2_MESSENGER, (contracts.RELAYED_MESSAGE, b"\x01" * 32), b"", at(L2_ID))
    wrong = replace(finalize_log(1, b"\x0a" * 32), address=L1_MESSENGER)
    for log in (stray, back, wrong):
        assert world.adapter.decode([log]) == []
    assert world.adapter.decode([]) == []
