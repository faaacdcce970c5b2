"""Opens the Redis client (single, Sentinel or Cluster) and checks that it is safe to store in."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from relayer.errors import ConfigInvalid, RelayerError, StoreUnavailable, StoreUnsafe

OLDEST = (6, 2)
"""ZRANGESTORE and GETDEL, which the scripts use, came with 6.2."""

WAY_OUT = "start Redis there, correct the url, or remove it to run a private one in data_dir"
SENTINEL_PORT = 26379

CONNECTIONS = 40
"""A little above the calls in flight, so that nobody waits for a socket."""


class Client(Protocol):
    """The part of redis-py's two asyncio clients the store uses."""

    async def execute_command(self, *args: Any, **options: Any) -> Any: ...

    async def aclose(self) -> None: ...


async def connect(url: str, *, cluster: bool, timeout_s: float) -> Client:
    """A client for `redis://`, `rediss://`, `unix://` or `redis+sentinel://` that was answered.

    Nothing is repeated behind our back: a write that may have happened is the caller's to judge.
    `StoreUnavailable` or `ConfigInvalid` names the place without its secrets, and the way out.
    """
    try:
        client = await _client(url, cluster=cluster, timeout_s=timeout_s)
        try:
            await client.execute_command("PING")
        except BaseException:
            await client.aclose()
            raise
    except (RedisError, RedisClusterException, OSError, ValueError) as error:
        raise _why_not(error, url, timeout_s) from error
    return client


async def _client(url: str, *, cluster: bool, timeout_s: float) -> Client:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": False,
    }
    if cluster:
        nodes = RedisCluster.from_url(url, max_connections=CONNECTIONS, **options)
        try:
            await nodes.initialize()
        except BaseException:
            await nodes.aclose()
            raise
        return nodes
    if url.startswith("redis+sentinel://"):
        return _sentinel(url, options)
    pool = BlockingConnectionPool.from_url(
        url, max_connections=CONNECTIONS, timeout=timeout_s, **options
    )
    return Redis.from_pool(pool)


def _sentinel(url: str, options: dict[str, Any]) -> Client:
    """`redis+sentinel://[user:password@]host:port,host:port/<service>[/<db>]`."""
    parts = urlsplit(url)
    login, _, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("a redis+sentinel:// url needs the service name as its path")
    hosts = [urlsplit(f"//{place}") for place in places.split(",")]
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(host.hostname, host.port or SENTINEL_PORT) for host in hosts],
        sentinel_kwargs={key: options[key] for key in ("socket_timeout", "socket_connect_timeout")},
    )
    primary = sentinel.master_for(
        service,
        db=int(database or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
        **options,
    )
    return _Watched(primary, sentinel.sentinels)


def _why_not(error: Exception, url: str, timeout_s: float) -> RelayerError:
    """Why there is no connection, in one line: where, what happened, what to do."""
    at, text = f"redis.url {_public(url)}", str(error)
    if isinstance(error, AuthenticationError) or "WRONGPASS" in text or "NOAUTH" in text:
        return ConfigInvalid(f"{at}: the server refuses the user or password; correct the url")
    if isinstance(error, MasterNotFoundError):
        return StoreUnavailable(
            f"{at}: no sentinel there names a primary; start them, or correct hosts and service"
        )
    if "Cluster mode is not enabled" in text:
        return ConfigInvalid(f"{at}: it is no Redis Cluster; set redis.cluster: false")
    if isinstance(error, BusyLoadingError):
        return StoreUnavailable(f"{at}: the server still loads its file; start again in a while")
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return StoreUnavailable(f"{at}: no answer within {timeout_s:g} s; {WAY_OUT}")
    if isinstance(error, ResponseError | ValueError):
        return ConfigInvalid(f"{at}: {_first_line(text)}; correct the url")
    return StoreUnavailable(f"{at}: {_cause(error)}; {WAY_OUT}")


def _public(url: str) -> str:
    """Only the place: a socket's path, or scheme, hosts and ports."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _cause(error: BaseException) -> str:
    """The operating system's word for what happened, where there is one."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLError):
            return f"TLS fails ({link.reason or 'no reason given'})"
        if isinstance(link, socket.gaierror):
            return "no such host"
        if isinstance(link, OSError) and link.errno:
            return os.strerror(link.errno).lower()
        link = link.__cause__ or link.__context__
    return _first_line(str(error))


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:200]


class _Watched:
    """The primary that sentinels name, closed together with the connections to them."""

    def __init__(self, primary: Client, sentinels: Sequence[Client]) -> None:
        self._primary = primary
        self._sentinels = sentinels

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await self._primary.execute_command(*args, **options)

    async def aclose(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for client in (*self._sentinels, self._primary):
                stack.push_async_callback(client.aclose)


async def sections(client: Client, section: str) -> list[dict[str, Any]]:
    """`INFO <section>` of every primary."""
    try:
        if isinstance(client, RedisCluster):
            answer = await client.execute_command(
                "INFO", section, target_nodes=RedisCluster.PRIMARIES
            )
        else:
            answer = await client.execute_command("INFO", section)
    except (RedisError, RedisClusterException, OSError) as error:
        raise StoreUnavailable(f"Redis: {type(error).__name__}: {str(error)[:300]}") from error
    if answer and all(isinstance(value, dict) for value in answer.values()):
        return [dict(value) for value in answer.values()]
    return [dict(answer)]


async def require_safe(client: Client, *, allow_unsafe: bool) -> None:
    """Refuse a server that may lose or evict state: `StoreUnsafe` says what to change."""
    for server in await sections(client, "server"):
        version = str(server.get("redis_version", "0.0"))
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < OLDEST:
            raise StoreUnsafe(f"Redis {version} is too old; 6.2 or newer (or Valkey) is needed")
    for node in await sections(client, "replication"):
        if node.get("role") not in (None, "master"):
            raise StoreUnavailable("Redis is a replica; decisions need the primary")
    if allow_unsafe:
        return
    for memory in await sections(client, "memory"):
        policy = memory.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise StoreUnsafe(
                f"Redis maxmemory-policy is {policy}: it may evict messages that wait;"
                " set it to noeviction (or redis.allow_unsafe: true to take the risk)"
            )
    for persistence in await sections(client, "persistence"):
        if not int(persistence.get("aof_enabled", 0)):
            raise StoreUnsafe(
                "Redis has no append-only file: a crash loses intents that were broadcast;"
                " set appendonly yes (or redis.allow_unsafe: true to take the risk)"
            )
