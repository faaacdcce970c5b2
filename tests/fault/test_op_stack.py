"""OP Stack withdrawals through the relayer as its users run it, with everything that goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from relayer.devnet.accounts import ANNOUNCER, RELAYERS
from relayer.devnet.ground import Sent
from relayer.devnet.ledger import block_times, logs_of
from relayer.devnet.op_stack import (
    FINALIZED,
    PROVEN,
    GamesLocal,
    OpStackLocal,
    OutputsLocal,
    OutputsPlan,
    Parcel,
)
from relayer.devnet.op_stack_contracts import OracleRules
from relayer.devnet.op_stack_outputs import Claim
from relayer.devnet.supersim import supersim_obstacle
from relayer.keccak import keccak256
from tests.fault.conftest import until
from tests.fault.scene import Scene
from tests.integration import op_stack_by_hand as by_hand

OBSTACLE = supersim_obstacle()
needs_supersim = pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")
pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]
MATURITY_S, GAME_CLOCK_S, AIR_GAP_S = 12, 302_400, 6
"""supersim's: of a proof, of a game until it can be resolved, and after that."""
LIE = keccak256(b"a root of nothing")
FAILED = "0x" + keccak256(b"FailedRelayedMessage(bytes32)").hex()
LATER = Parcel(b"when the target is well", "Switched", messenger=True)


def outputs(directory: Path, *, finalization_s: int = 4) -> Scene[OutputsLocal]:
    rules = OracleRules(interval=2, finalization_s=finalization_s)
    return Scene(directory, OutputsLocal(OutputsPlan(rules)))


def games(directory: Path) -> Scene[GamesLocal]:
    return Scene(directory, GamesLocal())


async def logs(bridge: OpStackLocal, topic: str) -> list[dict[str, Any]]:
    """What the portal said of any withdrawal."""
    return await logs_of(bridge.l1_rpc, topic, str(bridge.site.portal))


async def claim_over(
    bridge: OutputsLocal | GamesLocal, sent: Sequence[Sent], *, root: bytes | None = None
) -> Claim:
    """The next root on layer 1, of a block that has all of `sent`; `root` is a lie to tell."""
    newest = max(one.block for one in sent)
    if isinstance(bridge, OutputsLocal):
        await bridge.proposer.propose_below(newest)
    claim = await bridge.proposer.propose(root=root)
    assert claim.l2_block >= newest
    return claim


def has_proofs(bridge: OpStackLocal, count: int) -> Callable[[], Awaitable[bool]]:
    async def proved() -> bool:
        return len(await logs(bridge, PROVEN)) >= count

    return proved


async def senders(bridge: OpStackLocal, topic: str) -> set[str]:
    """Whose transactions said that."""
    hashes = [log["transactionHash"] for log in await logs(bridge, topic)]
    found = await bridge.l1_rpc.batch([("eth_getTransactionByHash", [one]) for one in hashes])
    return {str(tx["from"]) for tx in found}


async def time_of(bridge: OpStackLocal, what: Claim | dict[str, Any]) -> float:
    """Of the layer-1 block of a claim or a log."""
    block = what.block if isinstance(what, Claim) else int(what["blockNumber"], 16)
    return (await block_times(bridge.l1_rpc, [block]))[block]


def clocks(view: dict[str, Any]) -> dict[str, float]:
    return {
        name.removeprefix("clock:"): float(at)
        for name, at in view["evidence"].items()
        if name.startswith("clock:")
    }


# --- roots that are lies or do not last -----------------------------------------------------


async def test_nothing_is_proved_against_a_wrong_output(tmp_path: Path) -> None:
    """The lie stands, covers the withdrawals, and is passed over for the next true output."""
    async with outputs(tmp_path).playing(operators=False) as scene:
        sent = await scene.bridge.spread(6)
        await claim_over(scene.bridge, sent, root=LIE)
        await until(lambda: scene.has(sent[0], status="waiting", reason="root_mismatch"))
        assert scene.events("wrong_root_claimed")
        assert await logs(scene.bridge, PROVEN) == []
        scene.ground.resume_operators()
        await scene.delivered(sent)
        await scene.assert_exactly_once(sent)


@needs_supersim
async def test_nothing_is_proved_against_a_wrong_game(tmp_path: Path) -> None:
    """The same for a dispute game that nobody has disputed yet."""
    async with games(tmp_path).playing(operators=False) as scene:
        sent = await scene.bridge.spread(4)
        await claim_over(scene.bridge, sent, root=LIE)
        await until(lambda: scene.has(sent[0], status="waiting", reason="root_mismatch"))
        assert scene.events("wrong_root_claimed")
        assert await logs(scene.bridge, PROVEN) == []
        scene.ground.resume_operators()
        await scene.delivered(sent, within_s=150)
        await scene.assert_exactly_once(sent)


@pytest.mark.parametrize(("instead", "proofs"), [(LIE, 4), (None, 2)], ids=["lie", "same"])
async def test_an_output_that_is_taken_back(
    tmp_path: Path, instead: bytes | None, proofs: int
) -> None:
    """Where a lie stands now, all is proved again elsewhere; where the same root stands again, the
    portal takes no second proof, and the first one counts."""
    async with outputs(tmp_path, finalization_s=20).playing(operators=False) as scene:
        sent = list(await scene.bridge.spread(2))
        claim = await claim_over(scene.bridge, sent)
        await until(has_proofs(scene.bridge, 2))
        await scene.bridge.proposer.delete_from(claim)
        again = await scene.bridge.proposer.propose(root=instead)
        assert (again.index, again.is_true) == (claim.index, instead is None)
        scene.ground.resume_operators()
        await scene.delivered(sent, within_s=150)
        assert len(await logs(scene.bridge, PROVEN)) == proofs
        await scene.assert_exactly_once(sent)


@needs_supersim
@pytest.mark.parametrize("fate", ["blacklisted", "retired", "lost"])
async def test_a_void_game_is_replaced_and_both_clocks_are_shown(tmp_path: Path, fate: str) -> None:
    """Proved, the game declared void or lost, proved again on another game, finalised once."""
    async with games(tmp_path).playing(operators=False) as scene:
        (sent,) = await scene.bridge.send([Parcel(b"twice proved")])
        proposer = scene.bridge.proposer
        first = await claim_over(scene.bridge, [sent])
        await until(has_proofs(scene.bridge, 1))

        async def shows_both() -> bool:
            return len(clocks(await scene.command("show", sent.id))) == 2

        await until(shows_both)
        (proof,) = await logs(scene.bridge, PROVEN)
        assert clocks(await scene.command("show", sent.id)) == {
            "proof_maturity": await time_of(scene.bridge, proof) + MATURITY_S,
            "game_finality": await time_of(scene.bridge, first) + GAME_CLOCK_S + AIR_GAP_S,
        }
        match fate:
            case "blacklisted":
                await proposer.blacklist(first)
            case "retired":
                await proposer.retire()
                await proposer.warp(2)  # a game of the very second would be retired too
            case _:
                await proposer.dispute(first)
        await proposer.resolve(await claim_over(scene.bridge, [sent]))
        await until(has_proofs(scene.bridge, 2), within_s=150)
        await scene.delivered([sent], within_s=150)
        await scene.assert_exactly_once([sent])


# --- calls that fail on layer 1 ---------------------------------------------------------------


async def test_a_message_whose_target_fails_is_replayed_once_it_recovers(tmp_path: Path) -> None:
    """The portal is done with it for good; the messenger lets anybody call again."""
    async with outputs(tmp_path).playing() as scene:
        (bad,) = await scene.bridge.send([LATER])
        good = list(await scene.bridge.spread(4))
        await scene.delivered(good)
        await until(lambda: scene.has(bad, reason="target_failed"))
        await scene.bridge.switch_on("Switched")
        await scene.delivered([bad])
        await until(lambda: scene.has(bad, status="delivered"))
        ledger = await scene.bridge.deliveries([*good, bad])
        assert all(one.count == 1 and one.body_arrived for one in ledger.values())


async def test_a_relay_that_failed_for_gas_is_replayed_with_enough(tmp_path: Path) -> None:
    """Somebody finalises with just the gas that the sender asked for, which is not enough."""
    async with outputs(tmp_path).chains(operators=False) as scene:
        (sent,) = await scene.bridge.send(
            [Parcel(b"a long meal", "Hungry", messenger=True, gas=20_000)]
        )
        claim = await claim_over(scene.bridge, [sent])
        withdrawal = await by_hand.withdrawal_of(scene.bridge, sent)
        await by_hand.prove(scene.bridge, withdrawal, claim)
        await by_hand.warp(scene.bridge.l1_rpc, 5)
        receipt = await by_hand.finalize(scene.bridge, withdrawal, gas=500_000)
        assert FAILED in [log["topics"][0] for log in receipt["logs"]]
        assert await scene.bridge.undelivered([sent]) == [sent]
        await scene.relayer.start()
        try:
            await scene.delivered([sent])
            await until(lambda: scene.has(sent, status="delivered"))
        finally:
            await scene.relayer.stop()
        assert len(await logs(scene.bridge, FINALIZED)) == 1


# --- others at work, and ourselves again ------------------------------------------------------


@pytest.mark.parametrize("make", [outputs, pytest.param(games, marks=needs_supersim)])
async def test_somebody_elses_proof_is_finalised(
    tmp_path: Path, make: Callable[[Path], Scene[Any]]
) -> None:
    """Proved by hand by a stranger: we only finalise, on the stranger's proof."""
    async with make(tmp_path).chains(operators=False) as scene:
        sent = list(await scene.bridge.spread(2))
        claim = await claim_over(scene.bridge, sent)
        await by_hand.warp(scene.bridge.l1_rpc, 2)
        for one in sent:
            await by_hand.prove(
                scene.bridge, await by_hand.withdrawal_of(scene.bridge, one), claim, ANNOUNCER
            )
        if isinstance(scene.bridge, GamesLocal):
            await scene.bridge.proposer.resolve(claim)
        await scene.relayer.start()
        try:
            await scene.delivered(sent)
        finally:
            await scene.relayer.stop()
        assert await senders(scene.bridge, PROVEN) == {ANNOUNCER.address}
        assert await senders(scene.bridge, FINALIZED) <= {one.address for one in RELAYERS}
        await scene.assert_exactly_once(sent)


@pytest.mark.parametrize("make", [outputs, pytest.param(games, marks=needs_supersim)])
async def test_a_restart_between_the_turns_changes_nothing(
    tmp_path: Path, make: Callable[[Path], Scene[Any]]
) -> None:
    """Killed when all was proved, started when all could be finalised: one proof, one delivery."""
    async with make(tmp_path).playing(operators=False) as scene:
        sent = list(await scene.bridge.spread(4))
        claim = await claim_over(scene.bridge, sent)
        await until(has_proofs(scene.bridge, 4))
        await scene.relayer.kill()
        if isinstance(scene.bridge, GamesLocal):
            await scene.bridge.proposer.resolve(claim)
        await scene.relayer.start()
        await scene.delivered(sent)
        assert len(await logs(scene.bridge, PROVEN)) == 4
        await scene.assert_exactly_once(sent)
