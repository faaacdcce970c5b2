"""The fake world, closed with the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.hyperlane.world import ISM, World

MakeWorld = Callable[..., World]


@pytest.fixture
async def make_world(tmp_path: Path) -> AsyncIterator[MakeWorld]:
    """Make worlds with other settings."""
    worlds: list[World] = []

    def make(**settings: Any) -> World:
        worlds.append(World(tmp_path / f"world-{len(worlds)}", **settings))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.adapter.aclose()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Two of three validators, merkle-root."""
    made = make_world()
    made.multisig(ISM, 2)
    return made
