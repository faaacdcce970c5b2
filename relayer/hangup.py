"""SIGHUP from the first moment on: it asks for a reload, and never ends a relayer that starts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import FrameType


class Hangup:
    """Remembers SIGHUP until there is somebody to tell; make it in the main thread.

    What a shell or a manager of configurations sends right after the start must do no harm.
    """

    def __init__(self) -> None:
        self._is_early = False
        signal.signal(signal.SIGHUP, self._remember)

    def tell(self, reload_soon: Callable[[], None]) -> None:
        """Call this at each SIGHUP, and now if there was one already; in the running loop."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload_soon)
        if self._is_early:
            reload_soon()

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self._is_early = True
