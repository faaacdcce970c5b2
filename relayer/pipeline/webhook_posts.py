"""Posts one notice to one webhook, signed, within bounds, and never to where it may not go."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs

from relayer.message import ChainId, Timestamp
from relayer.public_hosts import guarded_session, is_address, is_public
from relayer.settings import WebhookSettings
from relayer.store import Notice

CONCURRENCY = 8
"""Posts to one webhook at the same time."""
SIGNATURE = "Relayer-Signature"
ASK_FOR_TIME = frozenset({429, 503})
"""Answers whose `Retry-After` is honoured (RFC 9110, 10.2.3)."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What came of one post."""

    trouble: str = ""
    """What was wrong, without the URL; empty when the receiver took it."""
    retry_after_s: float | None = None
    """What the receiver asked us to wait, as it said it: not bounded."""


class WebhookPoster:
    """Knows one webhook's URL and secret; neither leaves it."""

    def __init__(self, settings: WebhookSettings, now: Callable[[], Timestamp]) -> None:
        self._settings = settings
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(CONCURRENCY)

    async def post(self, notice: Notice, chain: ChainId) -> Posted:
        """Post it, and tell what came of it; only 2xx means that the receiver took it."""
        url = self._settings.url.get_secret_value()
        host = urlsplit(url).hostname or ""
        if not self._settings.allow_private and is_address(host) and not is_public(host):
            return Posted("the address is not public (allow_private)")
        body = notice.body.encode()
        headers = {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.USER_AGENT: "relayer",
            "Relayer-Event-Id": f"{chain}-{notice.number}",
            SIGNATURE: signature(
                self._settings.secret.get_secret_value(), body, at=int(self._now())
            ),
        }
        try:
            async with (
                self._room,
                self._open().post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                if 200 <= answer.status < 300:
                    return Posted()
                wait_s = self._asked_to_wait(answer.status, answer.headers)
                return Posted(f"status {answer.status}", wait_s)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: a host that is no name to the resolver (UnicodeError)
            return Posted(type(error).__name__)

    def _asked_to_wait(self, status: int, headers: Mapping[str, str]) -> float | None:
        if status not in ASK_FOR_TIME:
            return None
        return seconds_of(headers.get(hdrs.RETRY_AFTER, ""), now=self._now())

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = guarded_session(
                timeout_s=self._settings.timeout_s,
                limit=CONCURRENCY,
                allow_private=self._settings.allow_private,
            )
        return self._session


def seconds_of(retry_after: str, *, now: Timestamp) -> float | None:
    """The seconds of a `Retry-After`, a number or a date; None when it is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) < 20:
        return float(text)
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def signature(secret: str, body: bytes, *, at: int) -> str:
    """`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 with the secret over `<t>.<body>`."""
    signed = f"{at}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
