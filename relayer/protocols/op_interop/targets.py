"""Asks a chain which accounts have code, many in one request."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from relayer.adapter import ChainReader
from relayer.errors import EndpointDown
from relayer.message import Address

PER_PROGRAM = 512
"""A probe takes 30 bytes of the 49,152 that creation code may have (EIP-3860)."""
REMEMBERED = 65_536


class Targets:
    """One destination; what has code keeps it (EIP-6780), so that is remembered."""

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader
        self._coded: set[Address] = set()

    async def without_code(self, targets: Collection[Address]) -> set[Address]:
        """Those of `targets` that have no code at the latest block."""
        unknown = sorted(set(targets) - self._coded)
        empty: set[Address] = set()
        for start in range(0, len(unknown), PER_PROGRAM):
            part = unknown[start : start + PER_PROGRAM]
            sizes = await self._sizes(part)
            empty |= {one for one, size in zip(part, sizes, strict=True) if size == 0}
        if len(self._coded) > REMEMBERED:
            self._coded.clear()
        self._coded |= set(unknown) - empty
        return empty

    async def _sizes(self, targets: Sequence[Address]) -> list[int]:
        """Code sizes, measured by creation code that is run but never makes a contract."""
        call = {"data": "0x" + program(targets).hex()}
        answer = await self._reader.rpc("eth_call", [call, "latest"])
        try:
            sizes = bytes.fromhex(str(answer).removeprefix("0x"))
        except ValueError:
            sizes = b""
        if len(sizes) != 32 * len(targets):
            # the node's fault and no message's: all of them wait
            raise EndpointDown("of the destination", "does not tell the code sizes of accounts")
        return [int.from_bytes(sizes[at : at + 32], "big") for at in range(0, len(sizes), 32)]


def program(targets: Sequence[Address]) -> bytes:
    """EVM code that returns the code size of each account as one word."""
    code = b"".join(
        b"\x73" + bytes.fromhex(one[2:]) + b"\x3b"  # PUSH20 EXTCODESIZE
        b"\x62" + (32 * place).to_bytes(3, "big") + b"\x52"  # PUSH3 MSTORE
        for place, one in enumerate(targets)
    )
    return code + b"\x62" + (32 * len(targets)).to_bytes(3, "big") + b"\x5f\xf3"  # PUSH0 RETURN
