"""How long a message takes, by the rollup behind its outbox."""

from __future__ import annotations

from relayer.adapter import Delay
from relayer.keccak import keccak256
from relayer.message import Address
from relayer.protocols.arbitrum.delays import ASSERTED_WITHIN_S, READ_AGAIN_S, delay_of
from tests.unit.arbitrum.world import OUTBOX, World, padded, word

ROLLUP = Address("0x4dceb440657f21083db8add07665f8ddbe1dcfc0")
PERIOD = 45_818
"""Arbitrum One's, in blocks of Ethereum: 6.4 days."""


def selector(signature: str) -> bytes:
    return keccak256(signature.encode())[:4]


async def only(world: World) -> Delay | None:
    """The delay of the world's route."""
    return (await world.adapter.delays()).get(world.adapter.routes()[0])


async def test_the_rollup_says_its_challenge_period() -> None:
    """Outbox and rollup are asked once an hour; a rollup that is silent says nothing."""
    world = World()
    assert await only(world) is None
    world.parent.answer(OUTBOX, selector("rollup()"), lambda _: padded(ROLLUP))
    world.clock.pass_s(READ_AGAIN_S)
    assert await only(world) is None
    world.parent.answer(ROLLUP, selector("confirmPeriodBlocks()"), lambda _: word(PERIOD))
    assert await only(world) is None
    world.clock.pass_s(READ_AGAIN_S)
    delay = await only(world)
    assert delay == Delay(
        PERIOD * 12.0,
        PERIOD * 12.0 + ASSERTED_WITHIN_S,
        "challenge period of 45818 blocks by the rollup, after an assertion",
    )
    asked = len(world.parent.reads)
    assert await only(world) == delay
    assert len(world.parent.reads) == asked


async def test_a_committee_may_be_faster() -> None:
    """Then only the end of the range is the challenge period's."""
    world = World()
    world.parent.answer(OUTBOX, selector("rollup()"), lambda _: padded(ROLLUP))
    world.parent.answer(ROLLUP, selector("confirmPeriodBlocks()"), lambda _: word(PERIOD))
    world.parent.answer(ROLLUP, selector("anyTrustFastConfirmer()"), lambda _: padded(ROLLUP))
    delay = await only(world)
    assert delay is not None
    assert (delay.earliest_s, delay.latest_s) == (0.0, PERIOD * 12.0 + ASSERTED_WITHIN_S)
    assert "committee" in delay.rests_on


def test_nonsense_says_nothing() -> None:
    """No answer and an absurd one are no period."""
    assert delay_of(None, has_committee=False) is None
    assert delay_of(2**255, has_committee=True) is None
