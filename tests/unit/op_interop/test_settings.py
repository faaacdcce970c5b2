"""The bridge's section is checked when it is read."""

from __future__ import annotations

from typing import Any

import pytest

from relayer.errors import ConfigInvalid
from relayer.message import Route
from relayer.protocols.op_interop.settings import OpInteropSettings, Safety
from relayer.settings import parse_section
from tests.unit.op_interop.world import BRIDGE, SECTION, A, B, World


def test_all_routes_are_carried_safely_unless_told() -> None:
    """Value-bearing by default: every direction waits for the safe block."""
    section = parse_section(OpInteropSettings, {"chains": {"a": {}, "b": {}, "c": {}}}, "bridge")
    assert len(section.all_routes()) == 6
    assert section.safety is Safety.SAFE


def test_a_route_may_have_its_own_safety() -> None:
    """One direction may be relayed at once while the other waits for finality."""
    routes = [
        {"origin": "a", "destination": "b"},
        {"origin": "b", "destination": "a", "safety": "finalized"},
    ]
    world = World({"routes": routes})
    assert world.adapter.routes() == (Route(BRIDGE, A, B), Route(BRIDGE, B, A))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routes": [{"origin": "a", "destination": "z"}]}, "'z' is not one"),
        ({"routes": [{"origin": "a", "destination": "a"}]}, "leads to itself"),
        ({"routes": [{"origin": "a", "destination": "b"}] * 2}, "twice"),
        ({"routes": []}, "at least one"),
        ({"chains": {"a": {}}}, "chains"),
        ({"safety": "latest"}, "safety"),
        ({"expiry_margin_s": 604800}, "expiry_margin_s"),
        ({"chains": {"a": {"supervisor": "ftp://x"}, "b": {}}}, "supervisor"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], words: str) -> None:
    """A section that cannot be meant is refused with the words that help."""
    with pytest.raises(ConfigInvalid, match=words):
        parse_section(OpInteropSettings, {**SECTION, **changes}, "bridge")


def test_the_supervisor_s_url_is_a_secret() -> None:
    """Providers put keys into URLs, so it is in no dump and in no error."""
    section = {**SECTION, "chains": {"a": {"supervisor": "https://x/s3cret"}, "b": {}}}
    parsed = parse_section(OpInteropSettings, section, "bridge")
    assert "s3cret" not in repr(parsed)
    assert "s3cret" not in str(parsed.model_dump())
