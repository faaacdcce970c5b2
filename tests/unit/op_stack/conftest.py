"""The fake worlds, one of each generation of roots."""

from __future__ import annotations

import pytest

from tests.unit.op_stack.world import World


@pytest.fixture
def outputs() -> World:
    """A portal of version 2 with an oracle."""
    return World("2.8.1")


@pytest.fixture
def games() -> World:
    """A portal of version 4 with dispute games and a registry."""
    return World("4.6.0")


@pytest.fixture(params=["2.8.1", "3.10.0", "4.6.0"])
def world(request: pytest.FixtureRequest) -> World:
    """Each generation in turn."""
    return World(request.param)
