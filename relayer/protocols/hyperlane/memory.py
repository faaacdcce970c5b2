"""A bounded memory of answers, each believed for a while. No answer is better than a stale one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from relayer.message import Timestamp

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Keeps at most `most` values, the least recently written go first."""

    def __init__(self, now: Callable[[], Timestamp], *, lifetime_s: float, most: int) -> None:
        self._now = now
        self._lifetime_s = lifetime_s
        self._most = most
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value if it is young enough."""
        found = self._kept.get(key)
        if found is None or self._now() - found[0] > self._lifetime_s:
            return None
        return found[1]

    def put(self, key: K, value: V) -> V:
        """Remember and return the value."""
        self._kept[key] = (self._now(), value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value

    def forget(self, key: K) -> None:
        """Drop a value that proved wrong."""
        self._kept.pop(key, None)

    def forget_if(self, stale: Callable[[K], bool]) -> None:
        """Drop every value whose key is stale."""
        for key in [key for key in self._kept if stale(key)]:
            del self._kept[key]
