"""Reads from local chains what was really delivered: how often, at what cost, with which body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode

from relayer.devnet.accounts import RELAYERS, VALIDATORS
from relayer.devnet.hyperlane import MULTICALL3
from relayer.devnet.traffic import Sent, Site
from relayer.devnet.world import Devnet
from relayer.keccak import keccak256

PROCESS_ID = "0x" + keccak256(b"ProcessId(bytes32)").hex()
INSERTED = "0x" + keccak256(b"InsertedIntoTree(bytes32,uint32)").hex()
RECEIVED = "0x" + keccak256(b"ReceivedMessage(uint32,bytes32,uint256,string)").hex()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the destination chain says of one message."""

    count: int
    """How often its ProcessId was emitted: once, one hopes."""
    latency_s: float
    """From the signature that completed the quorum to the delivery's block time."""
    gas: float
    """Its share of the delivering transaction."""
    body_arrived: bool


async def read_ledger(world: Devnet, sent: Sequence[Sent]) -> dict[str, Delivery]:
    """Every sent message's delivery, by message id."""
    signed_at = {name: await _signed_at(world, site) for name, site in world.sites.items()}
    ledger: dict[str, Delivery] = {}
    for name, site in world.sites.items():
        mine = [one for one in sent if one.destination == name]
        ledger.update(await _of_site(site, mine, signed_at))
    return ledger


async def wasted_calls(world: Devnet) -> int:
    """Delivery calls that the relayer's accounts paid for and that delivered nothing."""
    wasted = 0
    for site in world.sites.values():
        head = int(await site.rpc.call("eth_blockNumber"), 16)
        blocks = await site.rpc.batch(
            [("eth_getBlockByNumber", [hex(number), True]) for number in range(1, head + 1)]
        )
        payers = {str(account.address).lower() for account in RELAYERS}
        ours = [tx for block in blocks for tx in block["transactions"] if tx["from"] in payers]
        receipts = await site.rpc.batch(
            [("eth_getTransactionReceipt", [tx["hash"]]) for tx in ours]
        )
        for tx, receipt in zip(ours, receipts, strict=True):
            delivered = sum(log["topics"][0] == PROCESS_ID for log in receipt["logs"])
            wasted += _calls_in(tx) - delivered
    return wasted


def _calls_in(tx: dict[str, Any]) -> int:
    """Calls a transaction carries: the array's length in Multicall3's calldata, else one."""
    if tx["to"] == str(MULTICALL3):
        return int.from_bytes(bytes.fromhex(tx["input"][2:])[36:68], "big")
    return 1


async def _of_site(
    site: Site, sent: Sequence[Sent], signed_at: dict[str, dict[str, float]]
) -> dict[str, Delivery]:
    logs = await _logs(site, PROCESS_ID, str(site.hyperlane.mailbox))
    by_id: dict[str, list[dict[str, Any]]] = {}
    per_tx: dict[str, int] = {}
    for log in logs:
        by_id.setdefault(log["topics"][1], []).append(log)
        per_tx[log["transactionHash"]] = per_tx.get(log["transactionHash"], 0) + 1
    hashes = list(per_tx)
    receipts = await site.rpc.batch([("eth_getTransactionReceipt", [tx]) for tx in hashes])
    gas = {
        tx: int(receipt["gasUsed"], 16) / per_tx[tx]
        for tx, receipt in zip(hashes, receipts, strict=True)
    }
    times = await _block_times(site, {int(log["blockNumber"], 16) for log in logs})
    bodies = await _bodies(site)
    return {
        one.id: _delivery(one, by_id.get(one.id, []), gas, times, bodies, signed_at) for one in sent
    }


def _delivery(
    one: Sent,
    logs: Sequence[dict[str, Any]],
    gas: dict[str, float],
    times: dict[int, float],
    bodies: set[bytes],
    signed_at: dict[str, dict[str, float]],
) -> Delivery:
    if not logs:
        return Delivery(0, 0.0, 0.0, body_arrived=False)
    first = logs[0]
    signed = signed_at[one.origin].get(one.id, 0.0)
    latency = max(0.0, times[int(first["blockNumber"], 16)] - signed)
    return Delivery(len(logs), latency, gas[first["transactionHash"]], one.body in bodies)


async def _signed_at(world: Devnet, site: Site) -> dict[str, float]:
    """When the last signature needed for each message's leaf was written, by message id."""
    logs = await _logs(site, INSERTED, str(site.hyperlane.merkle_tree_hook))
    found: dict[str, float] = {}
    for log in logs:
        message_id, index = decode(["bytes32", "uint32"], bytes.fromhex(log["data"][2:]))
        times = []
        for account in VALIDATORS:
            directory = world.directory / "validators" / site.name / str(account.address)
            file = directory / f"{index}_with_id.json"
            if file.exists():
                times.append(file.stat().st_mtime)
        if len(times) >= world.plan.threshold:
            found["0x" + message_id.hex()] = sorted(times)[world.plan.threshold - 1]
    return found


async def _bodies(site: Site) -> set[bytes]:
    """What the recipient says it received (`value` is indexed, so the text stands alone)."""
    logs = await _logs(site, RECEIVED, str(site.hyperlane.recipient))
    return {decode(["string"], bytes.fromhex(log["data"][2:]))[0].encode() for log in logs}


async def _block_times(site: Site, blocks: set[int]) -> dict[int, float]:
    numbers = sorted(blocks)
    headers = await site.rpc.batch(
        [("eth_getBlockByNumber", [hex(number), False]) for number in numbers]
    )
    return {
        number: float(int(header["timestamp"], 16))
        for number, header in zip(numbers, headers, strict=True)
    }


async def _logs(site: Site, topic: str, address: str) -> list[dict[str, Any]]:
    query = {"address": address, "topics": [topic], "fromBlock": "0x0", "toBlock": "latest"}
    logs: list[dict[str, Any]] = await site.rpc.call("eth_getLogs", query)
    return logs
