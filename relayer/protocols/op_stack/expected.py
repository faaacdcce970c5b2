"""What the section says of the contracts on both chains, for `check-config --online`."""

from __future__ import annotations

from relayer.adapter import Expectation
from relayer.message import Route
from relayer.protocols.op_stack.settings import OpStackSettings

OTHER = ("otherMessenger()", "OTHER_MESSENGER()")
"""A messenger's word on the one at the other side, in newer and older versions."""


def expectations_of(settings: OpStackSettings, route: Route) -> list[Expectation]:
    """Messengers name each other; the portal is the messenger's and names where roots are."""
    l2, l1 = settings.l2, settings.l1
    on_l2, on_l1 = route.origin, route.destination
    found = [
        Expectation("l2.message_passer", None, on_l2, l2.message_passer, ("messageNonce()",)),
        Expectation("l2.messenger", l2.messenger, on_l1, l1.messenger, OTHER),
        Expectation("l1.messenger", l1.messenger, on_l2, l2.messenger, OTHER),
        Expectation("l1.portal", None, on_l1, l1.portal, ("version()",)),
        Expectation("l1.portal", l1.portal, on_l1, l1.messenger, ("portal()", "PORTAL()")),
    ]
    sources = (
        ("l1.oracle", l1.oracle, ("l2Oracle()", "L2_ORACLE()")),
        ("l1.dispute_game_factory", l1.dispute_game_factory, ("disputeGameFactory()",)),
    )
    return found + [
        Expectation(field, source, on_l1, l1.portal, views, may_be_silent=True)
        for field, source, views in sources  # a portal names the one of its generation
        if source is not None
    ]
