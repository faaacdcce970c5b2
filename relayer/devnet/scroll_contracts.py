"""Deploys Scroll's real contracts on a local layer 1 and layer 2, and targets for messages.

Compiled from the sources in `@scroll-tech/contracts` 4.0.0 behind OpenZeppelin's proxies. Contracts
that withdrawals do not pass through (queues of deposits, verifier, ...) are one mock of six bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from relayer.devnet.accounts import DEPLOYER
from relayer.devnet.artefacts import Artefact, encode_call
from relayer.devnet.deployer import Deployer, created_address, install_code
from relayer.devnet.multicall import eth_call
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.solidity import compile_contracts
from relayer.devnet.targets import compile_targets
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

MESSAGE_QUEUE = Address("0x5300000000000000000000000000000000000000")
OPERATOR = Address("0x00000000000000000000000000000000005c09e4")
"""Sequencer and prover; the local layer 1 sends for it without a key."""
OWNER_SLOT = 82
"""`owner` of L2MessageQueue: after a root, a count and two arrays of 40 words."""
POT_WEI = 100 * 10**18
"""What the layer-1 messenger can pay out."""
GENESIS_STATE = b"\x5c" * 32
BLOB_HASH = b"\x01" + b"\x5c" * 31
"""Versioned hash of the blob of every local batch."""
TARGET_NAMES = ("Target", "Switched", "TwoFaced", "Hungry", "Guarded")


@dataclass(frozen=True, slots=True)
class ScrollL1:
    """Contracts on layer 1."""

    messenger: Address
    scroll_chain: Address
    genesis_hash: bytes
    targets: Mapping[str, Address]
    """By the name of the contract in `devnet.targets`."""
    start_block: int


@dataclass(frozen=True, slots=True)
class ScrollL2:
    """Contracts on the rollup."""

    messenger: Address
    start_block: int


async def deploy_scroll(l1: NodeRpc, l2: NodeRpc, l2_chain_id: int) -> tuple[ScrollL1, ScrollL2]:
    """Put both sides on their chains; the messengers know each other's proxies."""
    code = await _compile()
    on_l1, on_l2 = await Deployer.open(l1, DEPLOYER), await Deployer.open(l2, DEPLOYER)
    starts = [int(await rpc.call("eth_blockNumber"), 16) for rpc in (l1, l2)]
    l2_nonce = int(await l2.call("eth_getTransactionCount", DEPLOYER.address, "pending"), 16)
    l2_messenger = created_address(DEPLOYER.address, l2_nonce + 1)  # after its implementation
    mock = on_l1.create(MOCK_CREATION)
    scroll_chain = _create_scroll_chain(on_l1, code, mock, l2_chain_id)
    implementation = on_l1.create(
        code["L1ScrollMessenger"].creation(l2_messenger, scroll_chain, mock, mock, mock)
    )
    initialize = encode_call(
        "initialize(address,address,address,address)", [l2_messenger, mock, scroll_chain, mock]
    )
    l1_messenger = on_l1.create(code["ERC1967Proxy"].creation(implementation, initialize))
    on_l1.call(l1_messenger, b"", value=POT_WEI)
    targets = {name: on_l1.create(code[name].creation()) for name in TARGET_NAMES}
    await on_l1.flush()
    await _deploy_l2(on_l2, code, l1_messenger, l2_messenger)
    genesis = keccak256(_GENESIS_HEADER)
    return (
        ScrollL1(l1_messenger, scroll_chain, genesis, targets, starts[0]),
        ScrollL2(l2_messenger, starts[1]),
    )


MOCK_CREATION = bytes.fromhex("60068060093d393df36101006000f3")
"""Six bytes of code that answer everything with 256 zero bytes."""
_GENESIS_HEADER = bytes(25) + b"\x01".rjust(32, b"\x00") + bytes(32)
"""Batch header version 0: only the data hash is not zero (`BatchHeaderV0Codec`)."""
_PACKAGE = "@scroll-tech/contracts"


async def _compile() -> dict[str, Artefact]:
    contracts = await compile_contracts(
        {},
        [
            (f"{_PACKAGE}/L1/L1ScrollMessenger.sol", "L1ScrollMessenger"),
            (f"{_PACKAGE}/L2/L2ScrollMessenger.sol", "L2ScrollMessenger"),
            (f"{_PACKAGE}/L2/predeploys/L2MessageQueue.sol", "L2MessageQueue"),
            (f"{_PACKAGE}/mocks/ScrollChainMockBlob.sol", "ScrollChainMockBlob"),
            ("@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol", "ERC1967Proxy"),
        ],
    )
    return contracts | await compile_targets(TARGET_NAMES)


def _create_scroll_chain(
    deployer: Deployer, code: Mapping[str, Artefact], mock: Address, l2_chain_id: int
) -> Address:
    creation = code["ScrollChainMockBlob"].creation(l2_chain_id, mock, mock, mock, mock)
    implementation = deployer.create(creation)
    initialize = encode_call("initialize(address,address,uint256)", [mock, mock, 100])
    proxy = deployer.create(code["ERC1967Proxy"].creation(implementation, initialize))
    genesis = [_GENESIS_HEADER, GENESIS_STATE]
    deployer.call(proxy, encode_call("importGenesisBatch(bytes,bytes32)", genesis))
    deployer.call(proxy, encode_call("addSequencer(address)", [OPERATOR]))
    deployer.call(proxy, encode_call("addProver(address)", [OPERATOR]))
    deployer.call(proxy, encode_call("setBlobVersionedHash(uint256,bytes32)", [0, BLOB_HASH]))
    return proxy


async def _deploy_l2(
    deployer: Deployer, code: Mapping[str, Artefact], l1_messenger: Address, expected: Address
) -> None:
    """The messenger, and the queue where the rollup predeploys it."""
    rpc, owner = deployer.rpc, deployer.account.address
    await install_code(rpc, MESSAGE_QUEUE, code["L2MessageQueue"].creation(owner))
    word = "0x" + owner[2:].rjust(64, "0")
    await rpc.call("anvil_setStorageAt", MESSAGE_QUEUE, hex(OWNER_SLOT), word)
    implementation = deployer.create(
        code["L2ScrollMessenger"].creation(l1_messenger, MESSAGE_QUEUE)
    )
    initialize = encode_call("initialize(address)", [l1_messenger])
    messenger = deployer.create(code["ERC1967Proxy"].creation(implementation, initialize))
    deployer.call(MESSAGE_QUEUE, encode_call("initialize(address)", [messenger]))
    await deployer.flush()
    told = await eth_call(rpc, MESSAGE_QUEUE, encode_call("messenger()"))
    if messenger != expected or told[12:].hex() != messenger[2:]:
        raise BadChainData("Scroll's layer-2 contracts are not set up as planned")
