"""The bridge's section: what is refused, and with what words."""

from __future__ import annotations

from typing import Any

import pytest

from relayer.errors import ConfigInvalid
from relayer.message import BridgeName
from relayer.protocols.arbitrum import PLUGIN
from relayer.settings import parse_section
from tests.fakes import FakeChain
from tests.unit.arbitrum.world import OUTBOX, SHAPE, Context, FakeRoots, FakeTrees

SECTION: dict[str, Any] = {
    "child": {"chain": "arb", "start_block": 22_207_817},
    "parent": {"chain": "ethereum", "outbox": OUTBOX.upper().replace("X", "x")},
}


def test_a_section_is_a_child_and_its_parent() -> None:
    """Addresses are kept in lower case; the cross-check is off unless asked for."""
    found = parse_section(PLUGIN.settings, SECTION, "bridges.arb")
    assert found.model_dump() == {
        "child": {"chain": "arb", "start_block": 22_207_817},
        "parent": {"chain": "ethereum", "outbox": OUTBOX, "start_block": 0},
        "cross_check": False,
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parent": {"chain": "arb", "outbox": OUTBOX}}, "same chain 'arb'"),
        ({"parent": {"chain": "ethereum", "outbox": "0x12"}}, "parent.outbox"),
        ({"child": {"chain": "arb", "start_block": -1}}, "child.start_block"),
        ({"child": {"chain": "arb", "surprise": 1}}, "surprise"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    """An operator's mistake is refused with the field's name."""
    with pytest.raises(ConfigInvalid, match=words):
        parse_section(PLUGIN.settings, {**SECTION, **change}, "bridges.arb")


@pytest.mark.parametrize(("known", "missing"), [("ethereum", "child"), ("arb", "parent")])
def test_a_chain_that_is_not_configured_is_named(known: str, missing: str) -> None:
    """The error says which end of the bridge has no chain."""
    chosen = parse_section(PLUGIN.settings, SECTION, "bridges.arb")
    context = Context({known: FakeChain(1)}, FakeTrees(SHAPE), FakeRoots())
    with pytest.raises(ConfigInvalid, match=rf"bridges\.arb\.{missing}\.chain"):
        PLUGIN.build(BridgeName("arb"), chosen, context)
