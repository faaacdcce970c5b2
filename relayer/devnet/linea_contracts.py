"""Deploys Linea's real contracts on two local chains, behind proxies, as its own tests do.

Source: `@consensys/linea-sdk` 0.3.0, which holds LineaRollup and L2MessageService as bytecode (the
contracts of early 2024; the events, the proof and the claims are those of today).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relayer.devnet.accounts import DEPLOYER
from relayer.devnet.artefacts import Artefact, encode_call, load_factory
from relayer.devnet.deployer import Deployer
from relayer.devnet.rpc import NodeRpc
from relayer.keccak import keccak256
from relayer.message import Address

FACTORIES = Path("@consensys/linea-sdk/dist/typechain/factories")
STATE_ROOT = keccak256(b"the state before the first block")
SOMEBODY = Address("0x" + keccak256(b"a verifier that nobody asks")[12:].hex())
RICH = hex(10**24)

INITIALIZE_ROLLUP = "initialize(bytes32,uint256,address,address,address[],uint256,uint256,uint256)"
"""The last argument, a migration block, must only not be zero."""
INITIALIZE_SERVICE = "initialize(address,address,uint256,uint256)"

RECEIVED = keccak256(b"what arrived")
"""topic0 of the one log that `MAILBOX` makes; its data are the call data that arrived."""

MAILBOX_CODE = (
    bytes.fromhex("365f5f37")  # CALLDATASIZE PUSH0 PUSH0 CALLDATACOPY
    + b"\x7f" + RECEIVED  # PUSH32
    + bytes.fromhex("365fa100")  # CALLDATASIZE PUSH0 LOG1 STOP
)  # fmt: skip
MAILBOX = Address("0x0000000000000000000000000000000000011ea1")
"""Logs whatever it is called with and keeps the money."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The rate limit of a message service."""

    period_s: int = 86_400
    limit: int = 10**24
    """Wei per period."""


@dataclass(frozen=True, slots=True)
class LineaSite:
    """One side of the bridge on its chain."""

    name: str
    rpc: NodeRpc
    service: Address
    """The proxy of LineaRollup or L2MessageService."""
    operator: Address
    """Who plays council, sequencer and coordinator there."""
    start_block: int


async def deploy_rollup(name: str, rpc: NodeRpc, limits: Limits) -> LineaSite:
    """Put LineaRollup on the layer 1, with money to pay messages out of."""
    operator = await _operator(rpc, name)
    arguments = [
        STATE_ROOT, 0, SOMEBODY, operator, [operator], limits.period_s, limits.limit, 1,
    ]  # fmt: skip
    return await _deploy(
        name, rpc, "LineaRollup", encode_call(INITIALIZE_ROLLUP, arguments), operator
    )


async def deploy_message_service(name: str, rpc: NodeRpc, limits: Limits) -> LineaSite:
    """Put L2MessageService on the layer 2, with money to pay messages out of."""
    operator = await _operator(rpc, name)
    arguments = [operator, operator, limits.period_s, limits.limit]
    return await _deploy(
        name, rpc, "L2MessageService", encode_call(INITIALIZE_SERVICE, arguments), operator
    )


async def _deploy(
    name: str, rpc: NodeRpc, contract: str, initialize: bytes, operator: Address
) -> LineaSite:
    start_block = int(await rpc.call("eth_blockNumber"), 16)
    deployer = await Deployer.open(rpc, DEPLOYER)
    code = deployer.create(_factory(contract).creation())
    proxy = _factory("TransparentUpgradeableProxy")
    service = deployer.create(proxy.creation(code, SOMEBODY, initialize))
    await deployer.flush()
    await rpc.call("anvil_setBalance", service, RICH)
    await rpc.call("anvil_setCode", MAILBOX, "0x" + MAILBOX_CODE.hex())
    return LineaSite(name, rpc, service, operator, start_block)


async def _operator(rpc: NodeRpc, name: str) -> Address:
    """An account of the bridge's own, unlocked and funded."""
    operator = Address("0x" + keccak256(f"operator of linea on {name}".encode())[12:].hex())
    await rpc.call("anvil_impersonateAccount", operator)
    await rpc.call("anvil_setBalance", operator, RICH)
    return operator


def _factory(contract: str) -> Artefact:
    return load_factory(FACTORIES / f"{contract}__factory.js")
