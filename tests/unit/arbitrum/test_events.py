"""Logs become facts: leaves and messages, roots, deliveries; misshapen ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from relayer.adapter import Log
from relayer.devnet.artefacts import encode_call
from relayer.errors import BadChainData
from relayer.message import DeliverySeen, LeafAdded, MessageSeen, RootSeen
from relayer.protocols.arbitrum.contracts import execute_call
from relayer.protocols.arbitrum.message import message_id
from relayer.trees import append_only
from tests.unit.arbitrum.world import (
    ACCEPTED,
    ARB_SYS,
    CHILD,
    OUTBOX,
    PARENT,
    RECIPIENT,
    SENDER,
    TREE,
    World,
    executed_log,
    packed_send,
    ref,
    sent_log,
    updated_log,
    word,
)

FIXTURE = Path(__file__).parents[2] / "fixtures" / "arbitrum_withdrawals.json"
CASES = json.loads(FIXTURE.read_text())["cases"]
"""Source: test cases of OffchainLabs' nitro contracts, withdrawals of a public Nitro testnet."""
ITEMS = {
    1075: "a98d58e8c23eb8195fcf28ee1ce319a6d194b3483d3368c93e823aa898345229",
    1165: "ad365345",
}
ROOT, BLOCK = keccak(b"root"), "0x" + keccak(b"child block").hex()


def packed_of(case: dict[str, Any]) -> bytes:
    numbers = [int(case[key]) for key in ("l2Block", "l1Block", "l2Timestamp", "value")]
    payload = bytes.fromhex(case["data"][2:])
    return packed_send(
        sender=case["l2Sender"], recipient=case["to"], numbers=numbers, payload=payload
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["index"]))
def test_golden_withdrawals_lead_to_their_confirmed_root(case: dict[str, Any]) -> None:
    """Item and leaf of real withdrawals are what the public test data say, zero nodes included."""
    log = sent_log(case["index"], packed_of(case))
    leaf, seen = World().adapter.decode([log])
    assert isinstance(leaf, LeafAdded)
    assert isinstance(seen, MessageSeen)
    assert seen.message.extra["item"].startswith("0x" + ITEMS[case["index"]])
    siblings = [bytes.fromhex(one[2:]) for one in case["proof"]]
    assert bytes(32) in siblings
    root = append_only.root_from_proof(leaf.leaf, case["index"], siblings)
    assert "0x" + root.hex() == case["root"]


@pytest.mark.parametrize("payload", [b"", b"x", b"y" * 32, b"z" * 33])
def test_a_send_is_a_leaf_and_a_message(payload: bytes) -> None:
    """One L2ToL1Tx gives the leaf, hashed twice, and all that is needed to deliver it."""
    packed = packed_send(payload=payload)
    leaf, seen = World().adapter.decode([sent_log(6, packed)])
    assert leaf == LeafAdded(TREE, 6, keccak(keccak(packed)), ref(CHILD))
    assert isinstance(seen, MessageSeen)
    message = seen.message
    assert message.id == message_id(PARENT, OUTBOX, CHILD, 6)
    assert (message.route.origin, message.route.destination) == (CHILD, PARENT)
    assert (message.sender, message.recipient) == (SENDER, RECIPIENT)
    assert (message.nonce, message.leaf_index, message.tree) == (6, 6, TREE)
    assert (message.body, message.payload) == (payload, packed)
    assert message.extra == {
        "item": "0x" + keccak(packed).hex(),
        "l2_block": "100",
        "l1_block": "90",
        "l2_timestamp": "1700000000",
        "value": "7",
    }


def test_an_id_names_the_leaf_of_one_outbox() -> None:
    """Another chain, outbox or position is another id; the delivery's own event gives the same."""
    other = OUTBOX[:-1] + "1"
    ids = {
        message_id(PARENT, OUTBOX, CHILD, 6),
        message_id(PARENT, OUTBOX, CHILD, 7),
        message_id(CHILD, OUTBOX, PARENT, 6),
        message_id(PARENT, type(OUTBOX)(other), CHILD, 6),
    }
    assert len(ids) == 4
    (delivery,) = World().adapter.decode([executed_log(6)])
    assert delivery == DeliverySeen(message_id(PARENT, OUTBOX, CHILD, 6), ref(PARENT))


def test_roots_are_ordered_by_their_place_in_the_chain() -> None:
    """A later log has a higher level, in the same block and in the next."""
    places = [(5, 3), (5, 4), (6, 0), (2**33 - 1, 2**20 - 1)]
    logs = [updated_log(ROOT, BLOCK, block=block, log_index=index) for block, index in places]
    facts = World().adapter.decode(logs)
    levels = [fact.level for fact in facts if isinstance(fact, RootSeen)]
    assert len(levels) == len(places)
    assert levels == sorted(set(levels))
    assert max(levels) < 2**53
    first = facts[0]
    assert isinstance(first, RootSeen)
    assert (first.gate, first.root, first.extra) == (ACCEPTED, ROOT, {"child_block": BLOCK})


@pytest.mark.parametrize(("root", "block"), [(bytes(32), BLOCK), (ROOT, "0x" + "00" * 32)])
def test_the_root_of_an_empty_tree_is_no_root(root: bytes, block: str) -> None:
    """A rollup that starts announces the zero word: no error, and nothing to prove against."""
    assert World().adapter.decode([updated_log(root, block)]) == []


def test_each_event_counts_on_its_own_chain_only() -> None:
    """The parent may be an Arbitrum chain too, and the child may have an outbox of its own."""
    sent, updated, executed = sent_log(0), updated_log(ROOT, BLOCK), executed_log(0)
    swapped = [
        replace(sent, at=ref(PARENT)),
        replace(updated, at=ref(CHILD)),
        replace(executed, at=ref(CHILD)),
        replace(sent, address=OUTBOX),
        replace(executed, address=ARB_SYS),
    ]
    assert World().adapter.decode(swapped) == []


def cut(log: Log, size: int) -> Log:
    return replace(log, data=log.data[:size])


def topics_of(log: Log, **changed: bytes) -> Log:
    topics = list(log.topics)
    for place, topic in changed.items():
        topics[int(place[1:])] = topic
    return replace(log, topics=tuple(topics))


SEND, UPDATE, DELIVERY = sent_log(3), updated_log(ROOT, BLOCK), executed_log(3)


@pytest.mark.parametrize(
    "log",
    [
        cut(SEND, 223),
        cut(SEND, 224),
        cut(SEND, 0),
        replace(SEND, topics=SEND.topics[:3]),
        replace(SEND, data=SEND.data[:160] + word(193) + SEND.data[192:]),
        replace(SEND, data=SEND.data[:192] + word(2**255) + SEND.data[224:]),
        replace(SEND, data=b"\x01" + SEND.data[1:]),
        replace(SEND, data=SEND.data[:32] + word(101) + SEND.data[64:]),
        topics_of(SEND, t1=b"\x01" * 32),
        topics_of(SEND, t2=keccak(b"another item")),
        topics_of(SEND, t3=word(2**48)),
        topics_of(SEND, t3=word(2**256 - 1)),
        replace(UPDATE, topics=UPDATE.topics[:2]),
        replace(UPDATE, data=b"\x00"),
        replace(UPDATE, at=ref(PARENT, log_index=2**20)),
        replace(UPDATE, at=ref(PARENT, block=2**33)),
        cut(DELIVERY, 31),
        replace(DELIVERY, topics=DELIVERY.topics[:3]),
        topics_of(DELIVERY, t3=word(1)),
        replace(DELIVERY, data=word(2**48)),
    ],
)
def test_misshapen_logs_of_ours_are_bad_chain_data(log: Log) -> None:
    """A log that our contracts cannot have written is refused, whatever is wrong with it."""
    with pytest.raises(BadChainData):
        World().adapter.decode([log])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["index"]))
def test_the_call_is_what_an_abi_codec_writes(case: dict[str, Any]) -> None:
    """The hand-written `executeTransaction` equals the generic encoding, with and without data."""
    proof = [bytes.fromhex(one[2:]) for one in case["proof"]]
    for payload in (b"", b"q" * 31, b"r" * 32, b"s" * 100):
        packed = packed_of({**case, "data": "0x" + payload.hex()})
        keys = ("index", "l2Sender", "to", "l2Block", "l1Block", "l2Timestamp", "value")
        plain = [case[key] if str(case[key]).startswith("0x") else int(case[key]) for key in keys]
        types = "bytes32[],uint256,address,address,uint256,uint256,uint256,uint256,bytes"
        expected = encode_call(f"executeTransaction({types})", [proof, *plain, payload])
        assert execute_call(proof, case["index"], send=packed) == expected
