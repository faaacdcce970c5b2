"""Ready calls on their way from the prover to the submitter: bounded, and each message once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relayer.adapter import Call
from relayer.message import MessageId, Record


@dataclass(frozen=True, slots=True)
class ReadyCall:
    """A call and the message it carries."""

    record: Record
    call: Call


class Inbox:
    """First in, first out; a newer call of the same message takes the older one's place."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: dict[MessageId, ReadyCall] = {}

    def __len__(self) -> int:
        return len(self._items)

    @property
    def room(self) -> int:
        """Messages that still fit."""
        return max(0, self._limit - len(self._items))

    @property
    def ids(self) -> list[MessageId]:
        """The messages whose calls wait here, oldest first."""
        return list(self._items)

    def put(self, items: Sequence[ReadyCall]) -> None:
        """Add calls; the caller claims no more than there is room for."""
        for item in items:
            self._items[item.record.id] = item

    def put_back(self, items: Sequence[ReadyCall]) -> None:
        """Calls that were taken and must wait on, before all others."""
        self._items = {item.record.id: item for item in items} | self._items

    def take(self, most: int) -> list[ReadyCall]:
        """Remove and return up to `most` calls, oldest first."""
        ids = list(self._items)[: max(0, most)]
        return [self._items.pop(message_id) for message_id in ids]
