"""Ranges that no contract states are settings of the bridge; each kind's are looked at here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from relayer import protocols
from relayer.adapter import Foreseeable
from relayer.errors import ConfigInvalid
from relayer.message import BridgeName, Timestamp
from relayer.settings import parse_section
from tests.conformance.test_protocols import ROOT, NoChain


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("scroll", {}, {(2, 1): (0.0, 21_600.0)}),
        ("scroll", {"expected_delay": {"earliest_s": 60, "latest_s": 90}}, {(2, 1): (60.0, 90.0)}),
        ("linea", {}, {(1, 2): (0.0, 3600.0), (2, 1): (0.0, 115_200.0)}),
        ("hyperlane", {}, {(1, 2): (0.0, 1200.0), (2, 1): (0.0, 1200.0)}),
        ("op_interop", {"safety": "unsafe"}, {(1, 2): (0.0, 60.0), (2, 1): (0.0, 3600.0)}),
    ],
)
async def test_settings_say_how_long_it_takes(
    name: str, changes: dict[str, Any], expected: dict[tuple[int, int], tuple[float, float]]
) -> None:
    """Every route has its range, and no chain is asked."""
    section = yaml.safe_load((ROOT / "tests" / "conformance" / f"{name}.yaml").read_text())
    plugin = protocols.load(name)
    context: Any = SimpleNamespace(
        chains={"one": NoChain(1), "two": NoChain(2)}, trees=None, now=lambda: Timestamp(0.0)
    )
    chosen = parse_section(plugin.settings, {**section, **changes}, "bridge")
    adapter = plugin.build(BridgeName("bridge"), chosen, context)
    try:
        assert isinstance(adapter, Foreseeable)
        delays = await adapter.delays()
    finally:
        await adapter.aclose()
    assert {
        (route.origin, route.destination): (delay.earliest_s, delay.latest_s)
        for route, delay in delays.items()
    } == expected


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    """The error names the field and both values."""
    section = yaml.safe_load((ROOT / "tests" / "conformance" / "scroll.yaml").read_text())
    wrong = {**section, "expected_delay": {"earliest_s": 90, "latest_s": 60}}
    with pytest.raises(ConfigInvalid, match=r"expected_delay.*90.*60"):
        parse_section(protocols.load("scroll").settings, wrong, "bridge")
