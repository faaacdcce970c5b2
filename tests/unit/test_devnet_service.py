"""Waiting for a relayer process that was started."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayer.devnet.service import RelayerProcess
from relayer.errors import EndpointDown


async def test_a_relayer_that_ends_at_once_is_said_to_have(tmp_path: Path) -> None:
    """Its exit code and its log are named; nobody waits for the time-out."""
    process = RelayerProcess(tmp_path / "nowhere.yaml", 1, tmp_path / "log")
    with pytest.raises(EndpointDown, match=r"ended with code 2; see .*log"):
        await process.start()
    assert "no such file" in process.log.read_text()
