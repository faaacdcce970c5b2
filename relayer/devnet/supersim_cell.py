"""The child that supersim lives in: alone with loopback, behind doors that were handed in.

Run as `python -m relayer.devnet.supersim_cell ADMIN_PORT FD:PORT,... PROGRAM ARGUMENT...`: each
listening descriptor leads to a port in here. It writes `ready` when supersim is. Without arguments
it only tries whether such a cell can be made.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import partial

from relayer.devnet.anvil import PR_SET_PDEATHSIG

CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
"""unshare(2)"""
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
"""netdevice(7)"""
CHUNK = 64 * 1024
POLL_S = 0.05


def main(arguments: Sequence[str]) -> int:
    """Make the cell, start the program in it, and forward until it ends."""
    _seal()
    if not arguments:
        return 0
    admin_port, doors, *command = arguments
    # the first child after _seal is process 1 in there: when it dies, so does all it started
    program = subprocess.Popen(command, stdout=sys.stderr, preexec_fn=_die_with_parent)
    pairs = [pair.split(":") for pair in doors.split(",")]
    asyncio.run(_serve(program, int(admin_port), {int(fd): int(port) for fd, port in pairs}))
    return program.returncode or 0


def _seal() -> None:
    """Leave every network; OSError when we may not. No thread can be started from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(handle, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def _serve(program: subprocess.Popen[bytes], admin_port: int, doors: dict[int, int]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, program.kill)
    while program.poll() is None and not _is_ready(admin_port):  # noqa: ASYNC110 - see below
        await asyncio.sleep(POLL_S)
    servers = [
        await asyncio.start_server(partial(_forward, port), sock=socket.socket(fileno=descriptor))
        for descriptor, port in doors.items()
    ]
    os.write(sys.stdout.fileno(), b"ready\n" if program.poll() is None else b"ended\n")
    while program.poll() is None:  # noqa: ASYNC110 - a thread that waits cannot be started in here
        await asyncio.sleep(POLL_S)
    for server in servers:
        server.close()


def _is_ready(admin_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


async def _forward(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes both ways until both sides are done."""
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
