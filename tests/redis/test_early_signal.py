"""What is sent to a relayer that has only begun to start."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.redis


async def test_a_reload_that_is_asked_for_while_it_starts_is_done_once_it_has(
    tmp_path: Path,
) -> None:
    """SIGHUP ends a process that has not said otherwise; a pipe holds this one where it begins."""
    path = tmp_path / "relayer.yaml"
    os.mkfifo(path)
    command = [sys.executable, "-m", "relayer", "--config", str(path), "run"]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            pipe = await asyncio.to_thread(path.open, "w", encoding="utf-8")
            process.send_signal(signal.SIGHUP)
            text = yaml.safe_dump(
                {
                    "data_dir": str(tmp_path),
                    "http": {"port": 0},
                    "log": {"format": "json"},
                    "chains": {"one": {"id": 1, "endpoints": [{"url": "http://127.0.0.1:1"}]}},
                }
            )
            path.unlink()
            path.write_text(text, encoding="utf-8")
            with pipe:
                pipe.write(text)
            while b'"event": "reload' not in (line := await process.stderr.readline()):
                assert line, "it has ended"
            process.send_signal(signal.SIGTERM)
            await process.stderr.read()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
