"""The store as the rest of the program sees it: one object, opened once, closed last."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from relayer.errors import SchemaMismatch
from relayer.message import ChainId, MessageId, Record
from relayer.store.audit import Audit
from relayer.store.connect import connect, require_safe, sections
from relayer.store.embedded import EmbeddedRedis
from relayer.store.events import Events
from relayer.store.keys import META, SCHEMA_VERSION, base
from relayer.store.lane import Lane
from relayer.store.leases import Leases
from relayer.store.notices import Notices
from relayer.store.operator import Operator
from relayer.store.pauses import Pauses
from relayer.store.proofs import Proofs
from relayer.store.reading import Reading
from relayer.store.replicas import Replicas
from relayer.store.rescans import Rescans
from relayer.store.shapes import Lease
from relayer.store.trees import Trees

if TYPE_CHECKING:
    from relayer.settings import RedisSettings

RETENTION_S = 7 * 86400.0
"""Delivered messages are shown for a week."""


class Store(
    Leases,
    Replicas,
    Trees,
    Rescans,
    Proofs,
    Lane,
    Operator,
    Pauses,
    Audit,
    Events,
    Notices,
    Reading,
):
    """All state of the service, in Redis; see `keys.CHAIN_KEYS` for what is where."""

    _embedded: EmbeddedRedis | None = None

    @classmethod
    async def open(
        cls,
        settings: RedisSettings,
        data_dir: Path | str,
        clock: Callable[[], float] = time.time,
        *,
        chains: Sequence[ChainId] = (),
        retention_s: float = RETENTION_S,
        attach: bool = False,
    ) -> Store:
        """Connect (or start the embedded server in `data_dir`) and check that it is safe.

        `chains` are looked through by readers besides those that have keys already.
        `attach` lets a second process use a running embedded server instead of being refused.
        Raises `StoreUnavailable`, `StoreUnsafe`, `SchemaMismatch` or `ConfigInvalid`.
        """
        embedded: EmbeddedRedis | None = None
        if settings.url is None:
            embedded = EmbeddedRedis(data_dir, attach=attach)
            await embedded.start()
            url = embedded.url
        else:
            url = settings.url.get_secret_value()
        try:
            store = await cls._opened(url, settings, clock=clock, retention_s=retention_s)
            if embedded is not None and not attach:
                await store.end_leases()  # the directory has one owner: any other holder is dead
        except BaseException:
            if embedded is not None:
                await embedded.aclose()
            raise
        store._embedded = embedded
        store._configured = frozenset(chains)
        return store

    @classmethod
    async def _opened(
        cls,
        url: str,
        settings: RedisSettings,
        *,
        clock: Callable[[], float],
        retention_s: float,
    ) -> Store:
        cluster = settings.cluster and settings.url is not None
        client = await connect(url, cluster=cluster, timeout_s=settings.timeout_s)
        try:
            await require_safe(client, allow_unsafe=settings.allow_unsafe)
            store = cls(
                client,
                prefix=settings.prefix,
                clock=clock,
                retention_s=retention_s,
                lease_s=settings.lease_s,
            )
            await store._require_schema()
        except BaseException:
            await client.aclose()
            raise
        return store

    async def memory_bytes(self) -> int:
        """Memory that all primaries use; an answer says that each of them can be reached."""
        return sum(int(node["used_memory"]) for node in await sections(self._client, "memory"))

    async def guard(self) -> None:
        """Keep an embedded server of ours alive; returns at once when there is none."""
        if self._embedded is not None:
            await self._embedded.guard()

    async def aclose(self) -> None:
        """Close the connections, then stop the embedded server if it is ours."""
        try:
            await self._client.aclose()
        finally:
            if self._embedded is not None:
                await self._embedded.aclose()

    @overload
    async def release(self, what: Lease) -> None: ...

    @overload
    async def release(self, what: MessageId) -> Record: ...

    async def release(self, what: Lease | MessageId) -> Record | None:
        """Give back a lease, or let a held message go on: see the two methods it stands for."""
        if isinstance(what, Lease):
            await self.release_lease(what)
            return None
        return await self.release_message(what)

    async def _require_schema(self) -> None:
        key = base(self._prefix, META) + "schema"
        await self.command("SET", key, SCHEMA_VERSION, "NX")
        found = await self.command("GET", key)
        text = (found or b"").decode("utf-8", "replace")
        if text != SCHEMA_VERSION:
            raise SchemaMismatch(
                f"the key {key} says schema {text!r}, this program reads {SCHEMA_VERSION!r};"
                " run the version that wrote it, or use another redis.prefix"
            )
