"""The later turns: both clocks, proofs that die, the one call, and what is replayed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode as abi_encode

from relayer.abi import address_of
from relayer.adapter import Done
from relayer.message import Address, Gas, Reason, Record
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.doubts import OVERDUE_S, RECKONED
from relayer.protocols.op_stack.proven import ENDS, GAME_CLOCK, OUTPUT_CLOCK, PROOF_CLOCK
from tests.fakes import Reverts
from tests.unit.op_stack.world import (
    CLOCK_S,
    L1_MESSENGER,
    L1_TIME,
    PERMISSIONLESS,
    PORTAL,
    PROOF_DELAY_S,
    RIVAL,
    ROOT_DELAY_S,
    SUPER,
    US,
    World,
    address_of_game,
    called,
    finalized_log,
    refused,
    relayed,
    section,
    waits,
    withdrawal,
)

GAS_ESTIMATION = bytes.fromhex("ab581036")
RELAY_FAILED = bytes.fromhex("08c379a0") + abi_encode(
    ["string"], ["CrossDomainMessenger: failed to relay message"]
)


def sent(world: World, *, carries_message: bool = False) -> Record:
    (record,) = world.send(relayed(0) if carries_message else withdrawal(0))
    return record


def matured(world: World, *, carries_message: bool = False, by: Address = US) -> Record:
    """A withdrawal that is proved, and whose clocks have both run out."""
    record = sent(world, carries_message=carries_message)
    game = world.claim()
    world.prove(record, game, by=by)
    world.resolve(game)
    world.pass_s(PROOF_DELAY_S + ROOT_DELAY_S + 1)
    return record


def submitter(data: bytes) -> str:
    """Whose proof a finalisation names."""
    assert data[:4] == contracts.FINALIZE_EXTERNAL
    return address_of(data[36:68])


# --- both clocks ------------------------------------------------------------------------------


async def test_an_output_s_two_clocks(outputs: World) -> None:
    """Both with their exact ends; the gate opens in the first second that will do."""
    record = sent(outputs)
    output = outputs.claim()
    outputs.prove(record, output)
    proved = outputs.l1.time
    wait = waits(await outputs.step(record), Reason.AWAITING_TIME)
    assert {clock.name: clock.at for clock in wait.clocks} == {
        PROOF_CLOCK: proved + PROOF_DELAY_S,
        OUTPUT_CLOCK: output.created + PROOF_DELAY_S,
    }
    assert (wait.gate, wait.gate_value) == (L1_TIME, proved + PROOF_DELAY_S + 1)
    outputs.pass_s(PROOF_DELAY_S)
    waits(await outputs.step(record), Reason.AWAITING_TIME)
    outputs.pass_s(1)
    assert await outputs.adapter.levels([L1_TIME]) == {L1_TIME: wait.gate_value}
    call = called(await outputs.step(record), "finalize")
    assert call.data[:4] == contracts.FINALIZE


@pytest.mark.parametrize("version", ["3.10.0", "4.6.0"])
async def test_a_games_two_clocks(version: str) -> None:
    """While the game is open its clock says when it could end; then when it does."""
    world = World(version)
    record = sent(world)
    game = world.claim()
    world.prove(record, game)
    proved = world.l1.time
    wait = waits(await world.step(record), Reason.AWAITING_TIME)
    assert {clock.name: clock.at for clock in wait.clocks} == {
        PROOF_CLOCK: proved + PROOF_DELAY_S,
        GAME_CLOCK: game.created + CLOCK_S + ROOT_DELAY_S,
    }
    world.pass_s(600)
    world.resolve(game)
    wait = waits(await world.step(record), Reason.AWAITING_TIME)
    assert wait.gate_value == world.l1.time + ROOT_DELAY_S + 1
    world.pass_s(ROOT_DELAY_S)
    waits(await world.step(record), Reason.AWAITING_TIME)
    world.pass_s(1)
    assert submitter(called(await world.step(record), "finalize").data) == US


async def test_a_game_that_nobody_resolves_is_looked_at_ever_more_rarely(games: World) -> None:
    """There is no time to wait for, and no event of a contract that we know."""
    record = sent(games)
    games.prove(record, games.claim())
    pauses = []
    for seconds in (PROOF_DELAY_S + ROOT_DELAY_S, 1000, 100_000):
        games.pass_s(seconds)
        wait = waits(await games.step(record), Reason.AWAITING_TIME)
        assert "nobody has resolved" in wait.detail
        assert (wait.gate, len(wait.clocks)) == (None, 2)
        pauses.append(wait.recheck_s)
    assert pauses[0] < pauses[1] < pauses[2] == 600.0


# --- whose proof, and which is good ------------------------------------------------------------


async def test_somebody_elses_proof_is_used(games: World) -> None:
    """Nothing is proved again, and the finalisation names them."""
    record = matured(games, by=RIVAL)
    assert submitter(called(await games.step(record), "finalize").data) == RIVAL


async def test_the_proof_that_is_due_first_is_used(games: World) -> None:
    """Of several good ones."""
    record = sent(games)
    first, second = games.claim(), games.claim()
    games.prove(record, second, by=RIVAL)
    games.pass_s(100)
    games.prove(record, first)
    games.resolve(first)
    games.resolve(second)
    games.pass_s(PROOF_DELAY_S - 99)
    assert submitter(called(await games.step(record), "finalize").data) == RIVAL
    second.blacklisted = True
    wait = waits(await games.step(record), Reason.AWAITING_TIME)
    assert wait.gate_value == games.l1.time + 100


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ({"blacklisted": True}, "blacklisted"),
        ({"retired": True}, "retired"),
        ({"respected": False}, "not respected"),
        ({"status": contracts.CHALLENGER_WINS, "resolved": 5}, "lost to a challenger"),
    ],
)
async def test_a_proof_against_a_dead_game_is_made_again(
    games: World, flaw: dict[str, object], words: str
) -> None:
    """It waits for another game, saying why, and is proved against that one."""
    record = matured(games)
    for name, value in flaw.items():
        setattr(games.games[0], name, value)
    wait = waits(await games.step(record), Reason.AWAITING_ROOT)
    assert f"which is {words}" in wait.detail or words in wait.detail
    games.claim()
    call = called(await games.step(record), "prove")
    assert call.evidence["index"] == "1"


async def test_a_proof_against_a_deleted_output_is_made_again(outputs: World) -> None:
    """Another root stands under its index, or none."""
    record = matured(outputs)
    digest = bytes.fromhex(record.id[2:])
    outputs.proved_roots[digest] = b"\x66" * 32
    call = called(await outputs.step(record), "prove")
    assert call.evidence["index"] == "0"


async def test_a_proof_against_an_output_that_is_gone_bars_others(outputs: World) -> None:
    """The portal reverts while no output stands under the old index, whatever we prove."""
    record = sent(outputs)
    outputs.claim()
    outputs.prove(record, outputs.claim())
    outputs.proved_roots[bytes.fromhex(record.id[2:])] = b"\x66" * 32
    taken_back = outputs.games.pop()
    outputs.pass_s(60)
    assert "proposed again" in waits(await outputs.step(record), Reason.AWAITING_ROOT).detail
    outputs.games.append(taken_back)
    called(await outputs.step(record), "prove")


async def test_who_proves_again_and_again_holds_nobody_up(games: World) -> None:
    """A rival starts the clock anew just before it ends: we make a proof of our own."""
    record = sent(games)
    game = games.claim()
    games.prove(record, game, by=RIVAL)
    games.resolve(game)
    wait = waits(await games.step(record), Reason.AWAITING_TIME)
    told = {f"clock:{clock.name}": f"{clock.at:.3f}" for clock in wait.clocks}
    waiting = replace(record, evidence=told)
    games.pass_s(PROOF_DELAY_S - 1)
    waits(await games.step(waiting), Reason.AWAITING_TIME)
    games.prove(record, game, by=RIVAL)
    # at once: a later look would have the new clock for the one that was told
    called(await games.step(waiting), "prove")


async def test_a_long_list_of_proofs_is_read_from_both_ends(games: World) -> None:
    """Anybody may lengthen it; ours is among the first or among the last."""
    record = sent(games)
    game = games.claim()
    games.resolve(game)
    for number in range(10 * ENDS):
        games.prove(record, game, by=Address(f"0x{number + 1000:040x}"))
    games.l1.reads.clear()
    waits(await games.step(record), Reason.AWAITING_TIME)
    asked = [
        view for views in games.l1.reads for view in views if view.data[:4] == contracts.SUBMITTER
    ]
    assert len(asked) == 2 * ENDS


# --- proofs in doubt -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PERMISSIONLESS, SUPER])
async def test_a_strangers_proof_against_a_wrong_root_is_not_waited_for(
    games: World, kind: int
) -> None:
    """Whoever lies loses in the end, and all who waited with them: we prove on an honest game."""
    record = sent(games)
    lie = games.claim(kind=kind)
    lie.root = b"\x66" * 32
    games.prove(record, lie, by=RIVAL)
    games.l2.mine()
    assert "of a wrong root, 0x6666" in waits(await games.step(record), Reason.ROOT_MISMATCH).detail
    honest = games.claim()
    assert called(await games.step(record), "prove").evidence["index"] == "1"
    games.prove(record, honest)
    wait = waits(await games.step(record), Reason.AWAITING_TIME)
    assert address_of_game(1) in wait.detail


async def test_a_proof_whose_root_cannot_be_checked_is_waited_for_only_in_need(
    games: World,
) -> None:
    """No node has the state of its block: another game is better, and it is better than none."""
    record = sent(games)
    honest = games.claim()
    honest.blacklisted = True
    unknown = games.claim()
    games.l2.pruned.add(unknown.place)
    games.prove(record, unknown, by=RIVAL)
    wait = waits(await games.step(record), Reason.AWAITING_TIME)
    assert "cannot be checked" in wait.detail
    assert wait.gate == L1_TIME
    honest.blacklisted = False
    games.pass_s(60)
    assert called(await games.step(record), "prove").evidence["index"] == "0"
    games.resolve(unknown)
    games.pass_s(PROOF_DELAY_S + ROOT_DELAY_S + 1)
    assert submitter(called(await games.step(record), "finalize").data) == RIVAL


async def test_a_checked_root_stays_known_when_nodes_have_forgotten_it(games: World) -> None:
    """The proof of a right root is kept, as for our own proofs, and read again after a restart."""
    record = sent(games)
    game = games.claim()
    games.prove(record, game, by=RIVAL)
    waits(await games.step(record), Reason.AWAITING_TIME)
    games.l2.pruned.add(game.place)
    games.adapter = type(games.adapter)(games.adapter.name, section(games.version), games.context)
    games.claim()
    assert "checked" not in waits(await games.step(record), Reason.AWAITING_TIME).detail


async def test_few_roots_are_reckoned_for_one_batch(games: World) -> None:
    """A stranger may prove against many games; each look takes some, and never one again."""
    records = games.send(*(withdrawal(number) for number in range(RECKONED + 3)))
    for record in records:
        lie = games.claim()
        lie.root = b"\x66" * 32
        games.prove(record, lie, by=RIVAL)
    for expected in (RECKONED, RECKONED + 3, RECKONED + 3):
        steps = await games.adapter.next_steps(records)
        wrong = [one for one in steps.values() if getattr(one, "reason", "") == "root_mismatch"]
        assert len(wrong) == expected


@pytest.mark.parametrize("by", [US, RIVAL])
async def test_a_forgotten_game_is_left_for_a_newer_one(games: World, by: Address) -> None:
    """Once, and not for an older game or the same; if it is resolved after all, it serves."""
    record = sent(games)
    games.claim()
    forgotten = games.claim()
    games.prove(record, forgotten, by=by)
    games.pass_s(PROOF_DELAY_S + ROOT_DELAY_S + CLOCK_S + int(OVERDUE_S))
    wait = waits(await games.step(record), Reason.AWAITING_TIME)
    assert "nobody has resolved" in wait.detail
    newer = games.claim()
    assert called(await games.step(record), "prove").evidence["index"] == "2"
    games.prove(record, newer, by=US)
    wait = waits(await games.step(record), Reason.AWAITING_TIME)
    assert address_of_game(2) in wait.detail
    games.resolve(newer)
    games.pass_s(PROOF_DELAY_S + 1)
    assert submitter(called(await games.step(record), "finalize").data) == US


async def test_a_game_that_is_a_little_late_is_waited_for(games: World) -> None:
    """Its proof is older than any new one would be."""
    record = sent(games)
    games.prove(record, games.claim())
    games.pass_s(PROOF_DELAY_S + ROOT_DELAY_S + int(OVERDUE_S) // 2)
    games.claim()
    waits(await games.step(record), Reason.AWAITING_TIME)


# --- the one call --------------------------------------------------------------------------------


async def test_a_plain_withdrawal_goes_alone_with_the_gas_it_needs(world: World) -> None:
    """It has one call for ever, and neighbours could burn its gas."""
    call = called(await world.step(matured(world)), "finalize")
    assert (call.to, call.shareable, call.gas_floor) == (PORTAL, False, 123_456)
    assert call.final


async def test_a_cross_domain_message_may_share(world: World) -> None:
    """What fails in company is replayed."""
    call = called(await world.step(matured(world, carries_message=True)), "finalize")
    assert call.shareable


async def test_a_failing_target_is_not_called(world: World) -> None:
    """Its only call would be gone: it is tried for free, ever more rarely, until it takes it."""
    record = matured(world)
    world.l1.failing = GAS_ESTIMATION
    pauses = []
    for hours in (0, 4, 100):
        world.context.now.at = record.seen_at + hours * 3600
        wait = waits(await world.step(record), Reason.TARGET_FAILED)
        assert record.message.recipient in wait.detail
        pauses.append(wait.recheck_s)
    assert pauses == [10.0, 3600.0, 3600.0]
    world.l1.failing = None
    called(await world.step(record), "finalize")


async def test_what_is_refused_otherwise_is_left_to_the_simulation(world: World) -> None:
    """It tells the reason by its revert data."""
    record = matured(world)
    world.l1.failing = bytes.fromhex("b9c3c2ef")
    call = called(await world.step(record), "finalize")
    assert (call.gas_floor, call.evidence["trial"]) == (0, "refused")


@pytest.mark.parametrize("nonsense", ["0x", None, "0x0", hex(2**60)])
async def test_a_node_that_cannot_try_does_not_stop_deliveries(
    world: World, nonsense: object
) -> None:
    """Then the engine's own estimate has to do."""
    world.l1.gas = nonsense
    call = called(await world.step(matured(world, carries_message=True)), "finalize")
    assert (call.gas_floor, call.shareable) == (0, False)


async def test_a_plain_withdrawal_is_not_called_untried(world: World) -> None:
    """A failing target would use its only call up."""
    world.l1.gas = None
    record = matured(world)
    assert "untried" in waits(await world.step(record), Reason.SOURCE_UNREACHABLE).detail
    world.l1.gas = hex(123_456)
    called(await world.step(record), "finalize")


async def test_after_a_failure_on_chain_it_is_left_alone_for_a_while(world: World) -> None:
    """The log of the failure wakes it, but the back-off stands."""
    record = matured(world, carries_message=True)
    failed = replace(
        record,
        reason=Reason.TARGET_FAILED,
        detail="mined in vain",
        attempts=3,
        since=world.context.now(),
    )
    assert waits(await world.step(failed), Reason.TARGET_FAILED).recheck_s == 40.0
    world.context.now.pass_s(41)
    called(await world.step(failed), "finalize")


# --- what became of it ------------------------------------------------------------------------


async def test_a_finalised_withdrawal_is_done(world: World) -> None:
    """By whomever; the transaction is named."""
    record = matured(world)
    (one,) = world.sent
    world.finalized.add(one.hash)
    world.l1.said.append(finalized_log(one, success=True))
    step = await world.step(record)
    assert isinstance(step, Done)
    assert finalized_log(one, success=True).at.tx in step.detail


async def test_a_failed_call_is_told_as_what_it_is(world: World) -> None:
    """The portal never calls again: a person must know, with the transaction."""
    record = matured(world)
    (one,) = world.sent
    world.finalized.add(one.hash)
    log = finalized_log(one, success=False)
    world.l1.said.append(log)
    step = refused(await world.step(record), Reason.UNDELIVERABLE)
    assert step.dead
    assert log.at.tx in step.detail
    assert "success=false" in step.detail


async def test_an_event_too_old_to_look_for(world: World) -> None:
    """The state says that it is finalised, and nothing says how it went."""
    record = matured(world)
    world.finalized.add(world.sent[0].hash)
    step = await world.step(record)
    assert isinstance(step, Done)
    assert "too old" in step.detail


async def test_a_relayed_message_is_done(world: World) -> None:
    """The messenger's word is the truth, whatever the portal says."""
    record = matured(world, carries_message=True)
    world.finalized.add(world.sent[0].hash)
    world.successful.add(contracts.keccak256(world.sent[0].data))
    world.paused = True
    assert isinstance(await world.step(record), Done)


async def test_a_failed_relay_is_replayed_with_enough_gas(world: World) -> None:
    """Through the messenger, by the same call, with what the trial needed."""
    record = matured(world, carries_message=True)
    (one,) = world.sent
    world.finalized.add(one.hash)
    world.failed.add(contracts.keccak256(one.data))
    world.l1.failing = RELAY_FAILED
    waits(await world.step(record), Reason.TARGET_FAILED)
    world.l1.failing = None
    call = called(await world.step(record), "replay")
    assert (call.to, call.data, call.gas_floor) == (L1_MESSENGER, one.data, Gas(123_456))
    assert (call.value, call.shareable, call.final) == (0, True, True)


async def test_a_message_that_the_messenger_refused_is_dead(world: World) -> None:
    """Finalised with success=false and never marked as failed: nobody can replay it."""
    record = matured(world, carries_message=True)
    (one,) = world.sent
    world.finalized.add(one.hash)
    waits(await world.step(record), Reason.SOURCE_UNREACHABLE)
    world.l1.said.append(finalized_log(one, success=False))
    assert refused(await world.step(record), Reason.UNDELIVERABLE).dead
    world.l1.said[:] = [finalized_log(one, success=True)]
    waits(await world.step(record), Reason.SOURCE_UNREACHABLE)


async def test_a_batch_takes_a_handful_of_round_trips(games: World) -> None:
    """However many withdrawals wait for their clocks."""
    records = games.send(*(withdrawal(number) for number in range(200)))
    game = games.claim()
    for record in records:
        games.prove(record, game)
    steps = await games.adapter.next_steps(records)
    assert {type(step).__name__ for step in steps.values()} == {"Wait"}
    assert len([views for views in games.l1.reads if views]) <= 6


async def test_a_portal_without_submitters_is_a_wait(games: World) -> None:
    """It reverts where it should answer: another contract, or a sick endpoint."""
    record = matured(games)

    def reverts(_: bytes) -> bytes:
        raise Reverts(b"")

    games.l1.answer(PORTAL, contracts.SUBMITTER, reverts)
    waits(await games.step(record), Reason.SOURCE_UNREACHABLE)
