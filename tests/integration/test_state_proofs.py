"""State proofs of a real node: taken whole, refused when anything in them is changed."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from relayer.devnet.anvil import Anvil
from relayer.errors import BadChainData
from relayer.trees.state_proof import EMPTY_CODE, EMPTY_ROOT, prove_account, prove_slot
from tests.unit.changed_proofs import changed

pytestmark = pytest.mark.chain

HOLDER = "0x" + "a1" * 20
STRANGER = "0x" + "b2" * 20
FILLED = 200
MUTATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Told:
    """What the node says of an account and some of its slots."""

    state_root: bytes
    account: list[bytes]
    slots: list[list[bytes]]


def slot_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def told(node: Anvil, address: str, slots: list[int]) -> Told:
    """`eth_getProof` and the header's root, at the newest block."""
    block = await node.rpc.call("eth_getBlockByNumber", "latest", False)
    keys = ["0x" + slot_of(number).hex() for number in slots]
    answer = await node.rpc.call("eth_getProof", address, keys, block["number"])
    return Told(
        bytes.fromhex(block["stateRoot"][2:]),
        [bytes.fromhex(one[2:]) for one in answer["accountProof"]],
        [[bytes.fromhex(one[2:]) for one in slot["proof"]] for slot in answer["storageProof"]],
    )


@pytest.fixture
async def filled(node: Anvil) -> Anvil:
    """A chain with an account that keeps the number n + 1 in each slot n."""
    await node.rpc.call("anvil_setCode", HOLDER, "0x00")
    for number in range(FILLED):
        key, value = slot_of(number), slot_of(number + 1)
        await node.rpc.call("anvil_setStorageAt", HOLDER, "0x" + key.hex(), "0x" + value.hex())
    await node.mine()
    return node


async def test_a_nodes_own_proofs_hold(filled: Anvil) -> None:
    """Slots that are set have their values, one that is not is proved empty."""
    numbers = [0, 1, 7, FILLED - 1, FILLED]
    said = await told(filled, HOLDER, numbers)
    account = prove_account(said.state_root, bytes.fromhex(HOLDER[2:]), said.account)
    assert account.code_hash != EMPTY_CODE
    for number, nodes in zip(numbers, said.slots, strict=True):
        value, proved = prove_slot(account.storage_root, slot_of(number), nodes)
        assert value == (0 if number == FILLED else number + 1)
        assert proved.nodes


async def test_an_account_that_is_not_there_is_proved_empty(filled: Anvil) -> None:
    """Absence is a fact too, and its storage is empty."""
    said = await told(filled, STRANGER, [3])
    account = prove_account(said.state_root, bytes.fromhex(STRANGER[2:]), said.account)
    assert (account.balance, account.storage_root) == (0, EMPTY_ROOT)
    assert prove_slot(account.storage_root, slot_of(3), [])[0] == 0


async def test_a_proof_of_something_else_is_refused(filled: Anvil) -> None:
    """Another account's, another slot's or another block's proof proves nothing here."""
    said = await told(filled, HOLDER, [1, 2])
    holder = bytes.fromhex(HOLDER[2:])
    account = prove_account(said.state_root, holder, said.account)
    with pytest.raises(BadChainData):
        prove_account(said.state_root, bytes.fromhex(STRANGER[2:]), said.account)
    with pytest.raises(BadChainData):
        prove_slot(account.storage_root, slot_of(1), said.slots[1])
    await filled.rpc.call(
        "anvil_setStorageAt", HOLDER, "0x" + slot_of(1).hex(), "0x" + slot_of(9).hex()
    )
    await filled.mine()
    later = await told(filled, HOLDER, [1])
    with pytest.raises(BadChainData):
        prove_account(later.state_root, holder, said.account)
    with pytest.raises(BadChainData):
        prove_slot(account.storage_root, slot_of(1), later.slots[0])


async def test_no_changed_proof_is_taken_for_another_value(filled: Anvil) -> None:
    """Ten thousand changes of bytes, of lengths and of order: refused, or nothing was changed."""
    said = await told(filled, HOLDER, [5])
    account = prove_account(said.state_root, bytes.fromhex(HOLDER[2:]), said.account)
    (whole,) = said.slots
    rng = random.Random(20)
    taken = 0
    for _ in range(MUTATIONS):
        nodes = changed(whole, rng)
        if nodes == whole:
            continue
        try:
            prove_slot(account.storage_root, slot_of(5), nodes)
        except BadChainData:
            continue
        taken += 1
    assert taken == 0
