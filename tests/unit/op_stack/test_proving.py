"""The first turn: which root, with what proof, and what is never proved against."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from eth_abi.abi import decode as abi_decode

from relayer.abi import dynamic, word
from relayer.errors import EndpointDown, Transient
from relayer.keccak import keccak256
from relayer.message import Reason, RootSeen
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.settings import MESSAGE_PASSER
from relayer.trees.state_proof import prove_slot
from tests.fakes import Reverts, truths_of
from tests.unit.changed_proofs import changed
from tests.unit.op_stack.world import (
    L1_MESSENGER,
    L1_TIME,
    PORTAL,
    PROVABLE,
    ROOTS,
    SUPER,
    World,
    address_of_game,
    at,
    called,
    refused,
    relayed,
    section,
    waits,
    withdrawal,
)

PROVE_TYPES = [
    "(uint256,address,address,uint256,uint256,bytes)",
    "uint256",
    "(bytes32,bytes32,bytes32,bytes32)",
    "bytes[]",
]


def check_proof(world: World, data: bytes, *, block: int, index: int) -> None:
    """What the portal checks of a proof's call."""
    assert data[:4] == contracts.PROVE
    fields, told_index, parts, nodes = abi_decode(PROVE_TYPES, data[4:])
    output = world.l2.blocks[block].output
    assert told_index == index
    assert keccak256(b"".join(parts)) == output.root
    one = next(sent for sent in world.sent if sent.nonce == fields[0])
    assert prove_slot(parts[2], one.slot, nodes)[0] == 1


# --- the three generations ---------------------------------------------------------------------


async def test_a_withdrawal_is_proved_against_the_newest_root(world: World) -> None:
    """One output root, one request for all proofs, and every call is what the portal takes."""
    records = [*world.send(withdrawal(0), relayed(1)), *world.send(withdrawal(2))]
    world.claim()
    newest = world.claim()
    steps = await world.adapter.next_steps(records)
    for record in records:
        call = called(steps[record.id], "prove")
        assert (call.to, call.final, call.shareable) == (PORTAL, False, world.is_old)
        check_proof(world, call.data, block=newest.place, index=1)
        assert call.evidence["root"] == "0x" + newest.root.hex()
    assert world.l2.asked.proofs == [3]


async def test_a_super_root_is_taken_by_its_time(games: World) -> None:
    """The rollup's own root of it, and the last block up to the game's second."""
    (record,) = games.send(withdrawal(0))
    games.l2.mine(20)
    game = games.claim(15, kind=SUPER)
    games.l2.mine(300)
    call = called(await games.step(record), "prove")
    check_proof(games, call.data, block=15, index=0)
    assert game.place == games.l2.blocks[15].header.timestamp + 1
    assert games.l2.asked.headers < 40


async def test_a_super_root_of_the_future_waits(games: World) -> None:
    """Until the rollup is final up to its second."""
    (record,) = games.send(withdrawal(0))
    games.claim(kind=SUPER).place += 100
    assert "time" in waits(await games.step(record), Reason.AWAITING_FINALITY).detail
    assert await games.adapter.levels([PROVABLE]) == {PROVABLE: -1}


async def test_a_super_root_of_before_the_genesis_covers_nothing(games: World) -> None:
    """Whatever second a game is of, it stops no other."""
    (record,) = games.send(withdrawal(0))
    good = games.claim()
    games.claim(kind=SUPER).place = 1
    call = called(await games.step(record), "prove")
    check_proof(games, call.data, block=good.place, index=0)
    assert await games.adapter.levels([PROVABLE]) == {PROVABLE: good.place}


async def test_old_games_stay_good_beside_super_games(games: World) -> None:
    """The newest state that is covered counts, of whatever type its game is."""
    (record,) = games.send(withdrawal(0))
    old = games.claim()
    games.claim(1, kind=SUPER, respected=False)
    call = called(await games.step(record), "prove")
    check_proof(games, call.data, block=old.place, index=0)


# --- waiting for a root ---------------------------------------------------------------------------


async def test_without_a_covering_root_it_waits_at_the_gate(world: World) -> None:
    """The gate opens with the first root of its block or a later one."""
    (early,) = world.send(withdrawal(0))
    wait = waits(await world.step(early), Reason.AWAITING_ROOT)
    assert (wait.gate, wait.gate_value) == (PROVABLE, early.message.at.block)
    assert "no root yet" in wait.detail
    assert await world.adapter.levels([PROVABLE]) == {PROVABLE: -1}
    covered = world.claim()
    (late,) = world.send(withdrawal(1))
    wait = waits(await world.step(late), Reason.AWAITING_ROOT)
    assert f"block {covered.place}" in wait.detail
    assert await world.adapter.levels([PROVABLE]) == {PROVABLE: covered.place}
    called(await world.step(early), "prove")


async def test_events_spare_reading(world: World) -> None:
    """Roots are read again when an event tells of one, else every half minute."""
    (record,) = world.send(withdrawal(0))
    await world.step(record)
    world.l1.reads.clear()
    await world.step(record)
    asked = {view.to for views in world.l1.reads for view in views}
    assert ROOTS not in asked
    gate = world.adapter._inbox.outputs if world.is_old else world.adapter._inbox.games
    game = world.claim()
    world.context.now.at -= 60
    waits(await world.step(record), Reason.AWAITING_ROOT)
    world.context.roots.seen.append(RootSeen(gate, 0, game.root, at(world.l1.chain_id)))
    called(await world.step(record), "prove")


async def test_a_root_beyond_our_final_block_waits(world: World) -> None:
    """What the rollup's finality rule does not accept is not proved."""
    (record,) = world.send(withdrawal(0))
    world.claim()
    world.l2.final = type(world.l2.final)(record.message.at.block)
    waits(await world.step(record), Reason.AWAITING_FINALITY)
    world.l2.final = world.l2.head.header.number
    called(await world.step(record), "prove")


async def test_a_root_of_a_far_future_is_ignored(world: World) -> None:
    """Anybody may claim it; it must not keep everybody looking."""
    (record,) = world.send(withdrawal(0))
    world.claim().place += 10**9
    waits(await world.step(record), Reason.AWAITING_ROOT)


async def test_nothing_is_proved_in_a_games_own_second(games: World) -> None:
    """The portal refuses it there; a second later it is taken."""
    (record,) = games.send(withdrawal(0))
    games.claim().created = games.l1.time
    waits(await games.step(record), Reason.AWAITING_ROOT)
    games.pass_s(1)
    called(await games.step(record), "prove")


# --- roots that are not to be trusted -------------------------------------------------------------


async def test_nothing_is_proved_against_a_wrong_root(world: World) -> None:
    """It is told with both roots, costs one look, holds no gate open, and is passed over."""
    (record,) = world.send(withdrawal(0))
    lie = world.claim()
    lie.root = b"\x66" * 32
    wait = waits(await world.step(record), Reason.ROOT_MISMATCH)
    assert "0x6666" in wait.detail
    assert f"block {lie.place}" in wait.detail
    assert await world.adapter.levels([PROVABLE]) == {PROVABLE: -1}
    assert world.context.proofs.kept == {}
    before = len(world.l2.asked.proofs)
    waits(await world.step(record), Reason.ROOT_MISMATCH)
    assert len(world.l2.asked.proofs) == before
    truth = world.claim()
    check_proof(world, called(await world.step(record), "prove").data, block=truth.place, index=1)


async def test_a_replaced_block_is_reckoned_anew(world: World) -> None:
    """What looked like a lie is the truth of the block that took the other's place."""
    (record,) = world.send(withdrawal(0))
    lie = world.claim()
    true, lie.root = lie.root, b"\x66" * 32
    waits(await world.step(record), Reason.ROOT_MISMATCH)
    block = world.l2.blocks[lie.place]
    header = replace(block.header, hash=type(block.header.hash)("0x" + "0d" * 32))
    world.l2.blocks[lie.place] = replace(block, header=header)
    lie.root = world.l2.blocks[lie.place].output.root
    assert lie.root != true
    world.context.now.pass_s(60)
    called(await world.step(record), "prove")


async def test_behind_a_newer_lie_an_older_truth_serves(world: World) -> None:
    """One wrong root on top stops nobody whom an older one covers."""
    (record,) = world.send(withdrawal(0))
    truth = world.claim()
    world.claim().root = b"\x66" * 32
    call = called(await world.step(record), "prove")
    check_proof(world, call.data, block=truth.place, index=0)


async def test_many_lies_are_passed_over_in_a_few_turns(world: World) -> None:
    """Each turn looks into a bounded number of claims, and never twice into one."""
    (record,) = world.send(withdrawal(0))
    truth = world.claim()
    for _ in range(20):
        world.claim().root = b"\x66" * 32
    for _ in range(2):
        waits(await world.step(record), Reason.ROOT_MISMATCH)
    call = called(await world.step(record), "prove")
    check_proof(world, call.data, block=truth.place, index=0)


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ({"blacklisted": True}, "blacklisted"),
        ({"retired": True}, "retired"),
        ({"respected": False}, "not respected"),
        ({"registered": False}, "not registered"),
        ({"status": contracts.CHALLENGER_WINS}, "lost to a challenger"),
        ({"status": 7}, "unknown state"),
        ({"root": bytes(32)}, "zero root"),
    ],
)
async def test_flawed_games_are_passed_over(
    games: World, flaw: dict[str, object], words: str
) -> None:
    """Each kind of flaw is told, and an older game without one is used."""
    (record,) = games.send(withdrawal(0))
    game = games.claim()
    for name, value in flaw.items():
        setattr(game, name, value)
    assert words in waits(await games.step(record), Reason.AWAITING_ROOT).detail
    good = games.claim()
    games.claim().blacklisted = True
    call = called(await games.step(record), "prove")
    check_proof(games, call.data, block=good.place, index=1)


async def test_where_the_portal_judges_games() -> None:
    """Version 3 without a registry: blacklist, type and age are the portal's."""
    world = World("3.10.0")
    (record,) = world.send(withdrawal(0))
    game = world.claim(kind=1)
    assert "not respected" in waits(await world.step(record), Reason.AWAITING_ROOT).detail
    game.kind, game.created = 0, 1
    world.pass_s(60)
    assert "retired" in waits(await world.step(record), Reason.AWAITING_ROOT).detail


async def test_a_game_that_answers_nonsense_is_passed_over(games: World) -> None:
    """A broken game among them stops nobody."""
    (record,) = games.send(withdrawal(0))
    good = games.claim()
    games.claim()
    games.l1.answer(address_of_game(1), contracts.GAME_STATUS, b"")
    call = called(await games.step(record), "prove")
    check_proof(games, call.data, block=good.place, index=0)


# --- the rollup's nodes -----------------------------------------------------------------------


async def test_a_node_without_the_state_is_a_wait(world: World) -> None:
    """Not the message's fault; asked again soon, and not at a gate that stands open."""
    (record,) = world.send(withdrawal(0))
    game = world.claim()
    world.l2.pruned.add(game.place)
    wait = waits(await world.step(record), Reason.SOURCE_UNREACHABLE)
    assert "no state found" in wait.detail
    assert (wait.gate, wait.recheck_s) == (None, 10.0)
    world.l2.pruned.clear()
    called(await world.step(record), "prove")


async def test_proofs_are_kept_for_when_nodes_have_forgotten(world: World) -> None:
    """Fetched when the root appears; used again, verified, when no node serves them any more."""
    (record,) = world.send(withdrawal(0))
    game = world.claim()
    called(await world.step(record), "prove")
    world.l2.pruned.add(game.place)
    call = called(await world.step(record), "prove")
    check_proof(world, call.data, block=game.place, index=0)
    assert len(world.l2.asked.proofs) == 1


async def test_kept_proofs_are_not_believed(world: World) -> None:
    """Whatever is done to them in the store, they are fetched again or not used."""
    (record,) = world.send(withdrawal(0))
    game = world.claim()
    called(await world.step(record), "prove")
    kept = dict(world.context.proofs.kept)
    world.l2.pruned.add(game.place)
    for name in kept:
        for spoiled in (b"", b"[]", b"{}", b'["0x00"]', b"\xff", kept[name][:-9] + b'00"]'):
            world.context.proofs.kept = {**kept, name: spoiled}
            waits(await world.step(record), Reason.SOURCE_UNREACHABLE)
    world.l2.pruned.clear()
    called(await world.step(record), "prove")


@pytest.mark.parametrize(
    "lie",
    [
        {"accountProof": []},
        {"accountProof": None},
        {"accountProof": ["0x" + "00" * 2000]},
        {"accountProof": ["0x00"] * 100},
        {"accountProof": ["zz"]},
        {"storageProof": []},
        {"storageProof": [{}]},
        {"storageProof": [{"proof": []}]},
        {"storageProof": [{"proof": ["0x1"]}]},
        {"storageProof": 7},
    ],
)
async def test_lies_of_a_node_are_noticed(world: World, lie: dict[str, object]) -> None:
    """Short, oversized, mistyped or of something else: nothing is proved with it."""
    (record,) = world.send(withdrawal(0))
    world.claim()
    world.l2.lies = lie
    waits(await world.step(record), Reason.SOURCE_UNREACHABLE)
    assert world.context.proofs.kept == {}
    world.l2.lies = {}
    called(await world.step(record), "prove")


async def test_no_mutated_proof_becomes_a_call(outputs: World) -> None:
    """A thousand changes of what the node answers: not one reaches the portal."""
    (record,) = outputs.send(withdrawal(0))
    outputs.send(*(withdrawal(number) for number in range(1, 60)))
    game = outputs.claim()
    key = "0x" + outputs.sent[0].slot.hex()
    true = await outputs.l2.rpc("eth_getProof", [MESSAGE_PASSER, [key], hex(game.place)])
    rng = random.Random(4)
    for number in range(1000):
        outputs.context.proofs.kept.clear()
        nodes = true["accountProof"] if number % 2 else true["storageProof"][0]["proof"]
        whole = [bytes.fromhex(node[2:]) for node in nodes]
        told = ["0x" + node.hex() for node in changed(whole, rng)]
        if told == nodes:
            continue
        name = "accountProof" if number % 2 else "storageProof"
        outputs.l2.lies = {name: told if number % 2 else [{"proof": told}]}
        waits(await outputs.step(record), Reason.SOURCE_UNREACHABLE)


async def test_a_withdrawal_that_is_not_in_the_state_is_not_proved(world: World) -> None:
    """The log was a lie, or of a block that is no more: an absence is proved too."""
    (record,) = world.send(withdrawal(0))
    ghost = withdrawal(5)
    world.claim()
    message = replace(
        record.message,
        id=type(record.id)("0x" + ghost.hash.hex()),
        payload=ghost.encode(),
    )
    wait = waits(await world.step(replace(record, message=message)), Reason.ROOT_MISMATCH)
    assert "not in the state" in wait.detail


# --- the portal -----------------------------------------------------------------------------------


async def test_the_portal_decides_which_generation_it_is(games: World) -> None:
    """An oracle in the configuration does not make one of a portal that has games."""
    chosen = section("4.6.0", dispute_game_factory=None, oracle="0x" + "77" * 20)
    games.adapter = type(games.adapter)(games.adapter.name, chosen, games.context)
    (record,) = games.send(withdrawal(0))
    games.claim()
    called(await games.step(record), "prove")


@pytest.mark.parametrize(
    ("version", "key"), [("2.8.1", "oracle"), ("4.6.0", "dispute_game_factory")]
)
async def test_a_wrong_root_source_is_held(version: str, key: str) -> None:
    """The portal's own word against the configuration's: a person must put it right."""
    world = World(version)
    chosen = section(version, **{key: "0x" + "77" * 20})
    world.adapter = type(world.adapter)(world.adapter.name, chosen, world.context)
    (record,) = world.send(withdrawal(0))
    step = refused(await world.step(record), Reason.UNSUPPORTED)
    assert not step.dead
    assert f"l1.{key}" in step.detail
    assert ROOTS in step.detail


@pytest.mark.parametrize("answer", [b"", word(0x77), bytes(32)])
async def test_a_messenger_of_another_portal_is_held(world: World, answer: bytes) -> None:
    """Its word would be none on our messages: a failed relay would pass for a delivery."""
    for selector in contracts.PORTAL_OF:
        world.l1.answer(L1_MESSENGER, selector, answer)
    (record,) = world.send(withdrawal(0))
    assert "l1.messenger" in refused(await world.step(record), Reason.UNSUPPORTED).detail


async def test_a_portal_of_the_future_is_held(games: World) -> None:
    """Rules that we do not know are not guessed."""
    games.version = "9.0.0"
    games.l1.answer(PORTAL, contracts.VERSION, word(32) + dynamic(b"9.0.0"))
    (record,) = games.send(withdrawal(0))
    assert "new to us" in refused(await games.step(record), Reason.UNSUPPORTED).detail


@pytest.mark.parametrize(
    ("to", "selector", "answer"),
    [
        (PORTAL, contracts.VERSION, b""),
        (PORTAL, contracts.PAUSED, word(2)),
        (PORTAL, contracts.FINALIZED, b""),
        (PORTAL, contracts.FACTORY, bytes(32)),
        (PORTAL, contracts.MATURITY_DELAY, b"\xff" * 32),
        (PORTAL, contracts.SUBMITTER_COUNT, word(2**40)),
        (ROOTS, contracts.GAME_COUNT, b"\xff" * 32),
        (ROOTS, contracts.GAME_AT, bytes(64)),
    ],
)
async def test_a_layer_1_without_sense_is_a_wait(
    games: World, to: str, selector: bytes, answer: bytes
) -> None:
    """Short answers and impossible numbers: a sick endpoint or a wrong address."""
    (record,) = games.send(withdrawal(0))
    games.claim()
    games.l1.answer(to, selector, answer)
    waits(await games.step(record), Reason.SOURCE_UNREACHABLE)


async def test_a_silent_layer_1_is_transient(world: World) -> None:
    """The engine makes a wait of it."""
    (record,) = world.send(withdrawal(0))
    world.l1.failure = EndpointDown("main", "gone")
    with pytest.raises(Transient):
        await world.step(record)


async def test_a_silent_rollup_stops_nobody_who_is_proved(games: World) -> None:
    """Those wait that need its state; clocks run on, and what is due is finalised."""
    due, unproved = games.send(withdrawal(0), withdrawal(1))
    game = games.claim()
    games.prove(due, game)
    games.resolve(game)
    games.pass_s(2000)
    games.l2.failure = EndpointDown("rollup", "gone")
    steps = await games.adapter.next_steps([due, unproved])
    called(steps[due.id], "finalize")
    waits(steps[unproved.id], Reason.SOURCE_UNREACHABLE)
    levels = await games.adapter.levels([PROVABLE, L1_TIME])
    assert levels == {PROVABLE: -1, L1_TIME: games.l1.time}


async def test_paused_is_a_wait(world: World) -> None:
    """Nothing is proved or finalised meanwhile."""
    (record,) = world.send(withdrawal(0))
    world.claim()
    world.paused = True
    waits(await world.step(record), Reason.PAUSED)


async def test_records_that_are_not_what_they_say_are_refused(games: World) -> None:
    """A payload that is no withdrawal, and one of another id."""
    (record,) = games.send(withdrawal(0))
    message = record.message
    for bad in (
        replace(message, payload=b"junk"),
        replace(message, payload=withdrawal(9).encode()),
    ):
        step = refused(await games.step(replace(record, message=bad)), Reason.INVALID_MESSAGE)
        assert step.dead


async def test_the_truth_is_the_passers_count(games: World) -> None:
    """The auditor compares it with the withdrawals we know."""
    games.send(withdrawal(0), withdrawal(1))
    (truth,) = await truths_of(games.adapter)
    assert (truth.size, truth.root, truth.block) == (2, None, games.l2.final)


async def test_an_oracle_that_lost_an_output_is_read_anew(outputs: World) -> None:
    """The count and an output may be of two moments when outputs are deleted in between."""
    (record,) = outputs.send(withdrawal(0))
    outputs.claim()

    def gone(_: bytes) -> bytes:
        raise Reverts(b"")

    outputs.l1.answer(ROOTS, contracts.OUTPUT, gone)
    waits(await outputs.step(record), Reason.SOURCE_UNREACHABLE)
