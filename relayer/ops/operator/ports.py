"""What the operator API needs of the store and of the running process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from relayer.acts import Act, Nameable, Pause, Selection, Target, Verb
from relayer.message import ChainId, MessageId, Reason, Record, Route, Status
from relayer.ops.operator.hooks import HookStore


class PageOf(Protocol):
    """Some records, and the mark to go on from."""

    @property
    def records(self) -> Sequence[Record]: ...

    @property
    def after(self) -> str | None: ...


class ActPage(Protocol):
    """Some lines of the audit log, and the mark to go on from."""

    @property
    def acts(self) -> Sequence[Act]: ...

    @property
    def after(self) -> str | None: ...


class Operated(Protocol):
    """What one page of a selection came to."""

    @property
    def looked(self) -> int: ...

    @property
    def matched(self) -> int: ...

    @property
    def changed(self) -> int: ...

    @property
    def refused(self) -> Sequence[tuple[MessageId, str]]: ...

    @property
    def after(self) -> str | None: ...


class OperatorStore(HookStore, Protocol):
    """The part of the store that operators act on."""

    async def operate(self, verb: Verb, message_id: MessageId, /) -> Record: ...

    async def operate_all(
        self, verb: Verb, selection: Selection, /, *, dry_run: bool, after: str | None
    ) -> Operated: ...

    async def list(
        self,
        *,
        status: Status | Collection[Status] | None,
        route: Route | None,
        reason: Reason | None,
        limit: int,
        after: str | None,
    ) -> PageOf: ...

    async def pause(self, pause: Pause, /) -> Pause: ...

    async def resume(self, target: Target, /) -> bool: ...

    async def pauses(self) -> Sequence[Pause]: ...

    async def acts(self, *, limit: int, after: str | None, strangers: bool) -> ActPage: ...


class Running(Protocol):
    """The running process, where the store does not do."""

    @property
    def chain_ids(self) -> Mapping[str, ChainId]:
        """The configured chains by name."""
        ...

    @property
    def replica(self) -> str:
        """What the process calls itself, as its leases do."""
        ...

    @property
    def level(self) -> str:
        """The lowest level that this process logs."""
        ...

    def set_level(self, level: str, /) -> None:
        """Log from this level on, until the process ends."""
        ...

    def config(self) -> dict[str, Any]:
        """The configuration that is in force, secrets hidden."""
        ...

    @property
    def webhooks(self) -> Sequence[str]:
        """The configured webhooks by name."""
        ...

    @property
    def bridges(self) -> Collection[str]:
        """The configured bridges by name."""
        ...

    @property
    def nameable(self) -> Nameable:
        """What can be paused."""
        ...

    async def look_at_pauses(self) -> None:
        """Know at once what was paused or resumed just now."""
        ...

    async def ask_backfill(
        self, chain: str, /, *, first: int | None, last: int | None, tx: str | None
    ) -> dict[str, Any]:
        """Have blocks read again; tells which."""
        ...

    async def backfills(self) -> Sequence[dict[str, Any]]:
        """The ranges that are still to be read."""
        ...

    async def cancel_backfill(self, chain: str, /, *, first: int, last: int) -> dict[str, Any]:
        """Take an open range back; `UnknownRecord` when it is not open."""
        ...

    async def reload(self) -> dict[str, Any]:
        """Take up the configuration file as it is now; tells what changed."""
        ...
