"""Deploys a Nitro rollup's bridge on a local parent chain, and its ArbSys on a local child chain.

Bridge and outbox are the real ones of `@arbitrum/nitro-contracts` 3.2.0, behind their proxies; the
rollup that owns them is a contract of ours, which says what a rollup says when it confirms. ArbSys
is a precompile of Nitro nodes; on a local node a contract at its address does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relayer.devnet.accounts import DEPLOYER, Account
from relayer.devnet.arbitrum_solidity import compiled
from relayer.devnet.artefacts import Artefact, decode_result, encode_call, load_json
from relayer.devnet.deployer import Deployer
from relayer.devnet.rpc import NodeRpc
from relayer.keccak import keccak256
from relayer.message import Address

ARTEFACTS = Path("@arbitrum/nitro-contracts/build/contracts")
PROXY = Path("@openzeppelin/contracts/proxy/transparent")
ARB_SYS = Address("0x0000000000000000000000000000000000000064")
NODE_INTERFACE = Address("0x00000000000000000000000000000000000000c8")
NOBODY = Address("0x" + "00" * 20)
PROXY_ADMIN = Address("0x" + keccak256(b"admin of the proxies")[12:].hex())
RICH = 10**24
BRIDGE_FUNDS = 10**21

WELCOMING, SILENT, RUDE = 0, 1, 2
"""Moods of a `Doorstep`: takes everything; reverts without a word; reverts with "not today"."""


@dataclass(frozen=True, slots=True)
class ParentSite:
    """What stands on the parent chain."""

    rpc: NodeRpc
    bridge: Address
    outbox: Address
    token: Address | None
    """The child's gas token, None when that is ether."""
    doorstep: Address
    rollup: Address
    """Owns bridge and outbox."""
    operator: Account
    """Owns the rollup; unlocked, so it has no key."""
    start_block: int


async def deploy_parent(
    name: str, rpc: NodeRpc, *, token_decimals: int | None, bold: bool
) -> ParentSite:
    """Put a bridge with an outbox on the parent, with money to pay withdrawals out of."""
    start_block = int(await rpc.call("eth_blockNumber"), 16)
    operator = await _operator(name, rpc)
    ours = await compiled("Doorstep", "GasToken", "LocalRollup")
    deployer = await Deployer.open(rpc, DEPLOYER)
    rollup = deployer.create(ours["LocalRollup"].creation(operator.address, bold))
    kind = "" if token_decimals is None else "ERC20"
    bridge = _behind_proxy(deployer, f"{kind}Bridge")
    outbox = _behind_proxy(deployer, f"{kind}Outbox")
    doorstep = deployer.create(ours["Doorstep"].creation())
    token = None
    if token_decimals is None:
        deployer.call(bridge, encode_call("initialize(address)", [rollup]))
        deployer.call(bridge, encode_call("acceptFundsFromOldBridge()"), value=BRIDGE_FUNDS)
    else:
        token = deployer.create(ours["GasToken"].creation(token_decimals))
        both = [rollup, token]
        deployer.call(bridge, encode_call("initialize(address,address)", both))
        deployer.call(token, encode_call("transfer(address,uint256)", [bridge, BRIDGE_FUNDS]))
    deployer.call(outbox, encode_call("initialize(address)", [bridge]))
    await deployer.flush()
    owner = await Deployer.open(rpc, operator)
    owner.call(bridge, encode_call("setOutbox(address,bool)", [outbox, True]))
    await owner.flush()
    return ParentSite(rpc, bridge, outbox, token, doorstep, rollup, operator, start_block)


async def install_arb_sys(rpc: NodeRpc) -> None:
    """Put ArbSys at its address on the child."""
    await _install(rpc, "LocalArbSys", ARB_SYS)


async def install_node_interface(rpc: NodeRpc) -> None:
    """Put a NodeInterface at its address on the child; it has to be told of the leaves."""
    await _install(rpc, "LocalNodeInterface", NODE_INTERFACE)


async def _install(rpc: NodeRpc, contract: str, address: Address) -> None:
    creation = (await compiled(contract))[contract].creation()
    runtime = await rpc.call("eth_call", {"data": "0x" + creation.hex()}, "latest")
    await rpc.call("anvil_setCode", address, runtime)


def tree_state_request(block: str) -> tuple[str, list[Any]]:
    """The request for the child's tree at the block of a hash."""
    view = "0x" + encode_call("sendMerkleTreeState()").hex()
    return "eth_call", [{"from": NOBODY, "to": ARB_SYS, "data": view}, {"blockHash": block}]


def read_tree_state(answer: str) -> tuple[int, bytes]:
    """(size, root) of the answer to `tree_state_request`."""
    size, root, _ = decode_result(["uint256", "bytes32", "bytes32[]"], bytes.fromhex(answer[2:]))
    return int(size), bytes(root)


async def _operator(name: str, rpc: NodeRpc) -> Account:
    """An account of this bridge's own, so that several bridges can work on one chain."""
    address = Address("0x" + keccak256(f"rollup of {name}".encode())[12:].hex())
    await rpc.call("anvil_impersonateAccount", address)
    await rpc.call("anvil_setBalance", address, hex(RICH))
    return Account(address, b"")


def _behind_proxy(deployer: Deployer, contract: str) -> Address:
    logic = deployer.create(nitro_artefact(contract).creation())
    name = "TransparentUpgradeableProxy"
    proxy = load_json(ARTEFACTS / PROXY / f"{name}.sol" / f"{name}.json")
    return deployer.create(proxy.creation(logic, PROXY_ADMIN, b""))


def nitro_artefact(contract: str) -> Artefact:
    """A compiled contract of the bridge's folder."""
    return load_json(ARTEFACTS / "src/bridge" / f"{contract}.sol" / f"{contract}.json")
