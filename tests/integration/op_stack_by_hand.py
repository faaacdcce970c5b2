"""A withdrawal carried by hand, from the specification alone: what the adapter is measured by.

Sources: ethereum-optimism/specs, `protocol/withdrawals.md`; the structures are those of
`Types.sol` in contracts-bedrock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode

from relayer.devnet.accounts import ANNOUNCER, Account
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import receipts_of
from relayer.devnet.ground import Sent
from relayer.devnet.ledger import logs_of
from relayer.devnet.op_stack import OpStackLocal
from relayer.devnet.op_stack_contracts import MESSAGE_PASSED, MESSAGE_PASSER
from relayer.devnet.op_stack_outputs import Claim
from relayer.devnet.rpc import NodeRpc
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.trees.state_proof import prove_account, prove_slot

TX = "(uint256,address,address,uint256,uint256,bytes)"
PROVE = f"proveWithdrawalTransaction({TX},uint256,(bytes32,bytes32,bytes32,bytes32),bytes[])"
FINALIZE = f"finalizeWithdrawalTransaction({TX})"
FINALIZE_EXTERNAL = f"finalizeWithdrawalTransactionExternalProof({TX},address)"
GAS = 3_000_000
NOWHERE = "0x00000000000000000000000000000000000d0e5e"
TWIN_BODIES = [n.to_bytes(4, "big") for n in (22_701, 155_583)]
"""Found by trying: sent first and second by `SENDERS[0]` to `NOWHERE`, they lie side by side."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What the portal calls a withdrawal transaction."""

    nonce: int
    sender: str
    target: str
    value: int
    gas_limit: int
    data: bytes
    said_hash: bytes
    """As the rollup's event has it."""

    @property
    def fields(self) -> tuple[int, str, str, int, int, bytes]:
        return (self.nonce, self.sender, self.target, self.value, self.gas_limit, self.data)

    @property
    def hash(self) -> bytes:
        types = ["uint256", "address", "address", "uint256", "uint256", "bytes"]
        return keccak256(encode(types, self.fields))

    @property
    def slot(self) -> bytes:
        """Where the message passer keeps that it was sent."""
        return keccak256(self.hash + bytes(32))


@dataclass(frozen=True, slots=True)
class OutputProof:
    """What an output root is made of, and a withdrawal's place below it."""

    parts: tuple[bytes, bytes, bytes, bytes]
    nodes: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        return keccak256(b"".join(self.parts))


async def withdrawals(bridge: OpStackLocal) -> list[Withdrawal]:
    """Every withdrawal of the rollup, in order."""
    return [
        _withdrawal(log) for log in await logs_of(bridge.l2_rpc, MESSAGE_PASSED, MESSAGE_PASSER)
    ]


async def withdrawal_of(bridge: OpStackLocal, sent: Sent) -> Withdrawal:
    return next(
        one for one in await withdrawals(bridge) if "0x" + one.said_hash.hex() == str(sent.id)
    )


async def prove_output(bridge: OpStackLocal, slot: bytes, block: int) -> OutputProof:
    """Asks the rollup's node, believes nothing that does not follow from the block's hash."""
    rpc = bridge.l2_rpc
    header = await rpc.call("eth_getBlockByNumber", hex(block), False)
    answer = await rpc.call("eth_getProof", MESSAGE_PASSER, ["0x" + slot.hex()], hex(block))
    state_root = bytes.fromhex(header["stateRoot"][2:])
    account = prove_account(
        state_root, bytes.fromhex(MESSAGE_PASSER[2:]), _bytes(answer["accountProof"])
    )
    value, proved = prove_slot(
        account.storage_root, slot, _bytes(answer["storageProof"][0]["proof"])
    )
    assert value == 1
    parts = (bytes(32), state_root, account.storage_root, bytes.fromhex(header["hash"][2:]))
    return OutputProof(parts, proved.nodes)


async def prove(
    bridge: OpStackLocal, withdrawal: Withdrawal, claim: Claim, who: Account = ANNOUNCER
) -> dict[str, Any]:
    """Prove against a claim; CallReverted when the portal refuses."""
    proof = await prove_output(bridge, withdrawal.slot, claim.l2_block)
    return await send(bridge, prove_call(withdrawal, claim, proof), who)


def prove_call(withdrawal: Withdrawal, claim: Claim, proof: OutputProof) -> bytes:
    return encode_call(PROVE, [withdrawal.fields, claim.index, proof.parts, proof.nodes])


async def finalize(
    bridge: OpStackLocal,
    withdrawal: Withdrawal,
    *,
    prover: Account | None = None,
    who: Account = ANNOUNCER,
    gas: int = GAS,
) -> dict[str, Any]:
    """Finalise on somebody's proof, where proofs are somebody's; CallReverted when refused."""
    if prover is None:
        call_data = encode_call(FINALIZE, [withdrawal.fields])
    else:
        call_data = encode_call(FINALIZE_EXTERNAL, [withdrawal.fields, prover.address])
    return await send(bridge, call_data, who, gas=gas)


async def send(
    bridge: OpStackLocal, call_data: bytes, who: Account = ANNOUNCER, *, gas: int = GAS
) -> dict[str, Any]:
    """Call the portal; a call that would revert is not sent but raises with the reason."""
    fields = {"from": who.address, "to": bridge.site.portal, "data": "0x" + call_data.hex()}
    request = {**fields, "gas": hex(gas)}
    await bridge.l1_rpc.call("eth_call", request, "pending")
    (receipt,) = await receipts_of(
        bridge.l1_rpc, [await bridge.l1_rpc.call("eth_sendTransaction", request)]
    )
    if receipt["status"] != "0x1":
        raise CallReverted("the portal refused on chain what it took in a simulation")
    return receipt


async def warp(rpc: NodeRpc, seconds: int) -> None:
    """Put a chain's clock forward."""
    await rpc.call("evm_increaseTime", seconds)
    await rpc.call("evm_mine")


def _withdrawal(log: dict[str, Any]) -> Withdrawal:
    types = ["uint256", "uint256", "bytes", "bytes32"]
    value, gas_limit, data, said = decode(types, bytes.fromhex(log["data"][2:]))
    _, nonce, sender, target = log["topics"]
    return Withdrawal(
        int(nonce, 16), "0x" + sender[-40:], "0x" + target[-40:], value, gas_limit, data, said
    )


def _bytes(texts: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(text[2:]) for text in texts]
