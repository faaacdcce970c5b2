"""How many blocks one `eth_getLogs` asks for: as many as the provider puts up with."""

from __future__ import annotations

GROW_AFTER = 8
"""Successful full ranges before the range is doubled again after a refusal."""


class LogRange:
    """Blocks per `eth_getLogs`: halves when a provider refuses, grows back slowly."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._good = 0
        self.size = largest

    def refused(self) -> None:
        self.size = max(1, self.size // 2)
        self._good = 0

    def accepted(self) -> None:
        self._good += 1
        if self._good >= GROW_AFTER and self.size < self._largest:
            self.size = min(self._largest, self.size * 2)
            self._good = 0
