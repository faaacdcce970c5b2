"""The bridge's section of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from relayer.errors import ConfigInvalid
from relayer.message import BridgeName
from relayer.protocols.linea import PLUGIN
from relayer.protocols.linea.settings import LineaSettings
from relayer.settings import parse_section
from tests.unit.linea.world import FEE_RECIPIENT, ROLLUP, SERVICE, World

SECTION: dict[str, Any] = {
    "l1": {"chain": "one", "rollup": ROLLUP, "start_block": 17},
    "l2": {"chain": "two", "message_service": SERVICE},
    "fee_recipient": FEE_RECIPIENT,
}


def parse(**changes: Any) -> LineaSettings:
    parsed = parse_section(LineaSettings, {**SECTION, **changes}, "bridges.linea")
    assert isinstance(parsed, LineaSettings)
    return parsed


def test_what_may_be_left_out() -> None:
    """Start blocks and the fee recipient."""
    assert parse().l2.start_block == 0
    assert parse(fee_recipient=None).fee_recipient is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"l2": {"chain": "one", "message_service": SERVICE}}, "both the chain one"),
        ({"fee_recipient": "0x" + "00" * 20}, "must not be the zero address"),
        ({"l1": {"chain": "one"}}, "rollup"),
        ({"l1": {**SECTION["l1"], "start_block": -1}}, "start_block"),
        ({"fee_recipient": "0x12"}, "fee_recipient"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], words: str) -> None:
    """Field and way out."""
    with pytest.raises(ConfigInvalid, match=words):
        parse(**changes)


@pytest.mark.parametrize("side", ["l1", "l2"])
def test_a_chain_that_is_not_configured_is_named(side: str) -> None:
    """With the ones that are."""
    section = parse(**{side: {**SECTION[side], "chain": "nowhere"}})
    with pytest.raises(ConfigInvalid, match=rf"bridges\.mine\.{side}\.chain: no chain 'nowhere'"):
        PLUGIN.build(BridgeName("mine"), section, World().context)
