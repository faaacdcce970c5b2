"""Large numbers of everything: pages, parts, and where looking ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from relayer.adapter import Call, Log
from relayer.errors import RangeTooWide
from relayer.message import Address, BlockNumber, MessageId, Reason
from relayer.protocols.op_stack.claims import PAGE, PAGES
from relayer.protocols.op_stack.contracts import GAME_AT
from relayer.protocols.op_stack.outcomes import MOST_SEARCHES, SEARCHED_AT_ONCE, Outcomes
from relayer.protocols.op_stack.snapshots import SLOTS_AT_ONCE
from tests.unit.op_stack.world import (
    PORTAL,
    FakeL1,
    World,
    called,
    finalized_log,
    waits,
    withdrawal,
)


class NarrowL1(FakeL1):
    """A provider that gives the logs of few blocks at once."""

    def __init__(self, widest: int) -> None:
        super().__init__()
        self._widest = widest
        self.asked: list[tuple[int, int]] = []

    async def logs(
        self,
        first: BlockNumber,
        last: BlockNumber,
        *,
        addresses: Sequence[Address],
        topics: Sequence[Sequence[bytes] | None],
    ) -> list[Log]:
        if last - first >= self._widest:
            raise RangeTooWide("too many")
        self.asked.append((first, last))
        return await super().logs(first, last, addresses=addresses, topics=topics)


def said_in(block: int, number: int) -> tuple[MessageId, Log]:
    one = withdrawal(number)
    log = finalized_log(one, success=bool(number % 2))
    return MessageId("0x" + one.hash.hex()), replace(log, at=replace(log.at, block=block))


async def test_outcomes_are_searched_backwards_until_all_are_found() -> None:
    """In parts as narrow as the provider wants, and no further than needed."""
    chain = NarrowL1(widest=300)
    old, young = said_in(2500, 0), said_in(9000, 1)
    chain.said = [old[1], young[1]]
    outcomes = Outcomes(chain, PORTAL, BlockNumber(0))
    found = await outcomes.of({old[0], young[0]}, BlockNumber(9500))
    assert {one: found[one].success for one in found} == {old[0]: False, young[0]: True}
    lowest = min(first for first, _ in chain.asked)
    assert 2500 - SEARCHED_AT_ONCE < lowest <= 2500


async def test_the_search_for_outcomes_ends() -> None:
    """At the start block, or after as many parts as it may take."""
    chain = NarrowL1(widest=SEARCHED_AT_ONCE)
    message_id, _ = said_in(1, 0)
    assert await Outcomes(chain, PORTAL, BlockNumber(7)).of({message_id}, BlockNumber(20)) == {}
    assert chain.asked == [(7, 20)]
    chain.asked.clear()
    assert await Outcomes(chain, PORTAL, BlockNumber(0)).of({message_id}, BlockNumber(10**7)) == {}
    assert len(chain.asked) == MOST_SEARCHES


async def test_one_block_that_is_too_wide_is_an_error() -> None:
    """There is nothing left to halve."""
    message_id, _ = said_in(1, 0)
    with pytest.raises(RangeTooWide):
        await Outcomes(NarrowL1(0), PORTAL, BlockNumber(0)).of({message_id}, BlockNumber(3))


async def test_flawed_games_are_looked_behind_page_by_page(games: World) -> None:
    """A few pages back, and not for ever."""
    (record,) = games.send(withdrawal(0))
    good = games.claim()
    for _ in range(PAGE * PAGES - 1):
        games.claim(good.place, blacklisted=True)
    assert called(await games.step(record), "prove").evidence["index"] == "0"
    games.claim(good.place, blacklisted=True)
    waits(await games.step(record), Reason.AWAITING_ROOT)


@pytest.mark.parametrize("are_true", [True, False])
async def test_what_covers_nothing_hides_no_root(games: World, are_true: bool) -> None:
    """Anybody may put true roots of old blocks, or wrong ones, on top of the one that serves."""
    games.l2.mine(PAGE * (PAGES - 1))
    (record,) = games.send(withdrawal(0))
    games.claim()
    for number in range(PAGE * (PAGES - 1)):
        lie = games.claim(block=number + 1) if are_true else games.claim()
        if not are_true:
            lie.root = bytes([number + 1]) * 32
    for _ in range(PAGE * PAGES // 8):
        step = await games.step(record)
        if isinstance(step, Call):
            break
        games.pass_s(60)
    assert called(step, "prove").evidence["index"] == "0"


async def test_no_root_is_looked_for_of_before_the_withdrawal(games: World) -> None:
    """It cannot cover what was not sent yet: in good times one page is all that is read."""
    for _ in range(2 * PAGE):
        games.claim().created = 900_000
    (record,) = games.send(withdrawal(0))
    games.l1.reads.clear()
    waits(await games.step(record), Reason.AWAITING_ROOT)
    asked = [one for views in games.l1.reads for one in views if one.data[:4] == GAME_AT]
    assert len(asked) == PAGE


async def test_many_withdrawals_are_proved_in_few_requests(games: World) -> None:
    """As many slots at once as a node will answer."""
    count = SLOTS_AT_ONCE + 10
    records = games.send(*(withdrawal(number) for number in range(count)))
    games.claim()
    steps = await games.adapter.next_steps(records)
    assert all(called(step, "prove") for step in steps.values())
    assert games.l2.asked.proofs == [SLOTS_AT_ONCE, 10]
    assert len([views for views in games.l1.reads if views]) <= 6
