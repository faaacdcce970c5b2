"""How many messages a chain had sent at a block: three sources, and lies of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from relayer.adapter import Header
from relayer.errors import BadChainData
from relayer.message import Wei
from relayer.protocols.arbitrum.states import MOST_KEPT, UNPROVED_S, SendState, SendStates
from tests.fakes import FakeClock
from tests.unit.arbitrum.world import ARB_SYS, CHILD, TREE_STATE, NodeChain

ROOT = keccak(b"send root")
STATE = SendState(1166, ROOT)
SEAL = {
    "extraData": "0x" + ROOT.hex(),
    "mixHash": "0x" + (1166).to_bytes(8, "big").hex() + "00" * 5 + "66d4a0" + "00" * 7 + "20" * 9,
    "difficulty": "0x1",
}
"""Root; send count, parent block number and ArbOS version, 8 bytes each (`HeaderInfo`)."""


def node_with(**raw: Any) -> tuple[NodeChain, Header]:
    chain = NodeChain(CHILD)
    return chain, chain.add_block(50, **raw)


def states_of(chain: NodeChain) -> SendStates:
    return SendStates(chain, FakeClock())


def answer_tree_state(chain: NodeChain, answer: bytes) -> None:
    chain.methods["eth_call"] = lambda _: "0x" + answer.hex()


async def test_fields_that_nitro_adds_are_enough() -> None:
    """`sendCount` and `sendRoot` of the block: nothing else is asked."""
    chain, header = node_with(sendCount="0x48e", sendRoot="0x" + ROOT.hex())
    assert await states_of(chain).at(header.hash) == STATE
    assert chain.asked == []


async def test_without_them_the_header_itself_says_it() -> None:
    """A provider that strips the fields leaves `extraData` and `mixHash`."""
    chain, header = node_with(**SEAL)
    assert await states_of(chain).at(header.hash) == STATE
    assert chain.asked == []


@pytest.mark.parametrize(
    ("raw", "base_fee"),
    [
        ({}, 10**8),
        ({**SEAL, "extraData": "0x"}, 10**8),
        ({**SEAL, "extraData": "0x" + ROOT.hex() + "00"}, 10**8),
        ({**SEAL, "difficulty": "0x0"}, 10**8),
        (SEAL, None),
        (SEAL, 0),
    ],
)
async def test_a_block_that_is_no_nitro_block_is_left_to_arb_sys(
    raw: dict[str, Any], base_fee: int | None
) -> None:
    """Then ArbSys is called at that very block, as address zero."""
    chain, header = node_with(**raw)
    chain.blocks[header.hash] = replace(
        header, base_fee=None if base_fee is None else Wei(base_fee)
    )
    state = abi_encode(["uint256", "bytes32", "bytes32[]"], [1166, ROOT, [ROOT, bytes(32)]])
    answer_tree_state(chain, state)
    assert await states_of(chain).at(header.hash) == STATE
    call = {"from": "0x" + "00" * 20, "to": ARB_SYS, "data": TREE_STATE}
    assert chain.asked == [("eth_call", [call, {"blockHash": header.hash}])]


@pytest.mark.parametrize(
    "raw",
    [
        {"sendCount": "lots", "sendRoot": "0x" + "11" * 32},
        {"sendCount": 7, "sendRoot": "0x" + "11" * 32},
        {"sendCount": "0x" + "f" * 100, "sendRoot": "0x" + "11" * 32},
        {"sendCount": "0x7", "sendRoot": "0x11"},
        {"sendCount": "0x7", "sendRoot": ["0x11"]},
        {**SEAL, "mixHash": "0x1"},
        {**SEAL, "extraData": "0x" + "zz" * 32},
    ],
)
async def test_nonsense_in_a_block_is_bad_chain_data(raw: dict[str, Any]) -> None:
    """Malformed fields are refused; they are not taken for missing ones."""
    chain, header = node_with(**raw)
    with pytest.raises(BadChainData):
        await states_of(chain).at(header.hash)


@pytest.mark.parametrize("answer", ["0x", "0x1", None, 7, "0x" + "00" * 127])
async def test_nonsense_of_arb_sys_is_bad_chain_data(answer: object) -> None:
    """An endpoint of another chain answers nothing at 0x64."""
    chain, header = node_with()
    chain.methods["eth_call"] = lambda _: answer
    with pytest.raises(BadChainData):
        await states_of(chain).at(header.hash)


async def test_fields_that_contradict_the_header_are_refused() -> None:
    """The block's hash commits to its own seal; what a node adds to it may be anything."""
    chain, header = node_with(**SEAL, sendCount="0x48f", sendRoot="0x" + ROOT.hex())
    with pytest.raises(BadChainData, match="1167"):
        await states_of(chain).at(header.hash)
    chain, header = node_with(**SEAL, sendCount="0x48e", sendRoot="0x" + ROOT.hex())
    assert await states_of(chain).at(header.hash) == STATE


async def test_what_nobody_vouched_for_is_read_again() -> None:
    """One wrong answer is believed for seconds only, and not asked for at every look."""
    chain, header = node_with(sendCount="0x63", sendRoot="0x" + ROOT.hex())
    clock = FakeClock()
    states = SendStates(chain, clock)
    assert (await states.at(header.hash)).count == 99
    chain.add_block(50, sendCount="0x48e", sendRoot="0x" + ROOT.hex())
    assert (await states.at(header.hash)).count == 99
    clock.pass_s(UNPROVED_S)
    assert await states.at(header.hash) == STATE


async def test_a_proved_state_is_asked_for_once_and_memory_is_bounded() -> None:
    """A block's state never changes, so a proved one is kept; the oldest go first."""
    chain, _ = node_with()
    headers = [
        chain.add_block(n, sendCount=hex(n), sendRoot="0x" + ROOT.hex())
        for n in range(MOST_KEPT + 1)
    ]
    clock = FakeClock()
    states = SendStates(chain, clock)
    for header in headers:
        states.keep(header.hash, await states.at(header.hash))
    chain.blocks.clear()
    clock.pass_s(UNPROVED_S)
    assert (await states.at(headers[-1].hash)).count == MOST_KEPT
    assert (await states.at(headers[1].hash)).count == 1
    with pytest.raises(Exception, match="no block"):
        await states.at(headers[0].hash)
