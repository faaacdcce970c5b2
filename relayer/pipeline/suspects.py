"""Recipients that wasted a transaction of ours: for a while their messages travel alone.

A simulation can always be told from the real thing, so a recipient may pass one and then burn the
gas of everybody who shares its transaction. It does that once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from relayer.message import BridgeName, Record, Timestamp

MOST = 10_000
FOR_S = 6 * 3600.0


class Suspects:
    """Remembers the newest `MOST` recipients for `FOR_S` seconds; one lane's memory, not kept."""

    def __init__(self, now: Callable[[], Timestamp]) -> None:
        self._now = now
        self._until: OrderedDict[tuple[BridgeName, str], float] = OrderedDict()

    def add(self, record: Record) -> None:
        """Its message was mined in vain while it had a transaction to itself."""
        key = _key(record)
        self._until[key] = self._now() + FOR_S
        self._until.move_to_end(key)
        while len(self._until) > MOST:
            self._until.popitem(last=False)

    def has(self, record: Record) -> bool:
        """Whether the recipient of this message has wasted a transaction lately."""
        return self._until.get(_key(record), 0.0) > self._now()


def _key(record: Record) -> tuple[BridgeName, str]:
    return record.route.bridge, record.message.recipient
