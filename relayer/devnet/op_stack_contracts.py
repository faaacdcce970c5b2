"""Puts the OP Stack's contracts of the output-oracle generation on a local layer 1 and layer 2.

Compiled by their authors, out of npm `@eth-optimism/contracts-bedrock` 0.17.3: every layer-1
contract behind the stack's own proxy; on layer 2 they lie where every OP chain predeploys them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relayer.devnet.accounts import DEPLOYER
from relayer.devnet.artefacts import Artefact, encode_call, load_forge
from relayer.devnet.deployer import Deployer, install_code, unlock_account
from relayer.devnet.multicall import eth_call
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.targets import compile_targets
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

ARTEFACTS = Path("@eth-optimism/contracts-bedrock/forge-artifacts")
L2_MESSENGER = Address("0x4200000000000000000000000000000000000007")
L1_BLOCK = Address("0x4200000000000000000000000000000000000015")
MESSAGE_PASSER = Address("0x4200000000000000000000000000000000000016")
MESSAGE_PASSED = (
    "0x" + keccak256(b"MessagePassed(uint256,address,address,uint256,uint256,bytes,bytes32)").hex()
)
PROPOSER = Address("0x0000000000000000000000000000000000090905")
CHALLENGER = Address("0x00000000000000000000000000000000000c4a11")
"""Two accounts without keys that the local layer 1 sends for."""
NOBODY = Address("0x" + "00" * 20)
ETHER = Address("0x" + "ee" * 20)
"""What SystemConfig names as the gas token when that is ether."""
POT = hex(100 * 10**18)
"""What the portal can pay out."""
TARGET_NAMES = ("Target", "Switched", "Hungry")

RESOURCES = (20_000_000, 10, 8, 10**9, 1_000_000, 2**128 - 1)
"""The rules for deposits (`ResourceMetering.ResourceConfig`), as its own tests have them."""
INITIALIZE_SYSTEM = (
    "initialize(address,uint32,uint32,bytes32,uint64,address,"
    "(uint32,uint8,uint8,uint32,uint32,uint128),address,"
    "(address,address,address,address,address,address,address))"
)
INITIALIZE_ORACLE = "initialize(uint256,uint256,uint256,uint256,address,address,uint256)"


@dataclass(frozen=True, slots=True)
class OracleRules:
    """What the output oracle is told for good."""

    interval: int = 4
    """Layer-2 blocks from one output to the next."""
    finalization_s: int = 8
    """Seconds that an output, and a proof against it, can be challenged (seven days in earnest)."""


@dataclass(frozen=True, slots=True)
class OpL1:
    """An OP chain's contracts on layer 1."""

    portal: Address
    messenger: Address
    oracle: Address | None
    """Of the generation before dispute games."""
    factory: Address | None
    """Of dispute games."""
    targets: Mapping[str, Address]
    """By the name of the contract in `devnet.targets`."""
    start_block: int


async def deploy_oracle_generation(l1: NodeRpc, l2: NodeRpc, rules: OracleRules) -> OpL1:
    """Put both sides on their chains; the first output is due `rules.interval` blocks from now."""
    targets = await compile_targets(TARGET_NAMES)
    on_l1 = await Deployer.open(l1, DEPLOYER)
    start_block = int(await l1.call("eth_blockNumber"), 16)
    names = ("Superchain", "System", "Oracle", "Portal", "Messenger")
    proxies = {name: on_l1.create(_code("Proxy").creation(DEPLOYER.address)) for name in names}
    for place, (contract, initialize) in zip(
        proxies.values(), await _initializers(l2, proxies, rules), strict=True
    ):
        implementation = on_l1.create(_code(contract).creation())
        upgrade = [implementation, initialize]
        on_l1.call(place, encode_call("upgradeToAndCall(address,bytes)", upgrade))
    places = {name: on_l1.create(targets[name].creation()) for name in TARGET_NAMES}
    await on_l1.flush()
    await l1.call("anvil_setBalance", proxies["Portal"], POT)
    for account in (PROPOSER, CHALLENGER):
        await unlock_account(l1, account)
    await _predeploy(l2, proxies["Messenger"])
    site = OpL1(
        proxies["Portal"], proxies["Messenger"], proxies["Oracle"], None, places, start_block
    )
    await _check(l1, site)
    return site


async def _initializers(
    l2: NodeRpc, proxies: Mapping[str, Address], rules: OracleRules
) -> list[tuple[str, bytes]]:
    """Contract and first call of each proxy, in their order."""
    superchain, system, oracle, portal, messenger = proxies.values()
    return [
        (
            "SuperchainConfig",
            encode_call("initialize(address,bool)", [DEPLOYER.address, False]),
        ),
        ("SystemConfig", encode_call(INITIALIZE_SYSTEM, _system_arguments(portal, messenger))),
        ("L2OutputOracle", encode_call(INITIALIZE_ORACLE, await _oracle_arguments(l2, rules))),
        (
            "OptimismPortal",
            encode_call("initialize(address,address,address)", [oracle, system, superchain]),
        ),
        (
            "L1CrossDomainMessenger",
            encode_call("initialize(address,address,address)", [superchain, portal, system]),
        ),
    ]


def _system_arguments(portal: Address, messenger: Address) -> list[Any]:
    owner = DEPLOYER.address
    places = (messenger, NOBODY, NOBODY, NOBODY, portal, NOBODY, ETHER)
    return [owner, 1368, 810_949, bytes(32), 30_000_000, owner, RESOURCES, NOBODY, places]


async def _oracle_arguments(l2: NodeRpc, rules: OracleRules) -> list[Any]:
    """The oracle reckons a second a block and takes no output of the future. Local chains make
    blocks faster than that when they are asked to, so its reckoning starts in 1970."""
    head = int(await l2.call("eth_blockNumber"), 16)
    return [rules.interval, 1, head, 0, PROPOSER, CHALLENGER, rules.finalization_s]


async def _predeploy(l2: NodeRpc, l1_messenger: Address) -> None:
    for place, contract in (
        (MESSAGE_PASSER, "L2ToL1MessagePasser"),
        (L2_MESSENGER, "L2CrossDomainMessenger"),
        (L1_BLOCK, "L1Block"),
    ):
        await install_code(l2, place, _code(contract).creation())
    deployer = await Deployer.open(l2, DEPLOYER)
    deployer.call(L2_MESSENGER, encode_call("initialize(address)", [l1_messenger]))
    await deployer.flush()


async def _check(l1: NodeRpc, site: OpL1) -> None:
    told = await eth_call(l1, site.messenger, encode_call("portal()"))
    oracle = await eth_call(l1, site.portal, encode_call("l2Oracle()"))
    if (told[12:].hex(), oracle[12:].hex()) != (site.portal[2:], str(site.oracle)[2:]):
        raise BadChainData("the OP Stack's layer-1 contracts are not set up as planned")


def _code(contract: str) -> Artefact:
    return load_forge(ARTEFACTS / f"{contract}.sol" / f"{contract}.json")
