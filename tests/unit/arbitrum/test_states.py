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
from relayer.protocols.arbitrum.states import MOST_KEPT, SendState, SendStates
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


def answer_tree_state(chain: NodeChain, answer: bytes) -> None:
    chain.methods["eth_call"] = lambda _: "0x" + answer.hex()


async def test_fields_that_nitro_adds_are_read_first() -> None:
    """`sendCount` and `sendRoot` of the block are enough: nothing else is asked."""
    chain, header = node_with(sendCount="0x48e", sendRoot="0x" + ROOT.hex())
    assert await SendStates(chain).at(header.hash) == STATE
    assert chain.asked == []


async def test_without_them_the_header_itself_says_it() -> None:
    """A provider that strips the fields leaves `extraData` and `mixHash`."""
    chain, header = node_with(**SEAL)
    assert await SendStates(chain).at(header.hash) == STATE
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
    assert await SendStates(chain).at(header.hash) == STATE
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
        await SendStates(chain).at(header.hash)


@pytest.mark.parametrize("answer", ["0x", "0x1", None, 7, "0x" + "00" * 127])
async def test_nonsense_of_arb_sys_is_bad_chain_data(answer: object) -> None:
    """An endpoint of another chain answers nothing at 0x64."""
    chain, header = node_with()
    chain.methods["eth_call"] = lambda _: answer
    with pytest.raises(BadChainData):
        await SendStates(chain).at(header.hash)


async def test_a_block_is_asked_for_once_and_memory_is_bounded() -> None:
    """A block's state never changes, so it is kept; the oldest go first."""
    chain, _ = node_with()
    headers = [
        chain.add_block(n, sendCount=hex(n), sendRoot="0x" + ROOT.hex())
        for n in range(MOST_KEPT + 1)
    ]
    states = SendStates(chain)
    for header in headers:
        await states.at(header.hash)
    chain.blocks.clear()
    assert (await states.at(headers[-1].hash)).count == MOST_KEPT
    assert (await states.at(headers[1].hash)).count == 1
    with pytest.raises(Exception, match="no block"):
        await states.at(headers[0].hash)
