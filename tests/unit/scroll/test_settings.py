"""The bridge's section is checked when it is read."""

from __future__ import annotations

from typing import Any

import pytest

from relayer.errors import ConfigInvalid
from relayer.message import BridgeName
from relayer.protocols.scroll import PLUGIN
from relayer.protocols.scroll.settings import MESSAGE_QUEUE, ScrollSettings
from relayer.settings import parse_section
from tests.unit.scroll.world import L1_MESSENGER, L2_MESSENGER, SCROLL_CHAIN, SETTINGS, World

SECTION: dict[str, Any] = {
    "l2": {"chain": "rollup", "messenger": L2_MESSENGER},
    "l1": {"chain": "main", "messenger": L1_MESSENGER, "scroll_chain": SCROLL_CHAIN},
}


def test_the_queue_is_the_predeploy_unless_told() -> None:
    """Nobody has to look up the queue's address."""
    assert parse_section(ScrollSettings, SECTION, "bridge").l2.message_queue == MESSAGE_QUEUE


@pytest.mark.parametrize(
    ("side", "changes", "words"),
    [
        ("l1", {"chain": "rollup"}, "same chain"),
        ("l1", {"scroll_chain": L1_MESSENGER}, "same address"),
        ("l2", {"message_queue": L2_MESSENGER}, "same address"),
        ("l2", {"start_block": -1}, "start_block"),
        ("l1", {"messenger": "0x12"}, "messenger"),
    ],
)
def test_contradictions_are_refused(side: str, changes: dict[str, Any], words: str) -> None:
    """A section that cannot be meant is refused with the words that help."""
    section = {**SECTION, side: {**SECTION[side], **changes}}
    with pytest.raises(ConfigInvalid, match=words):
        parse_section(ScrollSettings, section, "bridge")


def test_an_unknown_chain_is_named(world: World) -> None:
    """The chain must be one of the configuration."""
    section = SETTINGS.model_copy(update={"l2": SETTINGS.l2.model_copy(update={"chain": "moon"})})
    with pytest.raises(ConfigInvalid, match=r"bridges\.wide\.l2\.chain: no chain 'moon'"):
        PLUGIN.build(BridgeName("wide"), section, world.context)
