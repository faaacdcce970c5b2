"""Deploys Hyperlane's real contracts on a local chain.

Source of all signatures: hyperlane-xyz/hyperlane-monorepo, `solidity/contracts` as published in
`@hyperlane-xyz/core` 9.0.9. Unlike on most real chains the MerkleTreeHook is the required hook
alone, so that every dispatch is a leaf whatever the sender's default hook costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from relayer.devnet.accounts import DEPLOYER, Account
from relayer.devnet.artefacts import decode_result, encode_call, load
from relayer.devnet.deployer import Deployer
from relayer.devnet.multicall import eth_call
from relayer.devnet.rpc import NodeRpc
from relayer.message import Address

RATE_ONE = 10**10
"""Scale of the gas oracle's exchange rate."""
OVERHEAD_GAS = 75_000
"""What the paymaster adds to the user's gas for the delivery itself."""
GAS_PRICE = 10**9


class IsmKind(StrEnum):
    """What a chain's mailbox asks of a delivery by default."""

    MERKLE_ROOT = "merkle_root"
    MESSAGE_ID = "message_id"
    AGGREGATION = "aggregation"
    """Both of the above, two of two."""
    NOOP = "noop"


@dataclass(frozen=True, slots=True)
class HyperlanePlan:
    """What to deploy on one chain."""

    domain: int
    ism: IsmKind
    validators: tuple[Address, ...]
    threshold: int
    paid_domains: tuple[int, ...] = ()
    """Destinations whose gas the default hook, a paymaster, sells; none: dispatch is free."""


@dataclass(frozen=True, slots=True)
class HyperlaneChain:
    """The addresses of one chain's deployment."""

    domain: int
    mailbox: Address
    merkle_tree_hook: Address
    validator_announce: Address
    default_ism: Address
    merkle_root_ism: Address
    message_id_ism: Address
    igp: Address
    gas_oracle: Address
    recipient: Address
    """A TestRecipient."""
    start_block: int


async def deploy_hyperlane(
    rpc: NodeRpc, plan: HyperlanePlan, *, owner: Account = DEPLOYER
) -> HyperlaneChain:
    """Put all of Hyperlane on a chain; takes a few blocks, mined at once."""
    start_block = int(await rpc.call("eth_blockNumber"), 16)
    deployer = await Deployer.open(rpc, owner)
    chain, factory = _create_all(deployer, plan, start_block)
    await deployer.flush()
    if plan.ism is IsmKind.AGGREGATION:
        parts = (chain.merkle_root_ism, chain.message_id_ism)
        ism = await deploy_aggregation(deployer, factory, parts)
        chain = replace(chain, default_ism=ism)
    free_hook = deployer.create(load("test/TestPostDispatchHook").creation())
    _set_up(deployer, plan, chain, chain.igp if plan.paid_domains else free_hook)
    await deployer.flush()
    return chain


async def deploy_aggregation(
    deployer: Deployer, factory: Address, parts: Sequence[Address]
) -> Address:
    """Make an aggregation ISM that wants all of `parts`."""
    arguments = [list(parts), len(parts)]
    deployer.call(factory, encode_call("deploy(address[],uint8)", arguments))
    await deployer.flush()
    view = encode_call("getAddress(address[],uint8)", arguments)
    answer = await eth_call(deployer.rpc, factory, view)
    return Address(str(decode_result(["address"], answer)[0]))


def _create_all(
    deployer: Deployer, plan: HyperlanePlan, start_block: int
) -> tuple[HyperlaneChain, Address]:
    def create(path: str, *arguments: object) -> Address:
        return deployer.create(load(path).creation(*arguments))

    storage = "isms/multisig/StorageMultisigIsm.sol"
    signed_by = (list(plan.validators), plan.threshold)
    mailbox = create("Mailbox", plan.domain)
    merkle_root = create(f"{storage}/StorageMerkleRootMultisigIsm", *signed_by)
    message_id = create(f"{storage}/StorageMessageIdMultisigIsm", *signed_by)
    default = {
        IsmKind.MERKLE_ROOT: merkle_root,
        IsmKind.MESSAGE_ID: message_id,
        IsmKind.AGGREGATION: merkle_root,  # until the aggregation is made of both
        IsmKind.NOOP: create("isms/NoopIsm"),
    }
    chain = HyperlaneChain(
        domain=plan.domain,
        mailbox=mailbox,
        merkle_tree_hook=create("hooks/MerkleTreeHook", mailbox),
        validator_announce=create("isms/multisig/ValidatorAnnounce", mailbox),
        default_ism=default[plan.ism],
        merkle_root_ism=merkle_root,
        message_id_ism=message_id,
        igp=create("hooks/igp/InterchainGasPaymaster"),
        gas_oracle=create("hooks/igp/StorageGasOracle"),
        recipient=create("test/TestRecipient"),
        start_block=start_block,
    )
    return chain, create("isms/aggregation/StaticAggregationIsmFactory")


def _set_up(
    deployer: Deployer, plan: HyperlanePlan, chain: HyperlaneChain, default_hook: Address
) -> None:
    owner = deployer.account.address
    hooks = [owner, chain.default_ism, default_hook, chain.merkle_tree_hook]
    initialize = encode_call("initialize(address,address,address,address)", hooks)
    deployer.call(chain.mailbox, initialize)
    deployer.call(chain.igp, encode_call("initialize(address,address)", [owner, owner]))
    if not plan.paid_domains:
        return
    prices = [(domain, RATE_ONE, GAS_PRICE) for domain in plan.paid_domains]
    set_prices = "setRemoteGasDataConfigs((uint32,uint128,uint128)[])"
    deployer.call(chain.gas_oracle, encode_call(set_prices, [prices]))
    configs = [(domain, (chain.gas_oracle, OVERHEAD_GAS)) for domain in plan.paid_domains]
    set_configs = "setDestinationGasConfigs((uint32,(address,uint96))[])"
    deployer.call(chain.igp, encode_call(set_configs, [configs]))
