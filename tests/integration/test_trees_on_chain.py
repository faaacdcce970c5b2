"""Our tree against the contracts' own: the library that Hyperlane deploys, on a real chain."""

from __future__ import annotations

import pytest

from relayer.adapter import EmptyRule, NodeAt, TreeShape
from relayer.devnet.accounts import DEPLOYER
from relayer.devnet.anvil import Anvil
from relayer.devnet.artefacts import encode_call, load
from relayer.devnet.deployer import Deployer
from relayer.devnet.multicall import eth_call
from relayer.keccak import keccak256
from relayer.trees import append_only

pytestmark = pytest.mark.chain

SHAPE = TreeShape(EmptyRule.LADDER, 32)
LEAVES = [keccak256(b"leaf %d" % number) for number in range(40)]


async def test_every_size_has_the_contracts_root_and_every_proof_its_branch_root(
    node: Anvil,
) -> None:
    """TestMerkle.root() after each insert, and branchRoot() of our proofs, agree with ours."""
    deployer = await Deployer.open(node.rpc, DEPLOYER)
    contract = deployer.create(load("test/TestMerkle").bytecode)
    await deployer.flush()
    nodes: dict[NodeAt, bytes] = {}
    for size, leaf in enumerate(LEAVES, start=1):
        nodes |= append_only.append(SHAPE, size - 1, nodes, [leaf])
        deployer.call(contract, encode_call("insert(bytes32)", [leaf]))
        await deployer.flush()
        root = append_only.root(SHAPE, size, nodes)
        assert root == await eth_call(node.rpc, contract, encode_call("root()"))
    for index in range(0, len(LEAVES), 7):
        for size in (index + 1, len(LEAVES)):
            proof = append_only.proof(SHAPE, index, size, nodes)
            view = encode_call(
                "branchRoot(bytes32,bytes32[32],uint256)", [LEAVES[index], proof, index]
            )
            assert await eth_call(node.rpc, contract, view) == append_only.root(SHAPE, size, nodes)
