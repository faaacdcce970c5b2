"""How long a withdrawal takes, by the clocks of its portal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relayer.protocols.op_stack.delays import GAME_S, ROOT_WITHIN_S, delay_of
from relayer.protocols.op_stack.portal import Generation, Misfit
from tests.unit.op_stack.world import PROOF_DELAY_S, ROOT_DELAY_S, World

DAY_S = 86_400


async def test_the_portal_says_how_long_it_takes(world: World) -> None:
    """Every generation has a range for its route, read from the contracts."""
    ((route, delay),) = (await world.adapter.delays()).items()
    assert [route] == list(world.adapter.routes())
    assert delay.latest_s is not None
    assert delay.earliest_s in (PROOF_DELAY_S, ROOT_DELAY_S)
    assert delay.latest_s >= ROOT_WITHIN_S + delay.earliest_s
    assert f"{delay.earliest_s:.0f} s" in delay.rests_on


@pytest.mark.parametrize(
    ("generation", "proof_s", "root_s", "least_s", "most_s"),
    [
        (Generation.OUTPUTS, 7 * DAY_S, 7 * DAY_S, 7 * DAY_S, 7 * DAY_S),
        (Generation.GAMES, 7 * DAY_S, 302_400, 7 * DAY_S, 7 * DAY_S),
        (Generation.GAMES, DAY_S, 302_400, 302_400, GAME_S + 302_400),
    ],
)
async def test_both_clocks_run_side_by_side(
    games: World, generation: Generation, proof_s: int, root_s: int, least_s: int, most_s: float
) -> None:
    """A game of 3.5 days comes before its air gap, and the proof ripens meanwhile."""
    rules = await games.adapter._portal.rules()
    assert not isinstance(rules, Misfit)
    changed = replace(rules, generation=generation, proof_delay_s=proof_s, root_delay_s=root_s)
    delay = delay_of(changed)
    assert (delay.earliest_s, delay.latest_s) == (least_s, ROOT_WITHIN_S + most_s)
