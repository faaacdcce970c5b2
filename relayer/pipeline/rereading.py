"""What a chain's follower reads again besides going forward: blocks that somebody asked for,
blocks that a new bridge wants, and blocks whose records another chain's part of Redis has lost.

All of it is kept in the store until it is done, so that whoever follows next goes on with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

from relayer.errors import Fatal, IllegalTransition, LeaseLost, RangeTooWide, RelayerError
from relayer.message import BlockNumber, Timestamp
from relayer.ops.metrics import Metrics
from relayer.pipeline.log_range import LogRange
from relayer.store import Cursor, Lease, Rescan, Store

LOOK_EVERY_S = 10.0
"""Between two looks for lost records: two small reads for each other chain."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 600.0
"""How long a range that could not be read is left alone: doubled with each failure."""


class Rereading:
    """One chain's blocks to read again, under its follower's lease."""

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        lease: Lease,
        metrics: Metrics,
        followed: Mapping[str, BlockNumber],
        ingest: Callable[[BlockNumber, BlockNumber], Awaitable[object]],
        blocks: LogRange,
        now: Callable[[], Timestamp],
    ) -> None:
        self._name = name
        self._store = store
        self._lease = lease
        self._metrics = metrics
        self._followed = followed
        self._ingest = ingest
        self._blocks = blocks
        self._now = now
        self._is_waiting = False
        self._next_look = Timestamp(0.0)
        self._failed: dict[str, tuple[int, Timestamp]] = {}
        self._log = structlog.get_logger("relayer").bind(agent=f"follower:{name}", chain=name)

    async def adopt(self, cursor: Cursor) -> bool:
        """Have the blocks read that a bridge or route new here wants and that were passed.

        What is not followed any more is forgotten, so that it is new when it comes back.

        False when there are too many ranges to read already: ask again when there are fewer.
        """
        before = await self._store.followed(self._lease.chain)
        fresh = {
            name: start
            for name, start in self._followed.items()
            if name not in before or start < before[name]
        }
        gone = before.keys() - self._followed.keys()
        if not fresh and not gone:
            return True
        missed = {name: start for name, start in fresh.items() if not _is_older(before, name)}
        try:
            if missed and await self.ask(first := BlockNumber(min(missed.values())), cursor):
                self._log.warning("bridge_added", reads_again_from=first, to=cursor.block)
        except IllegalTransition as error:
            if not self._is_waiting:
                self._log.warning("bridge_waits", error=str(error))
            self._is_waiting = True
            return False
        await self._store.note_followed(self._lease, fresh, gone)
        return True

    async def look_for_losses(self, cursor: Cursor, *, at_once: bool) -> None:
        """Have the blocks read whose records are not any more where they were stored."""
        if not at_once and self._now() < self._next_look:
            return
        try:
            for lost in await self._store.lost_batches(self._lease):
                first = lost.first or self.start or BlockNumber(0)
                if await self.ask(first, cursor):
                    self._metrics.records_lost(self._name)
                    self._log.error(
                        "records_lost", destination=lost.destination,
                        batches=lost.newest - lost.known, reads_again_from=first, to=cursor.block,
                    )  # fmt: skip
                await self._store.note_batches(self._lease, lost)
        except (LeaseLost, Fatal):
            raise
        except RelayerError as error:  # going forward does not wait for this
            self._log.warning("losses_unknown", kind=error.label, error=str(error)[:300])
        self._next_look = Timestamp(self._now() + LOOK_EVERY_S)

    async def read_next(self, final: BlockNumber) -> bool:
        """Read one part of the lowest range asked for, up to `final`; True when there was one.

        What cannot be read is put off by itself: other ranges and new blocks do not wait for it.
        """
        asked = await self._store.rescans(self._lease.chain)
        names = {one.name for one in asked}
        self._failed = {name: why for name, why in self._failed.items() if name in names}
        due = [one for one in asked if self._is_due(one, final)]
        if not due:
            return False
        rescan = due[0]
        last = BlockNumber(min(rescan.last, final, rescan.at + self._blocks.size - 1))
        try:
            await self._ingest(rescan.at, last)
        except RangeTooWide:
            self._blocks.refused()
        except (LeaseLost, Fatal):
            raise
        except Exception as error:  # noqa: BLE001 - not even a bug there may stop new blocks
            await self._put_off(rescan, error)
        else:
            self._failed.pop(rescan.name, None)
            await self._store.note_rescanned(self._lease, rescan, last)
            self._log.info("blocks_read_again", first=rescan.at, last=last, of=rescan.name)
        return True

    def _is_due(self, rescan: Rescan, final: BlockNumber) -> bool:
        _, not_before = self._failed.get(rescan.name, (0, 0.0))
        return rescan.at <= final and self._now() >= not_before

    async def _put_off(self, rescan: Rescan, error: Exception) -> None:
        label = error.label if isinstance(error, RelayerError) else "crash"
        failures = self._failed.get(rescan.name, (0, 0.0))[0] + 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
        self._failed[rescan.name] = failures, Timestamp(self._now() + pause_s)
        self._metrics.agent_failed(f"rereading:{self._name}", label)
        self._log.warning(
            "rescan_failed", of=rescan.name, at=rescan.at, kind=label,
            error=repr(error)[:300], again_in_s=pause_s,
        )  # fmt: skip
        await self._store.note_rescan_failed(self._lease, rescan, str(error) or label)

    async def ask(self, first: BlockNumber, cursor: Cursor) -> bool:
        """Ask for a range below the cursor; False when there is nothing below it to read."""
        if not cursor.hash or first > cursor.block:
            return False
        await self._store.ask_rescan(self._lease.chain, first, cursor.block)
        return True

    @property
    def start(self) -> BlockNumber | None:
        """The first block that anything here wants; None when nothing does."""
        return min(self._followed.values(), default=None)


def _is_older(before: Mapping[str, BlockNumber], name: str) -> bool:
    """Whether a route is unknown only because a version stored `before` that knew no routes."""
    return _is_route(name) and bool(before) and not any(map(_is_route, before))


def _is_route(name: str) -> bool:
    return ">" in name
