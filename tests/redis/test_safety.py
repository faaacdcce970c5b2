"""A server that may lose or evict state is refused at the door."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from relayer.errors import SchemaMismatch, StoreUnavailable, StoreUnsafe
from relayer.settings import RedisSettings
from relayer.store import Role, Store
from tests.redis import servers
from tests.redis.sample_facts import ONE, message

pytestmark = pytest.mark.redis


def at_port(port: int, *, allow_unsafe: bool = False) -> RedisSettings:
    url = SecretStr(f"redis://127.0.0.1:{port}/0")
    return RedisSettings(url=url, allow_unsafe=allow_unsafe)


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [("--maxmemory-policy", "allkeys-lru", "noeviction"), ("--appendonly", "no", "appendonly")],
)
async def test_an_unsafe_server_is_refused(
    tmp_path: Path, option: str, value: str, word: str
) -> None:
    """The error says what to change; the operator may take the risk by a setting."""
    with servers.running(tmp_path, option, value) as port:
        with pytest.raises(StoreUnsafe, match=word):
            await Store.open(at_port(port), "unused")
        store = await Store.open(at_port(port, allow_unsafe=True), "unused")
        await store.aclose()


async def test_a_replica_is_not_decided_on(tmp_path: Path) -> None:
    """Decisions need the primary: a replica counts as unavailable, also when it becomes one."""
    primary = servers.free_port()  # nobody answers there, and none needs to
    with servers.running(tmp_path) as other:
        store = await Store.open(at_port(other), "unused")
        try:
            lease = await store.acquire(ONE, Role.FOLLOWER, "one")
            assert lease is not None
            await store.command("REPLICAOF", "127.0.0.1", primary)
            with pytest.raises(StoreUnavailable, match="replica"):
                await store.save_facts(lease, [message(1)])
            with pytest.raises(StoreUnavailable, match="replica"):
                await Store.open(at_port(other), "unused")
        finally:
            await store.aclose()


async def test_a_store_that_went_away_is_unavailable_and_comes_back(tmp_path: Path) -> None:
    """A restart in between costs an error, not the connection or the data."""
    with servers.running(tmp_path) as port:
        store = await Store.open(at_port(port), "unused")
        lease = await store.acquire(ONE, Role.FOLLOWER, "one")
        assert lease is not None
    try:
        with pytest.raises(StoreUnavailable):
            await store.save_facts(lease, [message(1)])
        with servers.running(tmp_path, port=port):
            saved = await store.save_facts(lease, [message(1)])
            assert len(saved.new_messages) == 1
    finally:
        await store.aclose()


async def test_scripts_survive_a_flush(tmp_path: Path) -> None:
    """A server that forgot the scripts is given them again."""
    with servers.running(tmp_path) as port:
        store = await Store.open(at_port(port), "unused")
        try:
            await store.acquire(ONE, Role.FOLLOWER, "one")
            await store.command("SCRIPT FLUSH")
            assert await store.acquire(ONE, Role.FOLLOWER, "two") is None
        finally:
            await store.aclose()


async def test_a_full_server_is_unavailable(tmp_path: Path) -> None:
    """Out of memory under noeviction refuses the write; nothing is half written."""
    with servers.running(tmp_path) as port:
        store = await Store.open(at_port(port), "unused")
        try:
            lease = await store.acquire(ONE, Role.FOLLOWER, "one")
            assert lease is not None
            await store.command("CONFIG SET", "maxmemory", "1")
            with pytest.raises(StoreUnavailable, match=r"(?i)oom|memory"):
                await store.save_facts(lease, [message(1)])
            await store.command("CONFIG SET", "maxmemory", "0")
            assert len((await store.save_facts(lease, [message(1)])).new_messages) == 1
        finally:
            await store.aclose()


async def test_another_databases_schema_is_refused(tmp_path: Path) -> None:
    """Somebody else's key in our place is not overwritten."""
    with servers.running(tmp_path) as port:
        store = await Store.open(at_port(port), "unused")
        await store.command("SET", "relayer:{meta}:schema", "2")
        await store.aclose()
        with pytest.raises(SchemaMismatch, match="'2'"):
            await Store.open(at_port(port), "unused")


async def test_a_sentinel_leads_to_the_primary(tmp_path: Path) -> None:
    """The url names sentinels and a service; the store asks them where the primary is."""
    with servers.running(tmp_path / "one") as primary:
        watch = f"sentinel monitor main 127.0.0.1 {primary} 1\n"
        (tmp_path / "sentinel.conf").write_text(watch)
        with servers.sentinel(tmp_path) as port:
            url = SecretStr(f"redis+sentinel://127.0.0.1:{port}/main")
            store = await Store.open(RedisSettings(url=url), "unused")
            try:
                assert await store.acquire(ONE, Role.FOLLOWER, "one") is not None
            finally:
                await store.aclose()
