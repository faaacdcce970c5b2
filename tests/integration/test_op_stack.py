"""OP Stack withdrawals through the whole relayer, on the real contracts of both generations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relayer.devnet.accounts import SENDERS
from relayer.devnet.artefacts import encode_call
from relayer.devnet.deployer import Deployer
from relayer.devnet.ground import Sent
from relayer.devnet.ledger import logs_of
from relayer.devnet.multicall import MULTICALL3
from relayer.devnet.op_stack import (
    L1,
    L2,
    PROVEN,
    WITHDRAW,
    GamesLocal,
    OutputsLocal,
    OutputsPlan,
    Parcel,
)
from relayer.devnet.op_stack_contracts import MESSAGE_PASSED, MESSAGE_PASSER, OracleRules
from relayer.devnet.supersim import supersim_obstacle
from relayer.message import MessageId
from tests.fault.conftest import until
from tests.fault.scene import Scene
from tests.integration.op_stack_by_hand import NOWHERE, TWIN_BODIES, withdrawals

OBSTACLE = supersim_obstacle()
needs_supersim = pytest.mark.skipif(OBSTACLE is not None, reason=OBSTACLE or "")
pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]


def outputs(directory: Path) -> Scene[OutputsLocal]:
    return Scene(directory, OutputsLocal(OutputsPlan(OracleRules(interval=2, finalization_s=4))))


def games(directory: Path) -> Scene[GamesLocal]:
    return Scene(directory, GamesLocal())


@pytest.mark.parametrize("make", [outputs, pytest.param(games, marks=needs_supersim)])
async def test_a_withdrawal_and_a_message_arrive(
    tmp_path: Path, make: Callable[[Path], Scene[Any]]
) -> None:
    """Proved, waited for, finalised: money and calls arrive, once, in two turns of ours each."""
    async with make(tmp_path).playing() as scene:
        sent = await scene.bridge.send(
            [Parcel(b"plain", value=5), Parcel(b"message", value=7, messenger=True)]
        )
        await scene.delivered(sent, within_s=150)
        for one in sent:
            await until(lambda one=one: scene.has(one, status="delivered"))
        await scene.assert_exactly_once(sent)
        target = scene.bridge.site.targets["Target"]
        balance = await scene.bridge.l1_rpc.call("eth_getBalance", target, "latest")
        assert int(balance, 16) == 12
        portal = str(scene.bridge.site.portal)
        assert len(await logs_of(scene.bridge.l1_rpc, PROVEN, portal)) == 2


async def test_withdrawals_of_one_transaction_are_told_apart(tmp_path: Path) -> None:
    """Three of them, two alike but for their nonce: three proofs, three deliveries."""
    async with outputs(tmp_path).playing() as scene:
        target = scene.bridge.site.targets["Target"]
        bodies = [b"first", b"again", b"again"]
        calls = [
            (MESSAGE_PASSER, False, turn, encode_call(WITHDRAW, [target, 100_000, body]))
            for turn, body in enumerate(bodies)
        ]
        queue = await Deployer.open(scene.bridge.l2_rpc, SENDERS[0])
        pack = encode_call("aggregate3Value((address,bool,uint256,bytes)[])", [calls])
        queue.call(MULTICALL3, pack, value=3)
        await queue.send()
        logs = await logs_of(scene.bridge.l2_rpc, MESSAGE_PASSED, MESSAGE_PASSER)
        assert len({log["transactionHash"] for log in logs}) == 1
        sent = [
            Sent(
                MessageId("0x" + one.hash.hex()), L2, L1, int(log["blockNumber"], 16), bodies[turn]
            )
            for turn, (one, log) in enumerate(
                zip(await withdrawals(scene.bridge), logs, strict=True)
            )
        ]
        await scene.delivered(sent)
        await scene.assert_exactly_once(sent)


async def test_leaves_that_stand_inside_their_branch_are_delivered(tmp_path: Path) -> None:
    """Two slots side by side in the trie: the portal wants their leaves as nodes of their own."""
    async with outputs(tmp_path).playing(operators=False) as scene:
        sent = [
            *await scene.bridge.send([Parcel(TWIN_BODIES[0], NOWHERE)]),
            *await scene.bridge.send([Parcel(TWIN_BODIES[1], NOWHERE)]),
        ]
        scene.ground.resume_operators()
        await scene.delivered(sent)
        assert await scene.wasted() == 0
