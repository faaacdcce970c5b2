"""Posts one notice to one webhook, signed, within bounds, and never to where it may not go."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
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


class WebhookPoster:
    """Knows one webhook's URL and secret; neither leaves it."""

    def __init__(self, settings: WebhookSettings, now: Callable[[], Timestamp]) -> None:
        self._settings = settings
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(CONCURRENCY)

    async def post(self, notice: Notice, chain: ChainId) -> str:
        """Post it; empty when the receiver took it (2xx), else what was wrong, without the URL."""
        url = self._settings.url.get_secret_value()
        host = urlsplit(url).hostname or ""
        if not self._settings.allow_private and is_address(host) and not is_public(host):
            return "the address is not public (allow_private)"
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
                return "" if 200 <= answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # ValueError: a host that is no name to the resolver (UnicodeError)
            return type(error).__name__

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


def signature(secret: str, body: bytes, *, at: int) -> str:
    """`t=<unix seconds>,v1=<hex>`: HMAC-SHA256 with the secret over `<t>.<body>`."""
    signed = f"{at}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
