"""Puts Multicall3 on a local chain, at the address where every public chain has it."""

from __future__ import annotations

from relayer.devnet.artefacts import multicall3_creation
from relayer.devnet.deployer import install_code
from relayer.devnet.rpc import NodeRpc
from relayer.message import Address

MULTICALL3 = Address("0xca11bde05977b3631167028862be2a173976ca11")


async def install_multicall3(rpc: NodeRpc) -> None:
    """Put Multicall3 where every public chain has it (anvil does not)."""
    await install_code(rpc, MULTICALL3, multicall3_creation())


async def eth_call(rpc: NodeRpc, to: str, call_data: bytes, block: str = "latest") -> bytes:
    """Answer one view."""
    answer = await rpc.call("eth_call", {"to": to, "data": "0x" + call_data.hex()}, block)
    return bytes.fromhex(answer[2:])
