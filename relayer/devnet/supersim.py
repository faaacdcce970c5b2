"""Runs supersim: a layer 1 and two OP chains that nobody here wrote, in a network of their own.

Source: npm `supersim` 0.1.0-alpha.58 (github.com/ethereum-optimism/supersim). Its admin server
listens on every interface, so it only runs where there is nothing but loopback: its cell
(`supersim_cell`) is a child in new network and process namespaces, which takes root. The listening
sockets of the chains are made out here and handed in; a socket stays in the network it was made in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from relayer.devnet.anvil import Anvil, AnvilOptions, die_with_parent, find_anvil
from relayer.devnet.artefacts import node_modules
from relayer.devnet.rpc import NodeRpc
from relayer.errors import ConfigInvalid, EndpointDown

CELL = "relayer.devnet.supersim_cell"
CHAINS: Mapping[str, int] = {"sim-l1": 900, "sim-a": 901, "sim-b": 902}
"""Names and ids of its chains, the layer 1 first."""
L1_PORT, L2_PORT, ADMIN_PORT = 8545, 9545, 8420
"""Its own defaults; inside the cell nobody else can have taken them."""
L1_BLOCK_TIME_S, L2_BLOCK_TIME_S = 12.0, 2.0
GAS_LIMIT = 30_000_000
"""Of its blocks."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
TRIAL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class SupersimOptions:
    """What kind of world to run."""

    autorelay: bool = False
    """Its own relayer carries messages too, from `accounts.ACCOUNTS[9]`."""
    delay_s: int = 0
    """Seconds that must pass between a message and its delivery."""

    def arguments(self, logs: Path) -> list[str]:
        """The command line without the program."""
        more = ["--interop.autorelay"] if self.autorelay else []
        if self.delay_s:
            more += ["--interop.delay", str(self.delay_s)]
        return [
            *("--l1.port", str(L1_PORT), "--l2.starting.port", str(L2_PORT)),
            *("--admin.port", str(ADMIN_PORT), "--logs.directory", str(logs), *more),
        ]


SHIM = """#!/bin/bash
exec '{anvil}' "$@" > >(exec sed -u 's/^\\(.\\{{{most}\\}}\\).*/\\1/') 2>&1
"""
"""anvil as supersim finds it, with its lines cut short. supersim stops reading at the first line of
64 KiB (Go's `bufio.Scanner`), and then anvil hangs in a full pipe. It prints requests that fail, so
a large pack that fails is enough."""
MOST_LOG_CHARS = 4000


class Supersim:
    """One running supersim with its files below `directory`; an async context manager."""

    def __init__(self, directory: Path, options: SupersimOptions | None = None) -> None:
        self.directory = directory.resolve()
        self.nodes: dict[str, Anvil] = {}
        """By the names in `CHAINS`. The anvils are supersim's; the layer 2s answer through its
        proxy, which is what refuses forged messages."""
        self.admin: NodeRpc | None = None
        """Its admin server (`admin_getAccessListByMsgHash` and so on), while it runs."""
        self._options = options or SupersimOptions()
        self._cell: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it is ready; `ConfigInvalid` says why it cannot run here."""
        obstacle = supersim_obstacle()
        if obstacle is not None:
            raise ConfigInvalid(obstacle)
        logs = self.directory / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        ports = (L1_PORT, L2_PORT, L2_PORT + 1, ADMIN_PORT)
        with contextlib.ExitStack() as stack:
            doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in ports]
            await self._start_cell(dict(zip((one.fileno() for one in doors), ports, strict=True)))
            self.admin = NodeRpc(f"http://127.0.0.1:{doors[-1].getsockname()[1]}")
            for (name, chain_id), door in zip(CHAINS.items(), doors[:-1], strict=True):
                block_time_s = L1_BLOCK_TIME_S if door is doors[0] else L2_BLOCK_TIME_S
                options = AnvilOptions(
                    chain_id, block_time_s, gas_limit=GAS_LIMIT, port=door.getsockname()[1]
                )
                self.nodes[name] = Anvil(options)  # never started: it is running already
        await self._until_ready()

    async def stop(self) -> None:
        """End it and all that it started; safe to repeat."""
        admin, self.admin = self.admin, None
        if admin is not None:
            await admin.aclose()
        nodes, self.nodes = self.nodes, {}
        for node in nodes.values():
            await node.stop()
        cell, self._cell = self._cell, None
        if cell is None or cell.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            cell.terminate()
        try:
            await asyncio.wait_for(cell.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                cell.kill()  # the kernel ends its namespaces with it
            await cell.wait()

    async def _start_cell(self, doors: Mapping[int, int]) -> None:
        """`doors`: listening file descriptors, and the ports in there that they lead to."""
        logs = self.directory / "logs"
        pairs = [f"{descriptor}:{port}" for descriptor, port in doors.items()]
        shim = self.directory / "bin" / "anvil"
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(SHIM.format(anvil=find_anvil(), most=MOST_LOG_CHARS), encoding="utf-8")
        shim.chmod(0o755)
        with (self.directory / "supersim.log").open("ab") as sink:
            self._cell = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", CELL, str(ADMIN_PORT), ",".join(pairs)),
                *(find_supersim(), *self._options.arguments(logs)),
                env={
                    **os.environ,
                    "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
                    "TMPDIR": str(self.directory),  # it leaves 20 MB of genesis files behind
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=sink,
                pass_fds=tuple(doors),
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    async def _until_ready(self) -> None:
        cell = self._cell
        assert cell is not None
        assert cell.stdout is not None
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(cell.stdout.readline(), START_TIMEOUT_S)
            if line.strip() == b"ready":
                return
        log = self.directory / "supersim.log"
        raise EndpointDown("supersim", f"it did not start; see {log}")


async def bring_supersim(
    stack: AsyncExitStack,
    directory: Path,
    missing: Collection[str],
    options: SupersimOptions | None = None,
) -> Mapping[str, Anvil]:
    """Those of its chains that are `missing`, run until the stack is closed.

    Nothing is started when none is: another bridge has brought them.
    """
    if not CHAINS.keys() & missing:
        return {}
    sim = await stack.enter_async_context(Supersim(directory, options))
    return {name: node for name, node in sim.nodes.items() if name in missing}


def supersim_obstacle() -> str | None:
    """Why supersim cannot run here, None when it can."""
    try:
        find_supersim()
        find_anvil()
    except ConfigInvalid as error:
        return str(error)
    need = "supersim only runs in a network of its own: its admin server listens everywhere"
    if sys.platform != "linux" or os.geteuid() != 0:
        return f"{need}. That takes Linux and root."
    trial = subprocess.run(
        [sys.executable, "-m", CELL], capture_output=True, timeout=TRIAL_TIMEOUT_S, check=False
    )
    if trial.returncode:
        return f"{need}. This machine does not let root make one."
    return None


def find_supersim() -> str:
    """The supersim that npm installed."""
    for root in node_modules():
        binary = root / "supersim" / "bin" / "supersim"
        if os.access(binary, os.X_OK):
            return str(binary)
    raise ConfigInvalid("no supersim: run `npm ci` here (Linux amd64)")
