"""Readiness asks the real store, within a bound, and counts what it was answered."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from relayer.ops.metrics import Metrics
from relayer.ops.pulse import ask_store
from relayer.settings import RedisSettings
from relayer.store import Store
from tests.redis import servers

pytestmark = pytest.mark.redis


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"relayer_{name}", labels)


async def test_a_store_that_answers_is_ready(store: Store) -> None:
    """Alone and as a cluster: how long it took and what it uses are counted."""
    metrics = Metrics()
    assert (await ask_store(store, metrics)).ready
    assert value(metrics, "store_up") == 1
    assert value(metrics, "store_seconds_count") == 1
    assert (value(metrics, "store_memory_bytes") or 0) > 100_000


async def test_a_store_that_went_away_is_not_ready_until_it_is_back(tmp_path: Path) -> None:
    """The detail has no address in it: it is shown to anybody who asks."""
    metrics = Metrics()
    with servers.running(tmp_path) as port:
        url = SecretStr(f"redis://127.0.0.1:{port}/0")
        store = await Store.open(RedisSettings(url=url), "unused")
    try:
        answer = await ask_store(store, metrics)
        assert (answer.ready, value(metrics, "store_up")) == (False, 0)
        assert answer.detail == "Redis does not answer (store_unavailable); the log says more"
        assert value(metrics, "store_errors_total", kind="store_unavailable") == 1
        with servers.running(tmp_path, port=port):
            assert (await ask_store(store, metrics)).ready
        assert value(metrics, "store_up") == 1
    finally:
        await store.aclose()


async def test_a_store_that_hangs_is_not_ready_in_time(tmp_path: Path) -> None:
    """A server that accepts and says nothing costs the bound, not `redis.timeout_s`."""
    metrics = Metrics()
    with servers.running(tmp_path) as port:
        url = SecretStr(f"redis://127.0.0.1:{port}/0")
        store = await Store.open(RedisSettings(url=url, timeout_s=60), "unused")
    try:
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            silent.bind(("127.0.0.1", port))
            silent.listen()
            await ask_store(store, metrics, within_s=0.2)  # may still meet the closed connection
            answer = await ask_store(store, metrics, within_s=0.2)
        assert answer.detail == "Redis did not answer within 0.2 s"
        assert (value(metrics, "store_errors_total", kind="timeout") or 0) >= 1
    finally:
        await store.aclose()
