"""Sends transactions of one funded account in order, many at a time, and mines them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from relayer.devnet.accounts import Account
from relayer.devnet.rpc import NodeRpc
from relayer.errors import CallReverted, RpcRefused
from relayer.keccak import keccak256
from relayer.message import Address

CREATION_GAS = 6_000_000
CALL_GAS = 1_000_000
POLL_S = 0.1
MINE_TRIES = 60
STALLED_ROUNDS = 3
"""Looks without progress, each after a block we made, until a transaction is sent again."""
STALLED_POLLS = 25
"""The same while blocks come by themselves, at most every second or so."""
RESCUE_FEE = 100 * 10**9
RESCUE_TIP = 10 * 10**9
RICH = hex(10**24)
"""What unlocked accounts have."""


class Deployer:
    """Queues creations and calls of an unlocked account; `flush` sends and mines them."""

    def __init__(self, rpc: NodeRpc, account: Account, nonce: int) -> None:
        self.rpc = rpc
        self.account = account
        self._nonce = nonce
        self._queue: list[dict[str, str]] = []

    @classmethod
    async def open(cls, rpc: NodeRpc, account: Account) -> Deployer:
        """Start at the account's pending nonce; nobody else may send from it meanwhile."""
        nonce = await rpc.call("eth_getTransactionCount", account.address, "pending")
        return cls(rpc, account, int(nonce, 16))

    def create(self, creation: bytes) -> Address:
        """Queue a contract creation and say where it will be."""
        address = created_address(self.account.address, self._nonce)
        self._add({"data": "0x" + creation.hex(), "gas": hex(CREATION_GAS)})
        return address

    def call(self, to: str, call_data: bytes, *, value: int = 0, gas: int = CALL_GAS) -> None:
        """Queue a call."""
        fields = {"to": to, "data": "0x" + call_data.hex(), "value": hex(value), "gas": hex(gas)}
        self._add(fields)

    async def flush(self) -> list[str]:
        """Send the queue, make blocks until all is mined; CallReverted when one failed."""
        hashes = await self.send(mine=True)
        receipts = await self.rpc.batch(
            [("eth_getTransactionReceipt", [tx_hash]) for tx_hash in hashes]
        )
        for tx_hash, receipt in zip(hashes, receipts, strict=True):
            if receipt["status"] != "0x1":
                raise CallReverted(f"transaction {tx_hash} of the local setup failed")
        return hashes

    async def send(self, *, mine: bool = False) -> list[str]:
        """Send the queue, wait until all is mined and say the hashes; the caller limits the time.

        With `mine` we make the blocks ourselves, and give up after `MINE_TRIES`.
        """
        queue, self._queue = self._queue, []
        sent = [
            [str(tx_hash)]
            for tx_hash in await self.rpc.batch([("eth_sendTransaction", [tx]) for tx in queue])
        ]
        done = rounds = tries = 0
        while done < len(queue):
            tries += 1
            if mine and tries > MINE_TRIES:
                raise CallReverted(f"{len(queue)} transactions were not mined in {tries} blocks")
            await (self.rpc.call("evm_mine") if mine else asyncio.sleep(POLL_S))
            before, done = done, await self._mined() - int(queue[0]["nonce"], 16)
            rounds = 0 if done > before else rounds + 1
            if done < len(queue) and rounds >= (STALLED_ROUNDS if mine else STALLED_POLLS):
                sent[done].append(await self._rescue(queue[done], sent[done][-1]))
                rounds = 0
        return await self._with_receipts(sent)

    async def _with_receipts(self, sent: Sequence[Sequence[str]]) -> list[str]:
        """The hash of each transaction that was mined, of all its attempts.

        The account's nonce moves before the block's receipts and logs can be read.
        """
        flat = [tx_hash for attempts in sent for tx_hash in attempts]
        while flat:
            receipts = await self.rpc.batch([("eth_getTransactionReceipt", [one]) for one in flat])
            mined = {one for one, receipt in zip(flat, receipts, strict=True) if receipt}
            found = [next((one for one in one_of if one in mined), None) for one_of in sent]
            if None not in found:
                return [one for one in found if one is not None]
            await asyncio.sleep(POLL_S)
        return []

    async def _mined(self) -> int:
        count = await self.rpc.call("eth_getTransactionCount", self.account.address, "latest")
        return int(count, 16)

    async def _rescue(self, transaction: dict[str, str], tx_hash: str) -> str:
        """Send a transaction again for more money, and say the hash that counts.

        anvil forgets one now and then: when it makes a block between looking up the account's
        nonce and queueing the next transaction, that one waits for a predecessor for ever.
        """
        fees = {"maxFeePerGas": hex(RESCUE_FEE), "maxPriorityFeePerGas": hex(RESCUE_TIP)}
        try:
            return str(await self.rpc.call("eth_sendTransaction", {**transaction, **fees}))
        except RpcRefused:  # mined meanwhile
            return tx_hash

    def _add(self, fields: dict[str, str]) -> None:
        self._queue.append({"from": self.account.address, "nonce": hex(self._nonce), **fields})
        self._nonce += 1


async def install_code(rpc: NodeRpc, address: Address, creation: bytes) -> None:
    """Put what a creation would leave behind at an address of our choice; no storage is written."""
    runtime = await rpc.call("eth_call", {"data": "0x" + creation.hex()}, "latest")
    await rpc.call("anvil_setCode", address, runtime)


async def unlock_account(rpc: NodeRpc, account: Address) -> None:
    """Let the node send for an account without a key, and give it money."""
    await rpc.call("anvil_impersonateAccount", account)
    await rpc.call("anvil_setBalance", account, RICH)


async def send_as(
    rpc: NodeRpc, account: Address, to: Address, call_data: bytes, *, value: int = 0
) -> dict[str, Any]:
    """Send from an unlocked account and give the receipt; CallReverted when it failed.

    The caller limits the time.
    """
    fields = {"data": "0x" + call_data.hex(), "value": hex(value), "gas": hex(CREATION_GAS)}
    tx_hash = await rpc.call("eth_sendTransaction", {"from": account, "to": to, **fields})
    (receipt,) = await receipts_of(rpc, [tx_hash])
    if receipt["status"] != "0x1":
        raise CallReverted(f"{to} refused what {account} sent it in {tx_hash}")
    return receipt


async def receipts_of(rpc: NodeRpc, hashes: Sequence[str]) -> list[dict[str, Any]]:
    """Receipts in order, when all are mined; the caller limits the time."""
    requests = [("eth_getTransactionReceipt", [tx_hash]) for tx_hash in hashes]
    while True:
        receipts = await rpc.batch(requests)
        if all(receipts):
            return receipts
        await asyncio.sleep(POLL_S)


def created_address(sender: str, nonce: int) -> Address:
    """Where a creation lands: keccak256(rlp([sender, nonce]))[12:] (yellow paper, section 7)."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    if nonce == 0 or nonce > 0x7F:
        number = bytes([0x80 + len(number)]) + number
    body = b"\x94" + bytes.fromhex(sender[2:]) + number
    return Address("0x" + keccak256(bytes([0xC0 + len(body)]) + body)[12:].hex())
