"""Runs a chain's follower, or a lane, for as long as we hold its lease."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from relayer.cancelling import stop_if_cancelled
from relayer.errors import Fatal, LeaseLost, RelayerError, Transient
from relayer.message import ChainId
from relayer.store import Lease, Role, Store

RENEWALS_PER_LEASE = 3
FATAL_PAUSE_S = 60.0
AWAY_BEATS = 2
"""Beats that a place is left to others after it was handed over; they ask for it twice a beat."""


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
        can_work: Callable[[], bool] = lambda: True,
    ) -> None:
        """`can_work`: whether what the work needs (an endpoint, a signer) is there now."""
        self._store = store
        self._chain = chain
        self._role = role
        self._owner = owner
        self._beat_s = lease_s / RENEWALS_PER_LEASE
        self._work = work
        self._on_change = on_change
        self._handing_over = asyncio.Event()
        self.place = (chain, role)
        self.is_held = False
        self._is_away = False
        self.can_work = can_work
        self.trouble = ""
        """What stopped the chain when it was last worked on; empty when nothing did."""
        self._log = structlog.get_logger("relayer").bind(chain=chain, role=role.value)

    @property
    def is_willing(self) -> bool:
        """Whether it should be given the place; not while it stays away, or what stopped it may
        still be there."""
        return not self._is_away and not self.trouble and self.can_work()

    def hand_over(self) -> None:
        """Stop working, give the lease back, and leave it to others for a while."""
        self._handing_over.set()

    async def run(self) -> None:
        """Hold and work until cancelled; a lost lease or a sick store only starts it over."""
        while True:
            stop_if_cancelled()
            lease = await self._acquire()
            if lease is None:
                continue
            self._log.info("lease_held", fence=lease.token)
            self._change(held=True)
            pause_s = 0.0
            try:
                await self._work_while_held(lease)
            except Exception as error:  # noqa: BLE001 - a bug here must not end the other chains
                pause_s = self._report(error)
            finally:
                self._change(held=False)
                with contextlib.suppress(RelayerError):
                    await asyncio.shield(self._store.release_lease(lease))
            if self._handing_over.is_set():
                pause_s = max(pause_s, AWAY_BEATS * self._beat_s)
            self._is_away = pause_s > 0
            await asyncio.sleep(pause_s)
            self._is_away = False

    def _change(self, *, held: bool) -> None:
        self.is_held = held
        if held:
            self._handing_over.clear()
        self._on_change(held)

    def _report(self, error: Exception) -> float:
        """Log why the work ended; returns the seconds to stay away."""
        causes = error.exceptions if isinstance(error, ExceptionGroup) else (error,)
        for cause in causes:
            if isinstance(cause, Fatal):
                self._log.error("chain_stopped", error=str(cause))
                self.trouble = str(cause)[:300]
                return FATAL_PAUSE_S
            self._log.warning("tenure_ended", error=str(cause)[:300], kind=type(cause).__name__)
        return 0.0

    async def _acquire(self) -> Lease | None:
        """The lease; None, after a pause, while another holds it or the store cannot give it."""
        pause_s = self._beat_s / 2
        try:
            lease = await self._store.acquire(self._chain, self._role, self._owner)
            if lease is not None:
                return lease
        except Transient as error:
            self._log.warning("store_unavailable", error=str(error)[:300])
        except RelayerError as error:
            pause_s = max(pause_s, self._report(error))
        await asyncio.sleep(pause_s)
        return None

    async def _work_while_held(self, lease: Lease) -> None:
        work = asyncio.ensure_future(self._work(lease))
        asked = asyncio.ensure_future(self._handing_over.wait())
        try:
            while True:
                stop_if_cancelled()
                done, _ = await asyncio.wait(
                    {work, asked}, timeout=self._beat_s, return_when=asyncio.FIRST_COMPLETED
                )
                if work in done:
                    await work
                    return
                if asked in done:
                    return
                if not await self._renewed(lease):
                    raise LeaseLost(
                        f"lease {self._role.value} of chain {self._chain} was taken over"
                    )
                self.trouble = ""
        finally:
            asked.cancel()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, RelayerError, ExceptionGroup):
                await work

    async def _renewed(self, lease: Lease) -> bool:
        """Renew; a store that does not answer counts as lost, which is the safe side."""
        return await self._store.renew(lease)
