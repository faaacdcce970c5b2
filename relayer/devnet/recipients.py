"""Hostile recipients as hand-assembled EVM code, put in place by `anvil_setCode`.

Each answers everything but `handle` with one zero word, which for
`interchainSecurityModule()` means: use the mailbox's default.
"""

from __future__ import annotations

from dataclasses import dataclass

from relayer.devnet.artefacts import encode_call
from relayer.devnet.rpc import NodeRpc
from relayer.message import Address

MEGABYTE = 0x100000

_PROLOGUE = bytes.fromhex(
    "5f35"  # 00 PUSH0 CALLDATALOAD
    "60e01c"  # 02 PUSH1 0xe0 SHR           the selector
    "6356d5d475"  # 05 PUSH4                handle(uint32,bytes32,bytes)
    "14"  # 0a EQ
    "601257"  # 0b PUSH1 0x12 JUMPI         -> the body
    "60205ff3"  # 0e PUSH1 32 PUSH0 RETURN  fresh memory: one zero word
    "5b"  # 12 JUMPDEST                     the body starts at 0x13
)
_BODY_AT = len(_PROLOGUE)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Code, and the address at which local chains get it."""

    address: Address
    code: bytes

    async def install(self, rpc: NodeRpc) -> Address:
        """Put it on a chain and say where it is."""
        await rpc.call("anvil_setCode", self.address, "0x" + self.code.hex())
        return self.address


def reverting_with(text: str, address: Address) -> Recipient:
    """A recipient that reverts with this reason, of at most 128 bytes."""
    return Recipient(address, _PROLOGUE + _revert_with(text, _BODY_AT))


def _revert_with(text: str, at: int) -> bytes:
    """Code that reverts with Error(string), for a body that starts at byte `at`."""
    revert = encode_call("Error(string)", [text])
    code_size = 11
    return (
        bytes([0x60, len(revert)])  # PUSH1 size
        + bytes([0x60, at + code_size])  # PUSH1 where the revert data lie in the code
        + bytes.fromhex("5f39")  # PUSH0 CODECOPY
        + bytes([0x60, len(revert)])  # PUSH1 size
        + bytes.fromhex("5ffd00")  # PUSH0 REVERT STOP
        + revert
    )


REVERTING = reverting_with("not today", Address("0x00000000000000000000000000000000000bad01"))
"""Reverts with the reason "not today"."""

REVERT_BOMB = Recipient(
    Address("0x00000000000000000000000000000000000bad02"),
    _PROLOGUE + bytes.fromhex(f"62{MEGABYTE:06x}5ffd"),  # PUSH3 PUSH0 REVERT
)
"""Reverts with a megabyte of zeros, about 2.2 million gas of memory."""

GAS_BURNER = Recipient(
    Address("0x00000000000000000000000000000000000bad03"),
    _PROLOGUE + bytes.fromhex("601256"),  # PUSH1 0x12 JUMP, back to its own JUMPDEST
)
"""Loops until the gas is gone."""

RETURN_BOMB = Recipient(
    Address("0x00000000000000000000000000000000000bad04"),
    _PROLOGUE + bytes.fromhex(f"62{MEGABYTE:06x}5ff3"),  # PUSH3 PUSH0 RETURN
)
"""Succeeds and returns a megabyte of zeros."""

_SWITCH = bytes.fromhex(
    "36"  # 00 CALLDATASIZE
    "600957"  # 01 PUSH1 9 JUMPI
    "60015f5500"  # 04 PUSH1 1 PUSH0 SSTORE STOP   a bare transaction switches it on
    "5b"  # 09 JUMPDEST
    "5f35"  # 0a PUSH0 CALLDATALOAD
    "60e01c"  # 0c PUSH1 0xe0 SHR
    "6356d5d475"  # 0f PUSH4                       handle(uint32,bytes32,bytes)
    "14"  # 14 EQ
    "601c57"  # 15 PUSH1 0x1c JUMPI
    "60205ff3"  # 18 PUSH1 32 PUSH0 RETURN         others: one zero word
    "5b"  # 1c JUMPDEST
    "5f54"  # 1d PUSH0 SLOAD
    "15"  # 1f ISZERO
    "602457"  # 20 PUSH1 0x24 JUMPI
    "00"  # 23 STOP                                on: taken
    "5b"  # 24 JUMPDEST                            off: revert
)

SWITCHED = Recipient(
    Address("0x00000000000000000000000000000000000bad05"),
    _SWITCH + _revert_with("not switched on yet", len(_SWITCH)),
)
"""Reverts until somebody sends it a transaction without call data."""
