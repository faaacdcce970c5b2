"""A stop must arrive: cancellations that something awaited has swallowed are raised again."""

from __future__ import annotations

import asyncio


def stop_if_cancelled() -> None:
    """Raise a cancellation that something awaited has swallowed.

    On Python 3.11 `asyncio.wait_for` drops one that arrives with its result, and libraries use it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
