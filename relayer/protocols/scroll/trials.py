"""Tries deliveries out without sending them: would the target take the message, and for how much?

The layer-1 messenger swallows a failing target: the call succeeds all the same, so neither
`eth_call` nor `eth_estimateGas` of it says anything (an estimate may even be the gas at which the
target runs dry). So we let the node run, as the creation code of a contract that is never made,
a short program that delivers, measures, and asks the messenger afterwards what is executed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import ChainReader
from relayer.errors import BadChainData, Permanent
from relayer.message import Address
from relayer.protocols.scroll import contracts

MAX_PROGRAM_BYTES = 49_152
"""EIP-3860's limit of creation code."""
MAX_CALLS = 16
GROUP_GAS = 32_000_000
"""What all deliveries of one program may burn; nodes give an `eth_call` 50M by default."""
_WORDS = 3
"""Result words of each delivery: the messenger's call succeeded, gas used, executed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery to try: the message's hash and the messenger's call data."""

    leaf: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Trial:
    """What happened to one delivery."""

    accepted: bool
    """The messenger did not revert."""
    executed: bool
    """The target took the message."""
    gas: int
    """Used by the messenger's call, refunds not taken off."""
    funds: int
    """Wei that the messenger holds."""


class Trials:
    """Tries deliveries out on one messenger, many in a request."""

    def __init__(self, reader: ChainReader, messenger: Address, *, target_gas: int) -> None:
        self._reader = reader
        self._messenger = messenger
        self.target_gas = target_gas
        self._most = max(1, min(MAX_CALLS, GROUP_GAS // target_gas))

    async def run(self, deliveries: Sequence[Delivery]) -> list[Trial | None]:
        """What each would do at the latest block; None where it cannot be tried.

        What fails in company is tried again alone, since its neighbours may be to blame. Raises
        `Transient` when no endpoint answers.
        """
        found: dict[bytes, Trial | None] = {}
        groups = await asyncio.gather(
            *(self._together(group) for group in self._groups(deliveries))
        )
        for group in groups:
            found.update(group)
        doubtful = [one for one in deliveries if not _is_good(found.get(one.leaf))]
        for alone in await asyncio.gather(*(self._together([one]) for one in doubtful)):
            found.update(alone)
        return [found.get(one.leaf) for one in deliveries]

    def _groups(self, deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
        groups: list[list[Delivery]] = []
        for one in deliveries:
            if not groups or len(groups[-1]) >= self._most or not self._fits([*groups[-1], one]):
                groups.append([])
            groups[-1].append(one)
        return groups

    def _fits(self, group: Sequence[Delivery]) -> bool:
        return len(program(self._messenger, group, self.target_gas)) <= MAX_PROGRAM_BYTES

    async def _together(self, group: Sequence[Delivery]) -> dict[bytes, Trial | None]:
        if not self._fits(group):
            return {one.leaf: None for one in group}
        code = program(self._messenger, group, self.target_gas)
        try:
            answer = await self._reader.rpc("eth_call", [{"data": "0x" + code.hex()}, "latest"])
            trials = read_results(answer, len(group))
        except Permanent:  # the node cannot run it, or answers nonsense
            return {one.leaf: None for one in group}
        return {one.leaf: trial for one, trial in zip(group, trials, strict=True)}


def program(messenger: Address, deliveries: Sequence[Delivery], gas: int) -> bytes:
    """EVM code that runs `deliveries` in order, each with at most `gas`, and returns the results.

    The call data lies behind the code; every push has a fixed width, so the code's length does not
    depend on where that is.
    """
    size = len(_code(messenger, deliveries, gas, calls_at=0))
    code = _code(messenger, deliveries, gas, calls_at=size)
    return code + b"".join(one.data for one in deliveries)


def read_results(answer: object, count: int) -> list[Trial]:
    """Read what `program` returns; `BadChainData` when it is anything else."""
    expected = 32 * (1 + _WORDS * count)
    try:
        raw = bytes.fromhex(str(answer).removeprefix("0x"))
    except ValueError:
        raise BadChainData("a trial's answer is not hex") from None
    if len(raw) != expected:
        raise BadChainData(f"a trial answered {len(raw)} bytes, not {expected}")
    words = [int.from_bytes(raw[at : at + 32], "big") for at in range(0, expected, 32)]
    funds, rest = words[0], words[1:]
    return [
        Trial(bool(rest[at]), bool(rest[at + 2]), rest[at + 1], funds)
        for at in range(0, len(rest), _WORDS)
    ]


def _is_good(trial: Trial | None) -> bool:
    return trial is not None and trial.executed


def _code(messenger: Address, deliveries: Sequence[Delivery], gas: int, *, calls_at: int) -> bytes:
    results = 32 * (1 + _WORDS * len(deliveries))
    them = b"\x73" + bytes.fromhex(messenger[2:])  # PUSH20
    code = them + b"\x31" + _push(0) + b"\x52"  # BALANCE; MSTORE at 0
    for place, one in enumerate(deliveries):
        slot = 32 * (1 + _WORDS * place)
        code += _push(len(one.data)) + _push(calls_at) + _push(results) + b"\x39"  # CODECOPY
        code += b"\x5a"  # GAS before
        code += _push(0) * 2 + _push(len(one.data)) + _push(results) + _push(0)
        code += them + _push(gas) + b"\xf1"  # CALL without value, its answer dropped
        code += _push(slot) + b"\x52"  # MSTORE: accepted
        code += b"\x5a\x90\x03" + _push(slot + 32) + b"\x52"  # GAS SWAP1 SUB; MSTORE: gas used
        code += b"\x63" + contracts.IS_EXECUTED + b"\x60\xe0\x1b"  # PUSH4, PUSH1 224 SHL
        code += _push(results) + b"\x52"  # MSTORE: the selector
        code += b"\x7f" + one.leaf + _push(results + 4) + b"\x52"  # PUSH32; MSTORE: its argument
        code += _push(32) + _push(slot + 64) + _push(36) + _push(results)
        code += them + b"\x5a\xfa\x50"  # GAS STATICCALL POP: executed
        calls_at += len(one.data)
    return code + _push(results) + _push(0) + b"\xf3"  # RETURN


def _push(number: int) -> bytes:
    return b"\x63" + number.to_bytes(4, "big")  # PUSH4
