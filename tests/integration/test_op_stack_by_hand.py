"""The local OP Stack is the real one: what its specification says is what its contracts take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from relayer.devnet.accounts import ANNOUNCER, RELAYERS
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Ground, GroundPlan
from relayer.devnet.ledger import wasted_calls
from relayer.devnet.multicall import eth_call
from relayer.devnet.op_stack import RELAYED, GamesLocal, OutputsLocal, Parcel
from relayer.devnet.op_stack_contracts import MESSAGE_PASSER
from relayer.devnet.supersim import supersim_obstacle
from relayer.errors import CallReverted
from relayer.keccak import keccak256
from relayer.trees.state_proof import prove_slot
from tests.integration.op_stack_by_hand import (
    NOWHERE,
    TWIN_BODIES,
    Withdrawal,
    finalize,
    prove,
    prove_call,
    prove_output,
    send,
    warp,
    withdrawal_of,
)

pytestmark = pytest.mark.chain
needs_supersim = pytest.mark.skipif(
    supersim_obstacle() is not None, reason=supersim_obstacle() or ""
)
PLAIN = Parcel(b"plain", value=5)
MESSAGE = Parcel(b"through the messengers", value=7, messenger=True)

CHALLENGER_WINS = (1).to_bytes(32, "big")


@pytest.fixture
async def outputs(tmp_path: Path) -> AsyncIterator[OutputsLocal]:
    """The first generation on chains where nothing moves by itself."""
    async with AsyncExitStack() as stack:
        bridge = OutputsLocal()
        plan = GroundPlan(block_time_s=None, finality={"depth": 0})
        ground = await stack.enter_async_context(Ground(tmp_path, [bridge], plan))
        await ground.pause_operators()
        yield bridge


@pytest.fixture
async def games(tmp_path: Path) -> AsyncIterator[GamesLocal]:
    """The second generation, with a proposer that waits to be told."""
    async with AsyncExitStack() as stack:
        bridge = GamesLocal()
        ground = await stack.enter_async_context(Ground(tmp_path, [bridge]))
        await ground.pause_operators()
        yield bridge


async def test_hash_slot_and_output_root_are_the_contracts(outputs: OutputsLocal) -> None:
    """Byte for byte: the hash of the event, the flag it is kept under, and the root."""
    sent = await outputs.send([PLAIN, MESSAGE])
    claim = await outputs.proposer.propose()
    for one in sent:
        withdrawal = await withdrawal_of(outputs, one)
        assert withdrawal.hash == withdrawal.said_hash
        view = encode_call("sentMessages(bytes32)", [withdrawal.hash])
        assert int.from_bytes(await eth_call(outputs.l2_rpc, MESSAGE_PASSER, view), "big") == 1
        word = await outputs.l2_rpc.call(
            "eth_getStorageAt", MESSAGE_PASSER, "0x" + withdrawal.slot.hex(), "latest"
        )
        assert int(word, 16) == 1
        assert (await prove_output(outputs, withdrawal.slot, claim.l2_block)).root == claim.root


@pytest.mark.parametrize("parcel", [PLAIN, MESSAGE], ids=["plain", "messenger"])
async def test_an_output_carries_a_withdrawal(outputs: OutputsLocal, parcel: Parcel) -> None:
    """Proved, refused too early, finalised by whom it pleases, and not twice."""
    sent = await outputs.send([parcel])
    withdrawal = await withdrawal_of(outputs, sent[0])
    claim = await outputs.proposer.propose()
    await prove(outputs, withdrawal, claim)
    with pytest.raises(CallReverted, match="finalization period has not elapsed"):
        await finalize(outputs, withdrawal)
    assert await outputs.undelivered(sent) == sent
    await warp(outputs.l1_rpc, outputs.plan.rules.finalization_s + 1)
    await finalize(outputs, withdrawal)
    assert await outputs.undelivered(sent) == []
    delivery = (await outputs.deliveries(sent))[sent[0].id]
    assert (delivery.count, delivery.body_arrived) == (1, True)
    target = outputs.site.targets["Target"]
    assert int(await outputs.l1_rpc.call("eth_getBalance", target, "latest"), 16) == parcel.value
    with pytest.raises(CallReverted, match="already been finalized"):
        await finalize(outputs, withdrawal)


async def test_calls_in_vain_are_told_by_who_says_what(outputs: OutputsLocal) -> None:
    """Another bridge's messenger may log the same event; one call is still one success."""
    ours = RELAYERS[0]
    (sent,) = await outputs.send([MESSAGE])
    withdrawal = await withdrawal_of(outputs, sent)
    await prove(outputs, withdrawal, await outputs.proposer.propose(), ours)
    await warp(outputs.l1_rpc, outputs.plan.rules.finalization_s + 1)
    await finalize(outputs, withdrawal, who=ours)
    outcomes = {*outputs.outcomes, (RELAYED, NOWHERE)}
    assert await wasted_calls([outputs.l1_rpc], outcomes) == 0
    vain = await Deployer.open(outputs.l1_rpc, ours)
    vain.call(outputs.site.targets["Target"], b"nobody's message")
    await vain.flush()
    assert await wasted_calls([outputs.l1_rpc], outcomes) == 1


async def test_nothing_is_proved_against_a_lie(outputs: OutputsLocal) -> None:
    """The portal takes the lie for a root; that no true proof leads to it is the contract's
    whole defence, which the challenger's is added to."""
    sent = await outputs.send([PLAIN])
    withdrawal = await withdrawal_of(outputs, sent[0])
    lie = await outputs.proposer.propose(root=keccak256(b"a lie"))
    assert not lie.is_true
    with pytest.raises(CallReverted, match="invalid output root proof"):
        await prove(outputs, withdrawal, lie)
    await outputs.proposer.delete_from(lie)
    truth = await outputs.proposer.propose()
    assert truth.index == lie.index
    await prove(outputs, withdrawal, truth)


async def test_an_inlined_leaf_is_split_out_for_the_portal(outputs: OutputsLocal) -> None:
    """Two slots whose hashes share nine digits: their leaves are short enough to stand inside the
    branch above. The portal wants each as a node of its own, whichever way the client lists it."""
    sent = await outputs.send([Parcel(body, NOWHERE) for body in TWIN_BODIES[:1]])
    sent += await outputs.send([Parcel(body, NOWHERE) for body in TWIN_BODIES[1:]])
    twins = [await withdrawal_of(outputs, one) for one in sent]
    keys = [keccak256(one.slot).hex() for one in twins]
    assert keys[0][:9] == keys[1][:9]
    claim = await outputs.proposer.propose()
    for twin in twins:
        proof = await prove_output(outputs, twin.slot, claim.l2_block)
        assert len(proof.nodes[-1]) < 32
        assert proof.nodes[-1] in proof.nodes[-2]
        with pytest.raises(CallReverted, match="ran out of proof elements"):
            await send(outputs, prove_call(twin, claim, replace(proof, nodes=proof.nodes[:-1])))
        # what clients that leave it out answer proves the same to us, and is completed
        shorter = prove_slot(proof.parts[2], twin.slot, proof.nodes[:-1])
        assert shorter[1].nodes == proof.nodes
        await send(outputs, prove_call(twin, claim, proof))


@needs_supersim
@pytest.mark.parametrize("parcel", [PLAIN, MESSAGE], ids=["plain", "messenger"])
async def test_a_game_carries_a_withdrawal(games: GamesLocal, parcel: Parcel) -> None:
    """Two clocks: the proof's age, and the game's end with the gap after it."""
    sent = await games.send([parcel])
    withdrawal = await withdrawal_of(games, sent[0])
    claim = await games.proposer.propose()
    await games.proposer.warp(2)  # not in the second of the game itself
    await prove(games, withdrawal, claim)
    assert await refusal(games, withdrawal) == keccak256(b"OptimismPortal_ProofNotOldEnough()")[:4]
    await games.proposer.warp(13)
    assert await refusal(games, withdrawal) == keccak256(b"OptimismPortal_InvalidRootClaim()")[:4]
    await games.proposer.resolve(claim)
    assert await refusal(games, withdrawal) == keccak256(b"OptimismPortal_InvalidRootClaim()")[:4]
    await games.proposer.warp(7)
    await finalize(games, withdrawal, prover=ANNOUNCER)
    assert await games.undelivered(sent) == []
    delivery = (await games.deliveries(sent))[sent[0].id]
    assert (delivery.count, delivery.body_arrived) == (1, True)
    assert 0 <= delivery.latency_s < 60


async def refusal(bridge: GamesLocal, withdrawal: Withdrawal) -> bytes:
    """The error that finalising now meets."""
    with pytest.raises(CallReverted) as caught:
        await finalize(bridge, withdrawal, prover=ANNOUNCER)
    return caught.value.revert[:4]


@needs_supersim
async def test_a_retired_game_proves_nothing(games: GamesLocal) -> None:
    """A game made later than that is as good as ever."""
    sent = await games.send([PLAIN])
    withdrawal = await withdrawal_of(games, sent[0])
    retired = await games.proposer.propose()
    await games.proposer.warp(2)
    await games.proposer.retire()
    with pytest.raises(CallReverted) as caught:
        await prove(games, withdrawal, retired)
    assert caught.value.revert == keccak256(b"OptimismPortal_ImproperDisputeGame()")[:4]
    await games.proposer.warp(2)
    later = await games.proposer.propose()
    await games.proposer.warp(2)
    await prove(games, withdrawal, later)


@needs_supersim
async def test_a_lost_game_proves_nothing(games: GamesLocal) -> None:
    """Nobody answered the challenger, so even a true claim is lost."""
    sent = await games.send([PLAIN])
    withdrawal = await withdrawal_of(games, sent[0])
    claim = await games.proposer.propose()
    await games.proposer.dispute(claim)
    assert claim.game is not None
    assert await eth_call(games.l1_rpc, claim.game, encode_call("status()")) == CHALLENGER_WINS
    with pytest.raises(CallReverted) as caught:
        await prove(games, withdrawal, claim)
    assert caught.value.revert == keccak256(b"OptimismPortal_InvalidDisputeGame()")[:4]


@needs_supersim
async def test_a_blacklisted_game_finalises_nothing(games: GamesLocal) -> None:
    """What was proved against it can be proved again against another one."""
    sent = await games.send([PLAIN])
    withdrawal = await withdrawal_of(games, sent[0])
    first = await games.proposer.propose()
    await games.proposer.warp(2)  # not in the second of the game itself
    await prove(games, withdrawal, first)
    await games.proposer.resolve(first)
    await games.proposer.blacklist(first)
    await games.proposer.warp(20)
    assert await refusal(games, withdrawal) == keccak256(b"OptimismPortal_InvalidRootClaim()")[:4]
    second = await games.proposer.propose()
    await games.proposer.warp(2)  # not in the second of the game itself
    await prove(games, withdrawal, second)
    await games.proposer.resolve(second)
    await games.proposer.warp(20)
    await finalize(games, withdrawal, prover=ANNOUNCER)
    assert await games.undelivered(sent) == []
