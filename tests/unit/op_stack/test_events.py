"""What logs say, and what garbage among them does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.abi import address_word, word
from relayer.adapter import Log
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import DeliverySeen, LeafAdded, MessageId, MessageSeen, ProgressSeen, RootSeen
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import Withdrawal
from tests.unit.op_stack.world import (
    L1_ID,
    RIVAL,
    ROOTS,
    SENDER,
    TARGET,
    World,
    at,
    finalized_log,
    messenger_log,
    passed_log,
    portal_log,
    relayed,
    withdrawal,
)

RELAYED, FAILED = contracts.RELAYED_MESSAGE, contracts.FAILED_RELAYED_MESSAGE


def id_of(one: Withdrawal) -> MessageId:
    return MessageId("0x" + one.hash.hex())


def inbox_id_of(one: Withdrawal) -> MessageId:
    return MessageId("0x" + keccak256(one.data).hex())


def deliveries(world: World, *logs: Log) -> list[MessageId]:
    facts = world.adapter.decode(logs)
    return [fact.message_id for fact in facts if isinstance(fact, DeliverySeen)]


def progress(world: World, *logs: Log) -> list[tuple[MessageId, str]]:
    facts = world.adapter.decode(logs)
    return [(fact.message_id, fact.what) for fact in facts if isinstance(fact, ProgressSeen)]


# --- the rollup ----------------------------------------------------------------------------------


def test_several_withdrawals_of_one_transaction(games: World) -> None:
    """Each has its own id, its place in the count, and the sender and target that users know."""
    plain, carried = withdrawal(0, value=7), relayed(1, body=b"inner")
    facts = games.adapter.decode([passed_log(plain), passed_log(carried)])
    leaves = [fact for fact in facts if isinstance(fact, LeafAdded)]
    assert [(leaf.index, leaf.leaf) for leaf in leaves] == [(0, plain.hash), (1, carried.hash)]
    one, two = (fact.message for fact in facts if isinstance(fact, MessageSeen))
    assert (one.id, two.id) == (id_of(plain), id_of(carried))
    assert (one.sender, one.recipient) == (two.sender, two.recipient) == (SENDER, TARGET)
    assert (one.body, two.body) == (b"hello", b"inner")
    assert (one.inbox_id, two.inbox_id) == (None, inbox_id_of(carried))
    assert (one.nonce, one.extra["value"]) == (0, "7")


def test_a_hash_that_is_not_the_fields_is_refused(games: World) -> None:
    """The log's own hash is recomputed, never believed."""
    log = passed_log(withdrawal(0))
    forged = replace(log, data=log.data[:96] + b"\x01" * 32 + log.data[128:])
    with pytest.raises(BadChainData, match="another hash"):
        games.adapter.decode([forged])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda log: replace(log, data=log.data[:-32]),
        lambda log: replace(log, data=log.data + bytes(32)),
        lambda log: replace(log, data=b""),
        lambda log: replace(log, topics=log.topics[:3]),
        lambda log: replace(log, topics=(*log.topics[:2], b"\xff" * 32, log.topics[3])),
        lambda log: replace(log, data=log.data[:64] + word(96) + log.data[96:]),
        lambda log: replace(log, data=log.data[:128] + word(2**255) + log.data[160:]),
    ],
)
def test_misshapen_withdrawals_are_refused(games: World, spoil: object) -> None:
    """Whatever is cut, added or moved."""
    assert callable(spoil)
    with pytest.raises(BadChainData):
        games.adapter.decode([spoil(passed_log(withdrawal(0)))])


def test_an_impossible_nonce_is_refused(games: World) -> None:
    """A number that cannot be counted to is no number of a withdrawal."""
    with pytest.raises(BadChainData, match="impossible nonce"):
        games.adapter.decode([passed_log(withdrawal(2**60))])


# --- layer 1 --------------------------------------------------------------------------------------


def test_proofs_are_progress(games: World) -> None:
    """Anybody's proof wakes the message."""
    one = withdrawal(0)
    log = portal_log(contracts.WITHDRAWAL_PROVEN, one.hash, word(1), word(2))
    assert progress(games, log) == [(id_of(one), "proved")]


def test_a_plain_withdrawal_is_delivered_when_its_call_succeeds(games: World) -> None:
    """And only then: success=false is told as what it is."""
    one = withdrawal(0)
    assert deliveries(games, finalized_log(one, success=True)) == [id_of(one)]
    failed = finalized_log(one, success=False)
    assert deliveries(games, failed) == []
    assert progress(games, failed) == [(id_of(one), "finalised at the portal, success=false")]


def test_a_relay_that_failed_within_a_finalisation_is_no_delivery(games: World) -> None:
    """The portal says success=true all the same: the messenger's word before it counts."""
    one = relayed(0)
    logs = [messenger_log(FAILED, one), finalized_log(one, success=True)]
    assert deliveries(games, *logs) == []
    assert [message_id for message_id, _ in progress(games, *logs)] == [
        inbox_id_of(one),
        id_of(one),
    ]


def test_a_relay_that_succeeded_is_a_delivery_under_both_names(games: World) -> None:
    """The messenger's name is what a replay tells, the portal's is the message's id."""
    one = relayed(0)
    logs = [messenger_log(RELAYED, one), finalized_log(one, success=True)]
    assert deliveries(games, *logs) == [inbox_id_of(one), id_of(one)]
    assert deliveries(games, messenger_log(RELAYED, one)) == [inbox_id_of(one)]


def test_the_messengers_word_counts_for_the_next_finalisation_only(games: World) -> None:
    """Not for the one after it, and not in another transaction."""
    failed, plain = relayed(0), withdrawal(1)
    pack = [
        messenger_log(FAILED, failed),
        finalized_log(failed, success=True),
        finalized_log(plain, success=True),
    ]
    assert deliveries(games, *pack) == [id_of(plain)]
    apart = [messenger_log(FAILED, failed), finalized_log(plain, success=True, tx=2)]
    assert deliveries(games, *apart) == [id_of(plain)]


def test_new_roots_are_told(outputs: World, games: World) -> None:
    """Outputs by their index, games by their place on the chain; zero roots are none."""
    root = b"\x05" * 32
    topics = (contracts.OUTPUT_PROPOSED, root, word(4), word(400))
    log = Log(ROOTS, topics, word(1), at(L1_ID))
    (fact,) = outputs.adapter.decode([log])
    assert isinstance(fact, RootSeen)
    assert (fact.level, fact.root, fact.gate.name) == (4, root, "outputs")
    topics = (contracts.GAME_CREATED, address_word(RIVAL), word(1), root)
    log = Log(ROOTS, topics, b"", at(L1_ID, block=3, log_index=2))
    (fact,) = games.adapter.decode([log])
    assert isinstance(fact, RootSeen)
    assert (fact.level, fact.extra["game"]) == (3 * 2**16 + 2, RIVAL)
    zero = replace(log, topics=(*log.topics[:3], bytes(32)))
    assert games.adapter.decode([zero]) == []


@pytest.mark.parametrize(
    "log",
    [
        portal_log(contracts.WITHDRAWAL_PROVEN, bytes(32)),
        portal_log(contracts.WITHDRAWAL_FINALIZED, bytes(32)),
        portal_log(contracts.WITHDRAWAL_FINALIZED, bytes(32), data=word(2)),
        Log(ROOTS, (contracts.GAME_CREATED, word(1), word(1)), b"", at(L1_ID)),
        Log(ROOTS, (contracts.GAME_CREATED, b"\xff" * 32, word(1), word(1)), b"", at(L1_ID)),
    ],
)
def test_misshapen_words_of_layer_1_are_refused(games: World, log: Log) -> None:
    """Nothing is half believed."""
    with pytest.raises(BadChainData):
        games.adapter.decode([log])
