"""A small interop filter for local chains: `supervisor_checkAccessList`, with a failsafe to pull.

It reads the source chain itself and lets the inbox's own `calculateChecksum` compute, so it shares
nothing with the relayer. Source: op-supervisor and op-interop-filter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from relayer.devnet.anvil import Anvil
from relayer.devnet.artefacts import encode_call
from relayer.devnet.multicall import eth_call
from relayer.devnet.op_interop import MESSENGER
from relayer.keccak import keccak256

INBOX = "0x4200000000000000000000000000000000000022"
CHECKSUM = "calculateChecksum((address,uint256,uint256,uint256,uint256),bytes32)"
EXPIRY_S = 7 * 24 * 3600
LOOKUP, EXTENSION, SUM = 1, 2, 3
"""First bytes of keys."""


class Refusal(Exception):
    """What the filter has against an access list."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message that an access list names."""

    chain_id: int
    block: int
    timestamp: int
    log_index: int
    checksum: bytes


class SupervisorStub:
    """The filter of one chain, over the nodes of all."""

    def __init__(self, nodes: Mapping[int, Anvil]) -> None:
        """`nodes` by chain id."""
        self._nodes = nodes
        self.failsafe = False
        """Refuse everything."""
        self.asked = 0

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncIterator[str]:
        """Listen on a loopback port; gives the URL."""
        app = web.Application()
        app.router.add_post("/", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked += 1
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
        try:
            if body["method"] != "supervisor_checkAccessList":
                raise Refusal("the method does not exist")
            await self._check(*body["params"])
            reply["result"] = None
        except Refusal as refusal:
            reply["error"] = {"code": -32000, "message": str(refusal)}
        return web.json_response(reply)

    async def _check(self, keys: Sequence[str], level: str, executing: Mapping[str, str]) -> None:
        if self.failsafe:
            raise Refusal("failsafe is enabled")
        if level not in ("unsafe", "cross-unsafe"):
            raise Refusal(f"unsupported safety level {level}")
        timestamp = int(executing["timestamp"], 16)
        for entry in entries_of([bytes.fromhex(key[2:]) for key in keys]):
            await self._check_entry(entry, timestamp, timestamp + int(executing["timeout"], 16))

    async def _check_entry(self, entry: Entry, first: int, last: int) -> None:
        if entry.chain_id not in self._nodes:
            raise Refusal(f"unknown chain {entry.chain_id}")
        rpc = self._nodes[entry.chain_id].rpc
        block = await rpc.call("eth_getBlockByNumber", hex(entry.block), False)
        if block is None:
            raise Refusal("future data")
        if int(block["timestamp"], 16) != entry.timestamp:
            raise Refusal("conflicting data: timestamp")
        if entry.timestamp > last or first > entry.timestamp + EXPIRY_S:
            raise Refusal("message expired or from the future")
        number = hex(entry.block)
        logs = await rpc.call("eth_getLogs", {"fromBlock": number, "toBlock": number})
        found = [log for log in logs if int(log["logIndex"], 16) == entry.log_index]
        if not found or found[0]["address"] != str(MESSENGER):
            raise Refusal("conflicting data: no such log")
        payload = bytes.fromhex("".join(one[2:] for one in (*found[0]["topics"], found[0]["data"])))
        place = (str(MESSENGER), entry.block, entry.log_index, entry.timestamp, entry.chain_id)
        view = encode_call(CHECKSUM, [place, keccak256(payload)])
        if await eth_call(rpc, INBOX, view) != entry.checksum:
            raise Refusal("conflicting data: checksum")


def entries_of(keys: Sequence[bytes]) -> Iterator[Entry]:
    """Read the keys in their order; `Refusal` for one that is unknown or stands alone."""
    rest = list(keys)
    while rest:
        lookup = rest.pop(0)
        if len(lookup) != 32 or lookup[0] != LOOKUP or not rest:
            raise Refusal("failed to parse access entry")
        high = 0
        if rest[0][0] == EXTENSION:
            high = int.from_bytes(rest.pop(0)[8:], "big")
        if not rest or rest[0][0] != SUM:
            raise Refusal("failed to parse access entry")
        yield Entry(
            chain_id=(high << 64) | int.from_bytes(lookup[4:12], "big"),
            block=int.from_bytes(lookup[12:20], "big"),
            timestamp=int.from_bytes(lookup[20:28], "big"),
            log_index=int.from_bytes(lookup[28:32], "big"),
            checksum=rest.pop(0),
        )
