"""Webhooks as operators see them: what each is still to be told, and what it would not take."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from relayer.errors import UnknownRecord
from relayer.message import Timestamp
from relayer.ops.views import iso, printable

MAX_SHOWN = 100
"""Dead letters of one webhook."""


class State(Protocol):
    """How many events of one webhook are where."""

    @property
    def pending(self) -> int: ...

    @property
    def dead(self) -> int: ...

    @property
    def lost(self) -> int: ...


class Letter(Protocol):
    """An event that a webhook would not take."""

    @property
    def number(self) -> int: ...

    @property
    def body(self) -> str: ...

    @property
    def since(self) -> float: ...

    @property
    def attempts(self) -> int: ...

    @property
    def trouble(self) -> str: ...


class HookStore(Protocol):
    """The part of the store that knows of webhooks."""

    async def webhook_state(self, webhook: str, /) -> State: ...

    async def dead_notices(self, webhook: str, /, *, limit: int) -> Sequence[Letter]: ...

    async def revive_notices(self, webhook: str, /) -> int: ...


async def webhooks_view(store: HookStore, names: Sequence[str]) -> dict[str, Any]:
    """Every webhook with its counts, and their dead letters."""
    states = {name: await store.webhook_state(name) for name in names}
    rows = [
        {"name": name, "pending": one.pending, "dead": one.dead, "lost": one.lost}
        for name, one in states.items()
    ]
    letters = [
        {
            "webhook": name,
            "event_number": letter.number,
            "since": iso(Timestamp(letter.since)),
            "attempts": letter.attempts,
            "trouble": printable(letter.trouble, 200),
            "body": printable(letter.body),
        }
        for name in names
        for letter in await store.dead_notices(name, limit=MAX_SHOWN)
    ]
    return {"webhooks": rows, "dead_letters": letters}


def require_webhook(name: str, names: Collection[str]) -> None:
    """`UnknownRecord` names the webhooks that there are."""
    if name not in names:
        known = ", ".join(names) or "there are none"
        raise UnknownRecord(
            f"webhook: {printable(name, 60)!r} is not configured; known: {printable(known)}"
        )
