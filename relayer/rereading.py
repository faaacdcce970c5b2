"""Having blocks of a chain read again: asked of whoever follows it, or done by ourselves."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from relayer.acts import Target
from relayer.chains import ChainClient
from relayer.errors import ConfigInvalid, IllegalTransition, UnknownRecord
from relayer.message import BlockNumber, TxHash
from relayer.ops.views import printable
from relayer.parts import Parts
from relayer.pipeline.lane import make_follower
from relayer.store import Lease, Rescan, Role

WATCH_EVERY_S = 0.5


async def ask_again(parts: Parts, name: str, first: BlockNumber, last: BlockNumber) -> Rescan:
    """Note an inclusive range as wanted; `ConfigInvalid` when it is not final yet.

    A running follower does it when there is one; until then it stays asked for.
    """
    chain = chain_named(parts, name)
    final = await chain.final_header()
    if last > final.number:
        raise ConfigInvalid(
            f"block {last} is not final yet: the newest final block of {name} is {final.number}"
        )
    await parts.store.ask_rescan(chain.chain_id, first, last)
    return Rescan(first, last, first)


def chain_named(parts: Parts, name: str) -> ChainClient:
    """The configured chain; `UnknownRecord` names those that there are."""
    chain = parts.chains.get(name)
    if chain is None:
        known = ", ".join(sorted(parts.chains))
        raise UnknownRecord(f"chain: {printable(name, 60)!r} is not configured; known: {known}")
    return chain


async def block_of(chain: ChainClient, tx: TxHash) -> BlockNumber:
    """The block that holds a transaction; `UnknownRecord` when the chain has no receipt of it."""
    (receipt,) = await chain.receipts([tx])
    if receipt is None:
        raise UnknownRecord(f"tx: {tx} is not mined on {chain.name}")
    return BlockNumber(int(str(receipt["blockNumber"]), 16))


async def see_through(
    parts: Parts, chain: ChainClient, asked: Rescan, progress: Callable[[int, int], None]
) -> None:
    """Watch a range being read again; do it ourselves whenever nobody follows the chain.

    `IllegalTransition` when an operator has paused the chain: nobody would read it.
    """
    owner = f"backfill:{socket.gethostname()}:{os.getpid()}"
    lease: Lease | None = None
    total = asked.last - asked.first + 1
    try:
        while True:
            found = await parts.store.rescans(chain.chain_id)
            left = next((one for one in found if one.name == asked.name), None)
            progress(total if left is None else left.at - asked.first, total)
            if left is None:
                return
            await _require_unpaused(parts, chain)
            if lease is None or not await parts.store.renew(lease):
                lease = await parts.store.acquire(chain.chain_id, Role.FOLLOWER, owner)
            if lease is None:
                await asyncio.sleep(WATCH_EVERY_S)
            else:
                await make_follower(parts.engine, chain, lease).rescan(asked.last)
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
