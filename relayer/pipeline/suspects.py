"""Recipients that wasted transactions of ours: for a while their messages have less company.

A simulation can always be told from the real thing, so a recipient may pass one and then burn the
gas of everybody who shares its transaction, and behave when it travels alone. Whose it was is not
seen, so after a wasted transaction all its recipients are doubted: they travel in smaller packs,
until a pack arrives or the one to blame is alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from relayer.message import BridgeName, Record, Timestamp

MOST = 10_000
FOR_S = 6 * 3600.0
COMPANY = (8, 2, 1)
"""Messages in a pack after one, two and more doubts."""

Key = tuple[BridgeName, str]


class Suspects:
    """Remembers the newest `MOST` recipients for `FOR_S` seconds; one lane's memory, not kept."""

    def __init__(self, now: Callable[[], Timestamp]) -> None:
        self._now = now
        self._doubts: OrderedDict[Key, tuple[int, float]] = OrderedDict()

    def blame(self, record: Record) -> None:
        """Its message was mined in vain while it had a transaction to itself."""
        self._note(_key(record), len(COMPANY))

    def doubt(self, records: Sequence[Record]) -> None:
        """One of these wasted a transaction that they shared."""
        for key in {_key(record) for record in records}:
            self._note(key, self._count(key) + 1)

    def trust(self, records: Sequence[Record]) -> None:
        """These arrived in company; alone would say nothing."""
        for record in records:
            self._doubts.pop(_key(record), None)

    def company(self, record: Record, most: int) -> int:
        """Into how large a pack a message may go, at most `most`."""
        count = self._count(_key(record))
        return most if count == 0 else min(most, COMPANY[min(count, len(COMPANY)) - 1])

    def _count(self, key: Key) -> int:
        count, until = self._doubts.get(key, (0, 0.0))
        return count if until > self._now() else 0

    def _note(self, key: Key, count: int) -> None:
        self._doubts[key] = (count, self._now() + FOR_S)
        self._doubts.move_to_end(key)
        while len(self._doubts) > MOST:
            self._doubts.popitem(last=False)


def _key(record: Record) -> Key:
    return record.route.bridge, record.message.recipient
