"""Reads Hyperlane's deliveries, and when each could first be proved, from chains and signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eth_abi.abi import decode

from relayer.devnet.accounts import VALIDATORS
from relayer.devnet.ground import Delivery, Sent
from relayer.devnet.ledger import logs_of, read_deliveries
from relayer.devnet.traffic import Site
from relayer.keccak import keccak256
from relayer.message import MessageId

PROCESS_ID = "0x" + keccak256(b"ProcessId(bytes32)").hex()
INSERTED = "0x" + keccak256(b"InsertedIntoTree(bytes32,uint32)").hex()
RECEIVED = "0x" + keccak256(b"ReceivedMessage(uint32,bytes32,uint256,string)").hex()


async def read_hyperlane(
    sites: Mapping[str, Site], sent: Sequence[Sent], signatures: Path, *, threshold: int
) -> dict[MessageId, Delivery]:
    """Every sent message's delivery; latency counts from the signature that made the quorum.

    `signatures` holds the validators' files as `<chain>/<validator>/<index>_with_id.json`.
    """
    signed_at: dict[MessageId, float] = {}
    for name, site in sites.items():
        signed_at |= await _signed_at(site, signatures / name, threshold)
    found: dict[MessageId, Delivery] = {}
    for name, site in sites.items():
        by_id: dict[MessageId, list[dict[str, Any]]] = {}
        for log in await logs_of(site.rpc, PROCESS_ID, str(site.hyperlane.mailbox)):
            by_id.setdefault(MessageId(log["topics"][1]), []).append(log)
        found |= await read_deliveries(
            site.rpc,
            [one for one in sent if one.destination == name],
            by_id,
            provable_at=signed_at,
            bodies=await _bodies(site),
        )
    return found


async def _signed_at(site: Site, files: Path, threshold: int) -> dict[MessageId, float]:
    """When the last signature needed for each message's leaf was written."""
    found: dict[MessageId, float] = {}
    for log in await logs_of(site.rpc, INSERTED, str(site.hyperlane.merkle_tree_hook)):
        message_id, index = decode(["bytes32", "uint32"], bytes.fromhex(log["data"][2:]))
        written = [files / account.address / f"{index}_with_id.json" for account in VALIDATORS]
        times = sorted(file.stat().st_mtime for file in written if file.exists())
        if len(times) >= threshold:
            found[MessageId("0x" + message_id.hex())] = times[threshold - 1]
    return found


async def _bodies(site: Site) -> set[bytes]:
    """What the recipient says it received (`value` is indexed, so the text stands alone)."""
    logs = await logs_of(site.rpc, RECEIVED, str(site.hyperlane.recipient))
    return {decode(["string"], bytes.fromhex(log["data"][2:]))[0].encode() for log in logs}
