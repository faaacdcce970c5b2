"""Plays the OP Stack's proposer and guardian since there are dispute games, on supersim's layer 1.

Contracts and chain are supersim's (portal 4.6.0, permissioned games). A game is decided once its
clock has run out without another move: we put the layer 1's clock forward for that and write down
by how much, for whoever measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from relayer.devnet.accounts import DEPLOYER
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer, send_as, unlock_account
from relayer.devnet.ledger import block_times, logs_of
from relayer.devnet.multicall import eth_call
from relayer.devnet.op_stack_contracts import (
    L2_MESSENGER,
    MESSAGE_PASSED,
    MESSAGE_PASSER,
    POT,
    TARGET_NAMES,
    OpL1,
)
from relayer.devnet.op_stack_outputs import Claim, output_root, to_the_end
from relayer.devnet.rpc import NodeRpc
from relayer.devnet.targets import compile_targets
from relayer.errors import BadChainData
from relayer.keccak import keccak256
from relayer.message import Address

BEAT_S, POLL_S = 0.5, 0.1
PERMISSIONED = 1
"""The type of supersim's games."""
ATTACK = 2
"""The position of a move against a root claim: the left child of node 1."""
CREATED = "0x" + keccak256(b"DisputeGameCreated(address,uint32,bytes32)").hex()
L1_BLOCK_S = 2
"""supersim's layer 1 makes a block every 12 seconds; a demo has less patience."""


@dataclass(frozen=True, slots=True)
class Warp:
    """One time the layer 1's clock was put forward."""

    block: int
    """The first one after it."""
    seconds: int


async def adopt_game_generation(l1: NodeRpc, l2: NodeRpc) -> OpL1:
    """Find supersim's contracts by what its layer 2 says, and put targets and money on layer 1."""
    messenger = await _address(l2, L2_MESSENGER, "otherMessenger()")
    portal = await _address(l1, messenger, "portal()")
    factory = await _address(l1, portal, "disputeGameFactory()")
    lockbox = await _address(l1, portal, "ethLockbox()")
    await l1.call("evm_setIntervalMining", L1_BLOCK_S)
    await l1.call("anvil_setBalance", lockbox, POT)
    code = await compile_targets(TARGET_NAMES)
    deployer = await Deployer.open(l1, DEPLOYER)
    targets = {name: deployer.create(code[name].creation()) for name in TARGET_NAMES}
    await deployer.flush()
    return OpL1(portal, messenger, None, factory, targets, 0)


class GameProposer:
    """Makes games over layer-2 blocks and decides them, one at a time."""

    def __init__(self, l1: NodeRpc, l2: NodeRpc, site: OpL1) -> None:
        assert site.factory is not None
        self._l1 = l1
        self._l2 = l2
        self._portal = site.portal
        self._factory = site.factory
        self._lock = asyncio.Lock()
        self.claims: list[Claim] = []
        """The root claims of all games made, in their order."""
        self.warps: list[Warp] = []

    async def run(self) -> None:
        """Make and decide a game whenever there are withdrawals without one, until cancelled."""
        while True:
            newest = await self._newest_withdrawal()
            if newest > max((one.l2_block for one in self.claims if one.is_true), default=0):
                await self.resolve(await self.propose())
            await asyncio.sleep(BEAT_S)

    async def propose(self, *, root: bytes | None = None) -> Claim:
        """Make a game over the layer 2's newest block; `root` is a lie to tell."""
        async with self._lock:
            return await to_the_end(self._propose(root))

    async def resolve(self, claim: Claim) -> None:
        """Let a game's clock run out without a dispute, so that the claim wins, true or not."""
        async with self._lock:
            await to_the_end(self._decide(claim, subgames=(0,)))

    async def dispute(self, claim: Claim) -> None:
        """Let the challenger deny a claim and get no answer, so that it is lost, true or not."""
        async with self._lock:
            await to_the_end(self._challenge(claim))

    async def warp(self, seconds: int) -> None:
        """Put the layer 1's clock forward."""
        async with self._lock:
            await self._warp(seconds)

    async def blacklist(self, claim: Claim) -> None:
        """Declare a game void, as the guardian may at any time."""
        await self._guard(encode_call("blacklistDisputeGame(address)", [claim.game]))

    async def retire(self) -> None:
        """Declare every game made so far void."""
        await self._guard(encode_call("updateRetirementTimestamp()"))

    async def _propose(self, root: bytes | None) -> Claim:
        block = await self._fresh_block()
        truth = await output_root(self._l2, block)
        said = root or truth
        rules = await _address(self._l1, self._factory, "gameImpls(uint32)", PERMISSIONED)
        proposer = await _address(self._l1, rules, "proposer()")
        await unlock_account(self._l1, proposer)
        arguments = [PERMISSIONED, said, block.to_bytes(32, "big")]
        create = encode_call("create(uint32,bytes32,bytes)", arguments)
        receipt = await send_as(self._l1, proposer, self._factory, create)
        (created,) = [log for log in receipt["logs"] if log["topics"][0] == CREATED]
        count = await eth_call(self._l1, self._factory, encode_call("gameCount()"))
        claim = Claim(
            block,
            said,
            int(receipt["blockNumber"], 16),
            int.from_bytes(count, "big") - 1,
            is_true=said == truth,
            game=Address("0x" + created["topics"][1][-40:]),
        )
        self.claims.append(claim)
        return claim

    async def _challenge(self, claim: Claim) -> None:
        assert claim.game is not None
        challenger = await _address(self._l1, claim.game, "challenger()")
        await unlock_account(self._l1, challenger)
        view = encode_call("getRequiredBond(uint128)", [ATTACK])
        bond = int.from_bytes(await eth_call(self._l1, claim.game, view), "big")
        attack = encode_call("attack(bytes32,uint256,bytes32)", [claim.root, 0, keccak256(b"no")])
        await send_as(self._l1, challenger, claim.game, attack, value=bond)
        await self._decide(claim, subgames=(1, 0))

    async def _decide(self, claim: Claim, *, subgames: Sequence[int]) -> None:
        """Run the clock out and count the moves, each in its subgame, the last one first."""
        assert claim.game is not None
        limit = await eth_call(self._l1, claim.game, encode_call("maxClockDuration()"))
        await self._warp(int.from_bytes(limit, "big"))
        anybody = await Deployer.open(self._l1, DEPLOYER)
        for one in subgames:
            anybody.call(claim.game, encode_call("resolveClaim(uint256,uint256)", [one, 0]))
        anybody.call(claim.game, encode_call("resolve()"))
        await anybody.flush()

    async def _warp(self, seconds: int) -> None:
        before = int(await self._l1.call("eth_blockNumber"), 16)
        await self._l1.call("evm_increaseTime", seconds)
        await self._l1.call("evm_mine")
        head = int(await self._l1.call("eth_blockNumber"), 16)
        times = await block_times(self._l1, range(before, head + 1))
        # it makes blocks by itself too, so ours need not be the one that jumps
        new = range(before + 1, head + 1)
        self.warps.append(Warp(max(new, key=lambda at: times[at] - times[at - 1]), seconds))

    async def _guard(self, call_data: bytes) -> None:
        registry = await _address(self._l1, self._portal, "anchorStateRegistry()")
        guardian = await _address(self._l1, self._portal, "guardian()")
        await unlock_account(self._l1, guardian)
        await send_as(self._l1, guardian, registry, call_data)

    async def _fresh_block(self) -> int:
        """The layer 2's newest block, when there is one without a game: each has but one."""
        last = self.claims[-1].l2_block if self.claims else 0
        while True:
            block = int(await self._l2.call("eth_blockNumber"), 16)
            if block > last:
                return block
            await asyncio.sleep(POLL_S)

    async def _newest_withdrawal(self) -> int:
        logs = await logs_of(self._l2, MESSAGE_PASSED, str(MESSAGE_PASSER))
        return max((int(log["blockNumber"], 16) for log in logs), default=0)


async def _address(rpc: NodeRpc, at: Address, view: str, *arguments: object) -> Address:
    answer = await eth_call(rpc, at, encode_call(view, arguments))
    if len(answer) != 32 or not any(answer):
        raise BadChainData(f"{at} names nobody as {view}")
    return Address("0x" + answer[12:].hex())
