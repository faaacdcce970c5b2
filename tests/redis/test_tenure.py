"""A tenure under a real lease: what it tells when it begins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
import structlog

from relayer.ops.logs import HIDDEN, Redactor
from relayer.pipeline.tenure import Tenure
from relayer.store import Lease, Role, Store
from relayer.store.keys import base
from tests.redis.sample_facts import ONE
from tests.redis.servers import Server

pytestmark = pytest.mark.redis


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here."""
    return redis_server


def tenure_of(store: Store, work: Callable[[Lease], Awaitable[None]]) -> Tenure:
    return Tenure(
        store=store,
        chain=ONE,
        role=Role.FOLLOWER,
        owner="one",
        lease_s=15,
        work=work,
        on_change=lambda held: None,
    )


async def test_the_fence_of_a_lease_can_be_read_in_the_log(store: Store) -> None:
    """The number that tells two holders apart is no secret, and is not hidden like one."""
    begun: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

    async def work(lease: Lease) -> None:
        begun.set_result(lease)
        await asyncio.Event().wait()

    with structlog.testing.capture_logs() as lines:
        tenure = tenure_of(store, work)
        running = asyncio.create_task(tenure.run())
        async with asyncio.timeout(10):
            lease = await begun
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    (line,) = [line for line in lines if line["event"] == "lease_held"]
    shown = Redactor()(None, "info", dict(line))
    assert shown["fence"] == lease.token
    assert HIDDEN not in shown.values()


async def test_a_key_that_a_chain_cannot_do_without_stops_that_chain_alone(store: Store) -> None:
    """The tenure goes on, says why, and takes the place once the key is put right."""
    key = base(store._prefix, ONE) + "cursor"
    await store.command("SET", key, "x")

    async def work(lease: Lease) -> None:
        raise AssertionError("there is nothing to work on")

    with structlog.testing.capture_logs() as lines:
        tenure = tenure_of(store, work)
        running = asyncio.create_task(tenure.run())
        async with asyncio.timeout(10):
            while not tenure.trouble:  # noqa: ASYNC110 - it rings no bell
                await asyncio.sleep(0)
        assert not running.done()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert key in tenure.trouble
    assert not tenure.is_willing
    assert "chain_stopped" in {line["event"] for line in lines}
