"""The fake world."""

from __future__ import annotations

import pytest

from tests.unit.op_interop.world import World


@pytest.fixture
def world() -> World:
    """Two chains without messages."""
    return World()
