"""Contracts of ours for a local Nitro chain: what its nodes and its rollup do besides the bridge.

Sources of what they copy: `precompiles/ArbSys.go`, `arbos/merkleAccumulator/merkleAccumulator.go`
and `execution/nodeinterface/node_interface.go` of OffchainLabs/nitro, both generations of
`src/rollup/RollupCore.sol` of OffchainLabs/nitro-contracts.
"""

from __future__ import annotations

from relayer.devnet.artefacts import Artefact
from relayer.devnet.solidity import compile_contracts

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

interface IOutbox {
    function updateSendRoot(bytes32 root, bytes32 l2BlockHash) external;
}

/// What owns a bridge: confirms roots, with the event of either generation of rollups.
contract LocalRollup {
    event NodeConfirmed(uint64 indexed nodeNum, bytes32 blockHash, bytes32 sendRoot);
    event AssertionConfirmed(bytes32 indexed assertionHash, bytes32 blockHash, bytes32 sendRoot);

    address public immutable owner;
    bool private immutable bold;
    uint64 private confirmed;

    constructor(address owner_, bool bold_) {
        owner = owner_;
        bold = bold_;
    }

    function confirm(IOutbox outbox, bytes32 sendRoot, bytes32 blockHash) external {
        require(msg.sender == owner, "not the operator");
        outbox.updateSendRoot(sendRoot, blockHash);
        confirmed++;
        if (bold) {
            emit AssertionConfirmed(keccak256(abi.encode(confirmed)), blockHash, sendRoot);
        } else {
            emit NodeConfirmed(confirmed, blockHash, sendRoot);
        }
    }
}

/// What Nitro nodes answer at 0xc8: proofs from all leaves, which a contract has to be told.
contract LocalNodeInterface {
    bytes32[] private leaves;
    bool private lying;

    function tell(bytes32[] calldata items) external {
        for (uint256 i = 0; i < items.length; i++) {
            leaves.push(keccak256(abi.encodePacked(items[i])));
        }
    }

    function lie(bool wanted) external {
        lying = wanted;
    }

    function constructOutboxProof(uint64 size, uint64 leaf)
        external view returns (bytes32 send, bytes32 root, bytes32[] memory proof)
    {
        uint256 height = 0;
        while ((uint256(1) << height) < size) height++;
        proof = new bytes32[](height);
        for (uint256 level = 0; level < height; level++) {
            proof[level] = node(size, level, (leaf >> level) ^ 1);
        }
        send = leaves[leaf];
        root = node(size, height, 0);
        if (lying && height > 0) proof[0] = keccak256("a lie");
    }

    function node(uint256 size, uint256 level, uint256 index) private view returns (bytes32) {
        if (index << level >= size) return 0;
        if (level == 0) return leaves[index];
        return keccak256(abi.encodePacked(
            node(size, level - 1, 2 * index), node(size, level - 1, 2 * index + 1)
        ));
    }
}
"""


async def compiled(*contracts: str) -> dict[str, Artefact]:
    """Those contracts, compiled or from the cache."""
    return await compile_contracts({UNIT: SOURCE}, [(UNIT, contract) for contract in contracts])
