"""Runs anvil, a local EVM node, as a child process on a free loopback port.

The child never outlives us: it is ended by its own process id, and on Linux the kernel kills it
when the thread that started it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import platform
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from relayer.devnet.artefacts import node_modules
from relayer.devnet.rpc import NodeRpc
from relayer.errors import ConfigInvalid, EndpointDown, RelayerError

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal we get when our parent dies."""
START_TIMEOUT_S = 30.0
START_TRIES = 5
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class AnvilOptions:
    """How one node makes blocks."""

    chain_id: int
    block_time_s: float | None = 1.0
    """Seconds between blocks, or None: a block for each transaction as it comes."""
    mixed: bool = False
    """Blocks by the clock and for each transaction as it comes."""
    gas_limit: int = 60_000_000
    """Of a block."""
    epoch_slots: int = 1
    """`safe` is this many blocks behind the head, `finalized` twice as many."""
    hardfork: str = "prague"
    port: int = 0
    """0 picks a free one."""
    more: tuple[str, ...] = ()
    """Further command-line arguments."""

    def arguments(self, port: int) -> list[str]:
        """The command line without the program."""
        mining = [] if self.block_time_s is None else ["--block-time", str(self.block_time_s)]
        if self.mixed:
            mining.append("--mixed-mining")
        return [
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--chain-id", str(self.chain_id), "--gas-limit", str(self.gas_limit)),
            *("--hardfork", self.hardfork, "--slots-in-an-epoch", str(self.epoch_slots)),
            *("--quiet", *mining, *self.more),
        ]


class Anvil:
    """One running node; an async context manager."""

    def __init__(self, options: AnvilOptions) -> None:
        self.options = options
        self.port = options.port
        self._child: asyncio.subprocess.Process | None = None
        self._rpc: NodeRpc | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def rpc(self) -> NodeRpc:
        """A client of this node, closed with it."""
        if self._rpc is None:
            self._rpc = NodeRpc(self.url)
        return self._rpc

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the node and wait until it answers; another process may take a free port first."""
        program = find_anvil()
        for _ in range(START_TRIES):
            self.port = self.options.port or free_port()
            self._child = await asyncio.create_subprocess_exec(
                program,
                *self.options.arguments(self.port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
            try:
                if await self._is_up():
                    return
            except BaseException:
                await self.stop()
                raise
            await self.stop()
        raise EndpointDown(self.url, f"anvil did not start in {START_TRIES} tries")

    async def stop(self) -> None:
        """End the node and free its port; safe to repeat."""
        rpc, self._rpc = self._rpc, None
        if rpc is not None:
            await rpc.aclose()
        child, self._child = self._child, None
        if child is None or child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGCONT)
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    def freeze(self) -> None:
        """Stop answering, as a hung node does, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._signal(signal.SIGCONT)

    async def mine(self, blocks: int = 1) -> None:
        """Make blocks now."""
        await self.rpc.call("anvil_mine", hex(blocks))

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    async def _is_up(self) -> bool:
        child = self._child
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
        while child is not None and child.returncode is None:
            try:
                answer = int(await self.rpc.call("eth_chainId"), 16)
            except RelayerError:
                if asyncio.get_running_loop().time() > deadline:
                    return False
                await asyncio.sleep(0.02)
                continue
            return answer == self.options.chain_id and child.returncode is None
        return False


def find_anvil() -> str:
    """The anvil that npm installed for this machine, else the one on PATH."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    for root in node_modules():
        binary = root / "@foundry-rs" / f"anvil-{sys.platform}-{machine}" / "bin" / "anvil"
        if os.access(binary, os.X_OK):
            return str(binary)
    found = shutil.which("anvil")
    if found is None:
        raise ConfigInvalid("no anvil: run `npm ci` here (Linux amd64), or put anvil on PATH")
    return found


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs before exec so that it dies with the thread that starts it (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return ask_kernel
