"""What a claim surely earns. The contract does not always hand out the whole fee.

For empty call data to an account without code it pays (gas of the claim + 48,252) * gas price, at
most the fee, and sends the rest to the recipient: what the claim costs, and no profit. The price
is not known yet here, so that counts as nothing. Source: `distributeFees` in
`L1MessageServiceV1.sol` and `L2MessageServiceV1.sol` of Consensys/linea-monorepo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relayer.abi import WORD
from relayer.adapter import ChainReader
from relayer.errors import Permanent
from relayer.message import Address, MessageId, Wei
from relayer.protocols.linea.parcels import Parcel

NOTHING = Wei(0)
AT_ONCE = 256
"""Accounts in one question; its answer stays below EIP-170's limit of a contract's size."""


async def incomes(reader: ChainReader, parcels: Sequence[Parcel]) -> Mapping[MessageId, Wei]:
    """At least so much is paid for each claim; raises `Transient` when the chain cannot be read.

    Code is looked for only where it matters, in one request for a batch.
    """
    doubtful = {
        one.message.recipient for one in parcels if one.message.fee and not one.message.body
    }
    codeless = await _codeless(reader, sorted(doubtful))
    return {
        one.id: NOTHING
        if not one.message.body and one.message.recipient in codeless
        else one.message.fee
        for one in parcels
    }


async def _codeless(reader: ChainReader, accounts: Sequence[Address]) -> set[Address]:
    """Those without code at the latest block; all of those that a node will not tell."""
    found: set[Address] = set()
    for start in range(0, len(accounts), AT_ONCE):
        asked = accounts[start : start + AT_ONCE]
        try:
            call = {"data": "0x" + program(asked).hex()}
            sizes = _sizes(await reader.rpc("eth_call", [call, "latest"]), len(asked))
        except Permanent:  # the node cannot run it
            sizes = [0] * len(asked)
        found |= {account for account, size in zip(asked, sizes, strict=True) if not size}
    return found


def program(accounts: Sequence[Address]) -> bytes:
    """EVM code that returns the code size of each account, to be run as creation code."""
    code = b""
    for place, account in enumerate(accounts):
        code += b"\x73" + bytes.fromhex(account[2:]) + b"\x3b"  # PUSH20 EXTCODESIZE
        code += b"\x61" + (WORD * place).to_bytes(2, "big") + b"\x52"  # PUSH2 MSTORE
    return code + b"\x61" + (WORD * len(accounts)).to_bytes(2, "big") + b"\x60\x00\xf3"  # RETURN


def _sizes(answer: object, count: int) -> list[int]:
    """Nothing where the answer is not what was asked for: then no code is known of."""
    try:
        raw = bytes.fromhex(str(answer).removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != WORD * count:
        return [0] * count
    return [int.from_bytes(raw[at : at + WORD], "big") for at in range(0, len(raw), WORD)]
