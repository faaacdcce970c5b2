"""How long local chains may take for what they are asked: the more messages, the longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from relayer.errors import RelayerError

SEND_TIMEOUT_S = 120.0
PER_MESSAGE_S = 0.25
"""On a busy machine a block a second takes a few of them."""


def allowed_s(least_s: float, messages: int) -> float:
    """Seconds that something may take with this many messages."""
    return least_s + PER_MESSAGE_S * messages


@asynccontextmanager
async def sending(
    bridge: str, messages: int, *, least_s: float = SEND_TIMEOUT_S
) -> AsyncIterator[None]:
    """Bound the sending of messages; RelayerError says what took too long."""
    limit_s = allowed_s(least_s, messages)
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise RelayerError(
            f"{messages} messages of {bridge} were not sent and mined within {limit_s:g} s:"
            " send fewer, or where less else runs"
        ) from None
