"""Real Redis servers on loopback, alone or as a three-node cluster, ended by their process ids."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as NotUp

from relayer.store.embedded import find_binary

UP_WITHIN_S = 20.0
SLOTS = 16384
BUS_OFFSET = 10_000


@dataclass(frozen=True, slots=True)
class Server:
    """Where tests find Redis."""

    url: str
    cluster: bool


def free_port() -> int:
    """A port that is free now, with its cluster bus port."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port + BUS_OFFSET > 65535:
                continue
            with contextlib.suppress(OSError):
                two.bind(("127.0.0.1", port + BUS_OFFSET))
                return port


@contextlib.contextmanager
def running(folder: Path, *options: str, port: int | None = None) -> Iterator[int]:
    """One server with its files in `folder`; yields its port."""
    folder.mkdir(parents=True, exist_ok=True)
    options = (
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "no", "--save", ""),
        *("--daemonize", "no", "--maxmemory-policy", "noeviction", *options),
    )
    with _child(folder, port or free_port(), options) as listening:
        yield listening


@contextlib.contextmanager
def sentinel(folder: Path) -> Iterator[int]:
    """A sentinel that reads `sentinel.conf` in `folder`; yields its port."""
    options = (str(folder / "sentinel.conf"), "--sentinel", "--dir", str(folder))
    with _child(folder, free_port(), options) as listening:
        yield listening


@contextlib.contextmanager
def _child(folder: Path, port: int, options: Sequence[str]) -> Iterator[int]:
    command = [str(find_binary()), *options, "--port", str(port), "--bind", "127.0.0.1"]
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until_up(port, child)
        yield port
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_until_up(port: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    with Redis(host="127.0.0.1", port=port) as client:
        while time.monotonic() < deadline:
            assert child.poll() is None, "redis-server ended at once"
            with contextlib.suppress(NotUp):
                client.ping()
                return
            time.sleep(0.02)
    raise AssertionError("redis-server did not come up")


@contextlib.contextmanager
def single(folder: Path) -> Iterator[Server]:
    """One server."""
    with running(folder) as port:
        yield Server(f"redis://127.0.0.1:{port}/0", cluster=False)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Server]:
    """Three primaries that share the slots."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
    with contextlib.ExitStack() as stack:
        ports = [
            stack.enter_context(
                running(folder / str(i), *options, "--cluster-config-file", "nodes.conf")
            )
            for i in range(3)
        ]
        clients = [stack.enter_context(Redis(host="127.0.0.1", port=port)) for port in ports]
        form(clients, ports)
        yield Server(f"redis://127.0.0.1:{ports[0]}", cluster=True)


def form(clients: list[Redis], ports: list[int]) -> None:
    """Share out the slots, introduce the nodes and wait until all of them agree."""
    share = -(-SLOTS // len(clients))
    for i, client in enumerate(clients):
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
        slots = range(i * share, min(SLOTS, (i + 1) * share))
        client.execute_command("CLUSTER ADDSLOTS", *slots)
    for port in ports[1:]:
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
    deadline = time.monotonic() + UP_WITHIN_S
    while not all(is_whole(client, len(clients)) for client in clients):
        assert time.monotonic() < deadline, "the cluster did not form"
        time.sleep(0.05)


def is_whole(client: Redis, nodes: int) -> bool:
    state = client.execute_command("CLUSTER INFO")
    return state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == nodes
