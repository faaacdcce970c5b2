"""Reads from local chains what was really delivered: how often, when and at what cost."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from relayer.devnet.accounts import RELAYERS
from relayer.devnet.ground import Delivery, Outcome, Sent
from relayer.devnet.multicall import MULTICALL3
from relayer.devnet.rpc import NodeRpc
from relayer.message import MessageId

Logs = Sequence[dict[str, Any]]


async def logs_of(rpc: NodeRpc, topic: str, address: str) -> list[dict[str, Any]]:
    """Every log of one contract with this topic0."""
    query = {"address": address, "topics": [topic], "fromBlock": "0x0", "toBlock": "latest"}
    logs: list[dict[str, Any]] = await rpc.call("eth_getLogs", query)
    return logs


async def block_times(rpc: NodeRpc, blocks: Collection[int]) -> dict[int, float]:
    """Timestamps by block number."""
    numbers = sorted(set(blocks))
    headers = await rpc.batch([("eth_getBlockByNumber", [hex(one), False]) for one in numbers])
    return {
        number: float(int(header["timestamp"], 16))
        for number, header in zip(numbers, headers, strict=True)
    }


async def read_deliveries(
    rpc: NodeRpc,
    sent: Sequence[Sent],
    logs: Mapping[MessageId, Logs],
    *,
    provable_at: Mapping[MessageId, float],
    bodies: Collection[bytes],
) -> dict[MessageId, Delivery]:
    """What one destination says of messages `sent` there.

    `logs` are the delivery logs by message; `provable_at` is when each could be delivered first;
    `bodies` is what arrived at the recipients.
    """
    all_logs = [log for group in logs.values() for log in group]
    per_tx: dict[str, int] = {}
    for log in all_logs:
        per_tx[log["transactionHash"]] = per_tx.get(log["transactionHash"], 0) + 1
    receipts = await rpc.batch([("eth_getTransactionReceipt", [tx]) for tx in per_tx])
    gas = {
        tx: int(receipt["gasUsed"], 16) / count
        for (tx, count), receipt in zip(per_tx.items(), receipts, strict=True)
    }
    times = await block_times(rpc, {int(log["blockNumber"], 16) for log in all_logs})
    found: dict[MessageId, Delivery] = {}
    for one in sent:
        mine = logs.get(one.id, ())
        if not mine:
            found[one.id] = Delivery(0, 0.0, 0.0, body_arrived=False)
            continue
        delivered_at = times[int(mine[0]["blockNumber"], 16)]
        latency = max(0.0, delivered_at - provable_at.get(one.id, 0.0))
        share = gas[mine[0]["transactionHash"]]
        found[one.id] = Delivery(len(mine), latency, share, one.body in bodies)
    return found


async def wasted_calls(nodes: Iterable[NodeRpc], outcomes: Collection[Outcome]) -> int:
    """Calls that the relayer's accounts paid for without any log that is among `outcomes`."""
    wasted = 0
    for rpc in nodes:
        head = int(await rpc.call("eth_blockNumber"), 16)
        blocks = await rpc.batch(
            [("eth_getBlockByNumber", [hex(number), True]) for number in range(1, head + 1)]
        )
        payers = {str(account.address).lower() for account in RELAYERS}
        ours = [tx for block in blocks for tx in block["transactions"] if tx["from"] in payers]
        receipts = await rpc.batch([("eth_getTransactionReceipt", [tx["hash"]]) for tx in ours])
        for tx, receipt in zip(ours, receipts, strict=True):
            delivered = sum(
                (log["topics"][0], log["address"]) in outcomes for log in receipt["logs"]
            )
            wasted += _calls_in(tx) - delivered
    return wasted


def _calls_in(tx: dict[str, Any]) -> int:
    """Calls a transaction carries: the array's length in Multicall3's calldata, else one."""
    if tx["to"] == str(MULTICALL3):
        return int.from_bytes(bytes.fromhex(tx["input"][2:])[36:68], "big")
    return 1
