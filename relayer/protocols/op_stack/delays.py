"""How long a withdrawal takes, by what the portal says of itself. Pure."""

from __future__ import annotations

from relayer.adapter import Delay
from relayer.protocols.op_stack.portal import Generation, Rules

ROOT_WITHIN_S = 12 * 3600.0
"""Room for the proposer, who posts a root every few minutes to hours."""
GAME_S = 302_400.0
"""MAX_CLOCK_DURATION of the fault dispute game, 3.5 days: an undisputed game ends after it (specs,
`fault-proof/stage-one/fault-dispute-game.md`)."""


def delay_of(rules: Rules) -> Delay:
    """Proved as soon as there is a root; then both clocks run, side by side."""
    maturity, root = float(rules.proof_delay_s), float(rules.root_delay_s)
    earliest = max(maturity, root)
    if rules.generation is Generation.OUTPUTS:
        said = f"finalization period of {maturity:.0f} s by the oracle, after a proposed output"
        return Delay(earliest, ROOT_WITHIN_S + earliest, said)
    said = (
        f"proof maturity of {maturity:.0f} s and game finality of {root:.0f} s by the portal,"
        " after a dispute game that nobody disputes"
    )
    return Delay(earliest, ROOT_WITHIN_S + max(maturity, GAME_S + root), said)
