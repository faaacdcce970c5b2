"""The demo as a person runs it: kept up, used with what it prints, and ended by Ctrl-C."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.fault.conftest import until

pytestmark = pytest.mark.chain

ROUTES = 6


@asynccontextmanager
async def kept_demo(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """A kept demo in a folder, with the last lines it printed before it waits for Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relayer", "demo", "--keep", "--messages", str(ROUTES)),
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        async with asyncio.timeout(90):
            while not lines or not lines[-1].startswith("kill -USR1"):
                line = await process.stderr.readline()
                assert line, lines
                lines.append(line.decode().rstrip())
        yield process, lines
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.communicate()


def assignments(lines: list[str]) -> dict[str, str]:
    """What a shell knows after the printed lines were pasted into it."""
    return dict(re.findall(r"(?:^| )([A-Z_]+)=(\S+)", "\n".join(lines), re.MULTILINE))


def are_files(*paths: str | Path) -> bool:
    """Whether all are there, with something in them."""
    return all(Path(path).is_file() and Path(path).stat().st_size for path in paths)


async def test_a_kept_demo_says_last_how_to_go_on_and_sends_more(tmp_path: Path) -> None:
    """What it prints is whole and true: addresses, files, a message, and the way to send more."""
    async with kept_demo(tmp_path) as (process, lines), aiohttp.ClientSession() as client:
        told = assignments(lines[-6:])
        own = Path(told["CONFIG"]).parent
        assert are_files(told["CONFIG"], told["TOKEN_FILE"], own / "relayer.log")
        url = f"{told['URL']}/v1/messages"

        async def ids(query: str) -> set[str]:
            async with client.get(url + query) as answer:
                return {one["id"] for one in (await answer.json())["messages"]}

        assert await ids(f"?tx={told['TX']}") >= {told["ID"]}
        assert len(await ids("")) == ROUTES
        assert lines[-1] == f"kill -USR1 {process.pid}"
        process.send_signal(signal.SIGUSR1)

        async def are_delivered() -> bool:
            return len(await ids("?status=delivered")) == 2 * ROUTES

        await until(are_delivered, within_s=30)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    assert are_files(tmp_path / "build" / "demo-relayer.log")
    assert not are_files(told["CONFIG"])
