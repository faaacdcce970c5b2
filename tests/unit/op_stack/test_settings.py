"""The bridge's section is checked when it is read."""

from __future__ import annotations

from typing import Any

import pytest

from relayer.errors import ConfigInvalid
from relayer.message import BridgeName
from relayer.protocols.op_stack import PLUGIN
from relayer.protocols.op_stack.settings import MESSAGE_PASSER, MESSENGER, OpStackSettings
from relayer.settings import parse_section
from tests.unit.op_stack.world import L1_MESSENGER, PORTAL, ROOTS, World, section

SECTION: dict[str, Any] = {
    "l2": {"chain": "rollup"},
    "l1": {"chain": "main", "portal": PORTAL, "messenger": L1_MESSENGER},
}


def test_predeploys_are_known() -> None:
    """Nobody has to look up the rollup's contracts, nor those that the portal names."""
    chosen = parse_section(OpStackSettings, SECTION, "bridge")
    assert (chosen.l2.message_passer, chosen.l2.messenger) == (MESSAGE_PASSER, MESSENGER)
    assert (chosen.l1.oracle, chosen.l1.dispute_game_factory) == (None, None)


@pytest.mark.parametrize(
    ("l2", "counted_from"),
    [({}, 0), ({"start_block": 9}, None), ({"start_block": 9, "first_nonce": 4}, 4)],
)
def test_withdrawals_are_counted_where_the_first_is_known(
    l2: dict[str, Any], counted_from: int | None
) -> None:
    """From the genesis on, or from where the operator says."""
    told = {**SECTION, "l2": {**SECTION["l2"], **l2}}
    assert parse_section(OpStackSettings, told, "bridge").l2.counted_from == counted_from


@pytest.mark.parametrize(
    ("side", "changes", "words"),
    [
        ("l1", {"chain": "rollup"}, "same chain"),
        ("l1", {"oracle": PORTAL}, "same address"),
        ("l1", {"dispute_game_factory": L1_MESSENGER}, "same address"),
        ("l2", {"messenger": MESSAGE_PASSER}, "same address"),
        ("l2", {"start_block": -1}, "start_block"),
        ("l1", {"portal": "0x12"}, "portal"),
    ],
)
def test_contradictions_are_refused(side: str, changes: dict[str, Any], words: str) -> None:
    """A section that cannot be meant is refused with the words that help."""
    told = {**SECTION, side: {**SECTION[side], **changes}}
    with pytest.raises(ConfigInvalid, match=words):
        parse_section(OpStackSettings, told, "bridge")


def test_an_unknown_chain_is_named(games: World) -> None:
    """The chain must be one of the configuration."""
    chosen = section("4.6.0", chain="moon")
    with pytest.raises(ConfigInvalid, match=r"bridges\.wide\.l1\.chain: no chain 'moon'"):
        PLUGIN.build(BridgeName("wide"), chosen, games.context)


def test_what_is_followed(games: World) -> None:
    """The factory too, when it is configured."""
    l2, l1 = games.adapter.sources()
    assert l2.addresses == (MESSAGE_PASSER,)
    assert l1.addresses == (PORTAL, L1_MESSENGER, ROOTS)
