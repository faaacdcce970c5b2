"""Deploys a Nitro rollup's bridge on a local parent chain, and its ArbSys on a local child chain.

Bridge and outbox are the real ones of `@arbitrum/nitro-contracts` 3.2.0, behind their proxies; the
rollup that owns them is an account of ours. ArbSys is a precompile of Nitro nodes, written in Go
(`precompiles/ArbSys.go` and `arbos/merkleAccumulator/merkleAccumulator.go` of OffchainLabs/nitro);
on a local node a contract at its address does the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relayer.devnet.accounts import DEPLOYER, Account
from relayer.devnet.artefacts import Artefact, decode_result, encode_call, load_json
from relayer.devnet.deployer import Deployer
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.solidity import compile_contracts
from relayer.keccak import keccak256
from relayer.message import Address

ARTEFACTS = Path("@arbitrum/nitro-contracts/build/contracts")
PROXY = Path("@openzeppelin/contracts/proxy/transparent")
ARB_SYS = Address("0x0000000000000000000000000000000000000064")
NOBODY = Address("0x" + "00" * 20)
PROXY_ADMIN = Address("0x" + keccak256(b"admin of the proxies")[12:].hex())
RICH = 10**24
BRIDGE_FUNDS = 10**21

UNIT = "arbitrum_local.sol"
SOURCE = """
// SPDX-License-Identifier: MIT
pragma solidity 0.8.24;

/// What Nitro's precompile at 0x64 does with outgoing messages.
contract LocalArbSys {
    event L2ToL1Tx(
        address caller, address indexed destination, uint256 indexed hash, uint256 indexed position,
        uint256 arbBlockNum, uint256 ethBlockNum, uint256 timestamp, uint256 callvalue, bytes data
    );
    event SendMerkleUpdate(
        uint256 indexed reserved, bytes32 indexed hash, uint256 indexed position
    );

    uint256 private size;
    mapping(uint256 => bytes32) private partials;

    function withdrawEth(address destination) external payable returns (uint256) {
        return send(destination, "");
    }

    function sendTxToL1(address destination, bytes calldata data)
        external payable returns (uint256)
    {
        return send(destination, data);
    }

    function sendMerkleTreeState()
        external view returns (uint256, bytes32, bytes32[] memory)
    {
        require(msg.sender == address(0), "method can only be called by address zero");
        uint256 levels = partialCount(size);
        bytes32[] memory nodes = new bytes32[](levels);
        for (uint256 level = 0; level < levels; level++) nodes[level] = partials[level];
        return (size, rootOf(nodes), nodes);
    }

    function send(address destination, bytes memory data) private returns (uint256 position) {
        uint256 l1Block = block.number / 12;
        bytes32 item = keccak256(abi.encodePacked(
            msg.sender, destination, block.number, l1Block, block.timestamp, msg.value, data
        ));
        position = append(item);
        emit L2ToL1Tx(
            msg.sender, destination, uint256(item), position,
            block.number, l1Block, block.timestamp, msg.value, data
        );
    }

    function append(bytes32 item) private returns (uint256 position) {
        position = size++;
        bytes32 soFar = keccak256(abi.encodePacked(item));
        uint256 level = 0;
        while (level < partialCount(position) && partials[level] != 0) {
            soFar = keccak256(abi.encodePacked(partials[level], soFar));
            partials[level] = 0;
            level++;
            emit SendMerkleUpdate(0, soFar, (level << 192) | position);
        }
        partials[level] = soFar;
    }

    function rootOf(bytes32[] memory nodes) private pure returns (bytes32 soFar) {
        bool any = false;
        uint256 reached = 0;
        for (uint256 level = 0; level < nodes.length; level++) {
            if (nodes[level] == 0) continue;
            if (!any) {
                soFar = nodes[level];
                reached = level;
                any = true;
                continue;
            }
            for (; reached < level; reached++) {
                soFar = keccak256(abi.encodePacked(soFar, bytes32(0)));
            }
            soFar = keccak256(abi.encodePacked(nodes[level], soFar));
            reached = level + 1;
        }
    }

    function partialCount(uint256 leaves) private pure returns (uint256 bits) {
        for (; leaves > 0; leaves >>= 1) bits++;
    }
}

interface IActiveOutbox {
    function activeOutbox() external view returns (IActiveOutbox);
    function l2ToL1Sender() external view returns (address);
}

/// Takes whatever the bridge brings, and says what and from whom; can be told to refuse.
contract Doorstep {
    event Arrived(address sender, uint256 value, bytes data);

    uint256 private mood;

    function become(uint256 wanted) external {
        mood = wanted;
    }

    fallback() external payable {
        if (mood == 1) revert();
        if (mood == 2) revert("not today");
        address sender = IActiveOutbox(msg.sender).activeOutbox().l2ToL1Sender();
        emit Arrived(sender, msg.value, msg.data);
    }

    receive() external payable {}
}

/// The gas token of a chain that has its own.
contract GasToken {
    uint8 public immutable decimals;
    mapping(address => uint256) public balanceOf;

    constructor(uint8 decimals_) {
        decimals = decimals_;
        balanceOf[msg.sender] = 1 << 128;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        balanceOf[msg.sender] -= amount;
        balanceOf[to] += amount;
        return true;
    }
}
"""

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
    operator: Account
    """The rollup; unlocked, so it has no key."""
    start_block: int


async def deploy_parent(name: str, rpc: NodeRpc, *, token_decimals: int | None) -> ParentSite:
    """Put a bridge with an outbox on the parent, with money to pay withdrawals out of."""
    start_block = int(await rpc.call("eth_blockNumber"), 16)
    operator = await _operator(name, rpc)
    ours = await _compiled("Doorstep", "GasToken")
    deployer = await Deployer.open(rpc, DEPLOYER)
    kind = "" if token_decimals is None else "ERC20"
    bridge = _behind_proxy(deployer, f"{kind}Bridge")
    outbox = _behind_proxy(deployer, f"{kind}Outbox")
    doorstep = deployer.create(ours["Doorstep"].creation())
    token = None
    if token_decimals is None:
        deployer.call(bridge, encode_call("initialize(address)", [operator.address]))
        deployer.call(bridge, encode_call("acceptFundsFromOldBridge()"), value=BRIDGE_FUNDS)
    else:
        token = deployer.create(ours["GasToken"].creation(token_decimals))
        both = [operator.address, token]
        deployer.call(bridge, encode_call("initialize(address,address)", both))
        deployer.call(token, encode_call("transfer(address,uint256)", [bridge, BRIDGE_FUNDS]))
    deployer.call(outbox, encode_call("initialize(address)", [bridge]))
    await deployer.flush()
    rollup = await Deployer.open(rpc, operator)
    rollup.call(bridge, encode_call("setOutbox(address,bool)", [outbox, True]))
    await rollup.flush()
    return ParentSite(rpc, bridge, outbox, token, doorstep, operator, start_block)


async def install_arb_sys(rpc: NodeRpc) -> None:
    """Put ArbSys at its address on the child."""
    creation = (await _compiled("LocalArbSys"))["LocalArbSys"].creation()
    runtime = await rpc.call("eth_call", {"data": "0x" + creation.hex()}, "latest")
    await rpc.call("anvil_setCode", ARB_SYS, runtime)


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


async def _compiled(*contracts: str) -> dict[str, Artefact]:
    return await compile_contracts({UNIT: SOURCE}, [(UNIT, contract) for contract in contracts])
