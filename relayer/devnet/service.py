"""Runs the relayer the way a user does: a child process that can be stopped or killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from relayer.errors import EndpointDown

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 35.0
"""What we promise to an orchestrator: SIGTERM ends us within this."""


class RelayerProcess:
    """One `relayer run` on a configuration file; its HTTP port is the one in that file."""

    def __init__(self, config: Path, port: int, log: Path) -> None:
        self._config = config
        self.port = port
        self.log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until /readyz says so; `EndpointDown` names the log otherwise."""
        command = [sys.executable, "-m", "relayer", "--config", str(self._config), "run"]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink
            )
        try:
            await self._until_ready()
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> int:
        """SIGTERM and wait; returns the exit code. Killed when it takes longer than it may."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                await self.kill()
        code = self._process.returncode
        assert code is not None
        return code

    async def kill(self) -> None:
        """SIGKILL, as a machine that dies would."""
        assert self._process is not None
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def get(self, path: str) -> Any:
        """The JSON that the relayer's API answers."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return await answer.json()

    async def rpc_requests(self, **labels: str) -> float:
        """JSON-RPC requests made so far, as its metrics count them (a batch as one)."""
        return await self.metric("relayer_rpc_requests_total", **labels)

    async def rpc_calls(self) -> Counter[str]:
        """Calls made so far by method, those in batches one by one."""
        calls: Counter[str] = Counter()
        for sample in await self._samples("relayer_rpc_calls_total"):
            calls[sample.labels["method"]] += int(sample.value)
        return calls

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that carry `labels`."""
        samples = await self._samples(name)
        return sum(one.value for one in samples if labels.items() <= one.labels.items())

    async def _samples(self, name: str) -> list[Sample]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        return [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]

    async def _until_ready(self) -> None:
        assert self._process is not None
        async with aiohttp.ClientSession() as session, asyncio.timeout(START_TIMEOUT_S):
            while not await self._is_ready(session):
                if self._process.returncode is not None:
                    text = f"ended with code {self._process.returncode}; see {self.log}"
                    raise EndpointDown("relayer", text)
                await asyncio.sleep(0.1)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False
