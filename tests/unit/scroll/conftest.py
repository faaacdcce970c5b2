"""The fake world."""

from __future__ import annotations

import pytest

from tests.unit.scroll.world import World


@pytest.fixture
def world() -> World:
    """A rollup without messages and a layer 1 without batches."""
    return World()
