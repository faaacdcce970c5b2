"""Logs of the messengers become facts; what is not ours, or not well formed, does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.abi import word
from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.message import (
    BlockNumber,
    DeliverySeen,
    LeafAdded,
    LogRef,
    MessageId,
    MessageSeen,
    Route,
    TreeId,
)
from relayer.protocols.op_interop import contracts
from relayer.protocols.op_interop.contracts import MESSENGER, InteropMessage
from tests.fakes import truths_of
from tests.unit.op_interop.world import BRIDGE, SENDER, TARGET, A, B, World


def relayed_log(world: World, source: int, message_hash: bytes) -> Log:
    at = LogRef(B, BlockNumber(9), world.b.hash_at(9), world.a.say(world.message()).at.tx, 0)
    topics = (contracts.RELAYED_MESSAGE, word(source), word(0), message_hash)
    return Log(MESSENGER, topics, bytes(32), at)


def test_a_sent_message_is_a_message_and_is_counted(world: World) -> None:
    """Its id is the message hash, which has chain ids in it; its leaf is the same hash."""
    sent = world.message(body=b"x" * 40)
    leaf, message = world.adapter.decode([world.a.say(sent)])
    assert isinstance(leaf, LeafAdded)
    assert (leaf.tree, leaf.index, leaf.leaf) == (TreeId("set/901"), 0, sent.hash)
    assert isinstance(message, MessageSeen)
    assert message.message.id == "0x" + sent.hash.hex()
    assert message.message.route == Route(BRIDGE, A, B)
    assert (message.message.sender, message.message.recipient) == (SENDER, TARGET)
    assert message.message.body == b"x" * 40


def test_messages_to_chains_outside_the_set_are_only_counted(world: World) -> None:
    """The messenger numbers all messages, so the count needs them; nobody carries them."""
    sent = InteropMessage(4711, A, 5, SENDER, TARGET, b"")
    facts = world.adapter.decode([world.a.say(sent)])
    assert [type(fact) for fact in facts] == [LeafAdded]


def test_nothing_is_counted_unless_asked() -> None:
    """Without `first_nonce` there is no tree; with it the count starts there."""
    plain = World({"chains": {"a": {}, "b": {}}})
    assert plain.adapter.trees() == []
    facts = plain.adapter.decode([plain.a.say(plain.message())])
    assert [type(fact) for fact in facts] == [MessageSeen]
    late = World({"chains": {"a": {"first_nonce": 3}, "b": {}}})
    logs = [late.a.say(late.message(), log_index=turn) for turn in range(5)]
    leaves = [fact for fact in late.adapter.decode(logs) if isinstance(fact, LeafAdded)]
    assert [leaf.index for leaf in leaves] == [0, 1]


def test_a_delivery_is_that_of_a_member(world: World) -> None:
    """RelayedMessage names the message; a source outside the set is none of ours."""
    digest = b"\x05" * 32
    (fact,) = world.adapter.decode([relayed_log(world, A, digest)])
    assert isinstance(fact, DeliverySeen)
    assert fact.message_id == MessageId("0x" + digest.hex())
    assert world.adapter.decode([relayed_log(world, 4711, digest)]) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda log: replace(log, topics=log.topics[:3]),
        lambda log: replace(log, data=log.data[:-1]),
        lambda log: replace(log, data=log.data + bytes(32)),
        lambda log: replace(log, data=log.data[:-1] + b"\x01"),
        lambda log: replace(log, data=b"\x01" + log.data[1:]),
        lambda log: replace(log, data=log.data[:64] + word(2**255) + log.data[96:]),
        lambda log: replace(log, topics=(*log.topics[:2], b"\xff" * 32, log.topics[3])),
        lambda log: replace(log, topics=(*log.topics[:3], word(2**239))),
    ],
)
def test_malformed_logs_are_bad_chain_data(world: World, spoil: object) -> None:
    """A log of ours in a wrong shape is refused whole."""
    log = world.a.say(world.message())
    with pytest.raises(BadChainData):
        world.adapter.decode([spoil(log)])  # type: ignore[operator]


async def test_the_count_is_the_messenger_s_own(world: World) -> None:
    """The auditor gets the nonce at a final block; a chain that cannot be read is left out."""
    world.a.nonce, world.b.nonce = 7, 2
    truths = await truths_of(world.adapter)
    assert {truth.tree: truth.size for truth in truths} == {"set/901": 7, "set/902": 2}
    assert all(truth.root is None for truth in truths)
