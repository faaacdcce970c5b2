"""Runs a chain's follower, or a lane, for as long as we hold its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from relayer.errors import Fatal, LeaseLost, RelayerError, Transient
from relayer.message import ChainId
from relayer.pipeline.loop import stop_if_cancelled
from relayer.store import Lease, Role, Store

RENEWALS_PER_LEASE = 3
FATAL_PAUSE_S = 60.0


class Tenure:
    """Acquires a lease, runs `work(lease)` under it, renews it, and starts over when it is lost."""

    def __init__(
        self,
        *,
        store: Store,
        chain: ChainId,
        role: Role,
        owner: str,
        lease_s: float,
        work: Callable[[Lease], Awaitable[None]],
        on_change: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._chain = chain
        self._role = role
        self._owner = owner
        self._beat_s = lease_s / RENEWALS_PER_LEASE
        self._work = work
        self._on_change = on_change
        self._log = structlog.get_logger("relayer").bind(chain=chain, role=role.value)

    async def run(self) -> None:
        """Hold and work until cancelled; a lost lease or a sick store only starts it over."""
        while True:
            stop_if_cancelled()
            lease = await self._acquire()
            if lease is None:
                await asyncio.sleep(self._beat_s / 2)
                continue
            self._log.info("lease_held", fence=lease.token)
            self._on_change(True)
            pause_s = 0.0
            try:
                await self._work_while_held(lease)
            except Exception as error:  # noqa: BLE001 - a bug here must not end the other chains
                pause_s = self._report(error)
            finally:
                self._on_change(False)
                with contextlib.suppress(RelayerError):
                    await asyncio.shield(self._store.release_lease(lease))
            await asyncio.sleep(pause_s)

    def _report(self, error: Exception) -> float:
        """Log why the work ended; returns the seconds to stay away."""
        causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        for cause in causes:
            if isinstance(cause, Fatal):
                self._log.error("chain_stopped", error=str(cause))
                return FATAL_PAUSE_S
            self._log.warning("tenure_ended", error=str(cause)[:300], kind=type(cause).__name__)
        return 0.0

    async def _acquire(self) -> Lease | None:
        try:
            return await self._store.acquire(self._chain, self._role, self._owner)
        except Transient as error:
            self._log.warning("store_unavailable", error=str(error)[:300])
            return None

    async def _work_while_held(self, lease: Lease) -> None:
        work = asyncio.ensure_future(self._work(lease))
        try:
            while True:
                stop_if_cancelled()
                done, _ = await asyncio.wait({work}, timeout=self._beat_s)
                if done:
                    await work
                    return
                if not await self._renewed(lease):
                    raise LeaseLost(
                        f"lease {self._role.value} of chain {self._chain} was taken over"
                    )
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, RelayerError, ExceptionGroup):
                await work

    async def _renewed(self, lease: Lease) -> bool:
        """Renew; a store that does not answer counts as lost, which is the safe side."""
        return await self._store.renew(lease)
