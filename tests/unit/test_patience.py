"""How long local chains may take, and what is said when they take longer."""

from __future__ import annotations

import asyncio

import pytest

from relayer.devnet.patience import allowed_s, sending
from relayer.errors import RelayerError


async def test_what_took_too_long_is_said() -> None:
    """A `TimeoutError` alone tells nobody what was waited for."""
    with pytest.raises(RelayerError, match=r"^0 messages of hyperlane .* within 0 s: send fewer"):
        async with sending("hyperlane", 0, least_s=0):
            await asyncio.Event().wait()


async def test_a_limit_of_somebody_else_s_is_not_taken_for_ours() -> None:
    """A node that does not answer is another trouble."""
    with pytest.raises(TimeoutError):
        async with sending("hyperlane", 10):
            raise TimeoutError


def test_more_messages_may_take_longer() -> None:
    """Four thousand are not sent in the time of four hundred."""
    assert allowed_s(60, 4000) > 2 * allowed_s(60, 400)
