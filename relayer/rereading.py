"""Having blocks of a chain read again: asked of whoever follows it, or done by ourselves."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from relayer.acts import Target, chain_name_of
from relayer.chains import ChainClient
from relayer.errors import IllegalTransition, UnknownRecord
from relayer.message import BlockNumber, ChainId, TxHash
from relayer.ops.views import printable
from relayer.parts import Parts
from relayer.pipeline.follower import Follower
from relayer.pipeline.lane import make_follower
from relayer.store import Lease, Rescan, Role, Store

WATCH_EVERY_S = 0.5


async def ask_again(
    parts: Parts, chain: ChainClient, first: BlockNumber, last: BlockNumber
) -> Rescan:
    """Note an inclusive range as wanted; `IllegalTransition` when it is not final yet.

    A running follower does it when there is one; until then it stays asked for.
    """
    final = await chain.final_header()
    if last > final.number:
        raise IllegalTransition(
            f"block {last} is not final yet; the newest final block of {chain.name} is"
            f" {final.number}: wait, or end the range there"
        )
    await parts.store.ask_rescan(chain.chain_id, first, last)
    return Rescan(first, last, first)


def chain_named(parts: Parts, name: str) -> ChainClient:
    """The configured chain of this name or id; `UnknownRecord` names those that there are."""
    return parts.chains[chain_name_of("chain", name, parts.chain_ids)]


async def open_ranges(store: Store, chain_ids: Mapping[str, ChainId]) -> list[dict[str, Any]]:
    """The ranges that are still to be read, how far each is, and what is in its way."""
    return [
        {
            "chain": name,
            "first": one.first,
            "last": one.last,
            "next": one.at,
            "failure": printable(one.failure),
        }
        for name, chain in sorted(chain_ids.items())
        for one in await store.rescans(chain)
    ]


async def take_back(
    store: Store, chain: ChainId, name: str, blocks: tuple[BlockNumber, BlockNumber]
) -> None:
    """Have an open range not read again; `UnknownRecord` when none of just these blocks is open."""
    first, last = blocks
    if not await store.cancel_rescan(chain, first, last):
        raise UnknownRecord(
            f"{name} has no open range {first} to {last}; it may be read by now"
            " (`relayer backfills` lists what is open)"
        )


async def block_of(chain: ChainClient, tx: TxHash) -> BlockNumber:
    """The block that holds a transaction; `UnknownRecord` when the chain has no receipt of it."""
    (receipt,) = await chain.receipts([tx])
    if receipt is None:
        raise UnknownRecord(f"tx: {tx} is not mined on {chain.name}")
    return BlockNumber(int(str(receipt["blockNumber"]), 16))


async def see_through(
    parts: Parts, chain: ChainClient, asked: Rescan, progress: Callable[[int, int, str], None]
) -> None:
    """Watch a range being read again; do it ourselves whenever nobody follows the chain.

    `IllegalTransition` when an operator has paused the chain: nobody would read it.
    """
    owner = f"backfill:{socket.gethostname()}:{os.getpid()}"
    lease: Lease | None = None
    follower: Follower | None = None
    total = asked.last - asked.first + 1
    try:
        while True:
            found = await parts.store.rescans(chain.chain_id)
            left = next((one for one in found if one.name == asked.name), None)
            if left is None:
                progress(total, total, "")
                return
            progress(left.at - asked.first, total, left.failure)
            await _require_unpaused(parts, chain)
            if lease is None or not await parts.store.renew(lease):
                lease = await parts.store.acquire(chain.chain_id, Role.FOLLOWER, owner)
                follower = None if lease is None else make_follower(parts.engine, chain, lease)
            if follower is None or not await follower.rescan(asked.last):
                await asyncio.sleep(WATCH_EVERY_S)
    finally:
        if lease is not None:
            await parts.store.release_lease(lease)


async def _require_unpaused(parts: Parts, chain: ChainClient) -> None:
    paused = {pause.target: pause for pause in await parts.store.pauses()}
    pause = paused.get(Target.chain(chain.chain_id))
    if pause is not None:
        raise IllegalTransition(
            f"chain {chain.name} is paused by {pause.who}; the blocks are read when it is resumed"
            f" (`relayer resume --chain {chain.name}`)"
        )
