"""CCIP-read (ERC-3668): asks a server that a contract names for the metadata it wants.

The contract, and so the URL, may be anybody's: no private addresses, no redirects, bounded size,
time and number of servers. What comes back is judged by the contract, not by us.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from relayer.errors import BadChainData, EndpointDown
from relayer.foreign_json import parse_json
from relayer.message import Address
from relayer.protocols.hyperlane.contracts import Lookup
from relayer.protocols.hyperlane.settings import CcipSettings
from relayer.public_hosts import guarded_session, is_address, is_public

MAX_URL_CHARS = 2048
"""Of a URL as the contract names it, before its parameters are filled in."""
MAX_FILLED_CHARS = 16 * 1024
CONCURRENCY = 16


class CcipReader:
    """Answers lookups under the operator's limits."""

    def __init__(self, settings: CcipSettings, *, resolver: AbstractResolver | None = None) -> None:
        self._settings = settings
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(CONCURRENCY)

    async def fetch(self, lookup: Lookup, ism: Address) -> bytes:
        """The first answer of the lookup's servers, in order.

        Raises `BadChainData` for a lookup that may not be followed, `EndpointDown` when no server
        has an answer (yet).
        """
        if not self._settings.enabled:
            raise BadChainData("CCIP-read is switched off (ccip.enabled)")
        if lookup.sender != ism:
            raise BadChainData(f"CCIP-read sender {lookup.sender} is not the ISM {ism}")
        urls = lookup.urls[: self._settings.max_urls]
        allowed = [url for url in urls if self._why_not(url) is None]
        if not allowed:
            why = self._why_not(urls[0]) if urls else "no URL"
            raise BadChainData(f"CCIP-read: {why}")
        trouble = ""
        for url in allowed:
            try:
                async with self._room:
                    return await self._ask(url, lookup)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                # ValueError: a host that is no name to the resolver (UnicodeError)
                trouble = type(error).__name__
            except EndpointDown as error:
                trouble = error.cause
        raise EndpointDown("ccip", f"no server has an answer ({trouble})")

    async def aclose(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _why_not(self, url: str) -> str | None:
        """Why a URL may not be asked, None when it may."""
        if len(url) > MAX_URL_CHARS:
            return "URL is too long"
        try:
            parts = urlsplit(url)
            host = parts.hostname
            _ = parts.port
        except ValueError:
            return "URL is malformed"
        schemes = ("https", "http") if self._settings.allow_http else ("https",)
        if parts.scheme not in schemes:
            return "URL is not https"
        if not host or "@" in parts.netloc or "{" in parts.netloc:
            return "URL has no plain host"
        if not self._settings.allow_private and is_address(host) and not is_public(host):
            return "URL names a private address"
        return None

    async def _ask(self, url: str, lookup: Lookup) -> bytes:
        call_data = "0x" + lookup.call_data.hex()
        filled = url.replace("{sender}", lookup.sender).replace("{data}", call_data)
        if len(filled) > MAX_FILLED_CHARS:
            raise EndpointDown("ccip", "URL with its data is too long")
        if "{data}" in url:
            request = self._open().get(filled, allow_redirects=False)
        else:
            body = {"sender": lookup.sender, "data": call_data}
            request = self._open().post(filled, json=body, allow_redirects=False)
        async with request as answer:
            if answer.status != 200:
                raise EndpointDown("ccip", f"status {answer.status}")
            content = bytearray()
            async for chunk in answer.content.iter_chunked(16 * 1024):
                content += chunk
                if len(content) > self._settings.max_bytes:
                    raise EndpointDown("ccip", "answer is too large")
        return _answered(bytes(content))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = guarded_session(
                timeout_s=self._settings.timeout_s,
                limit=CONCURRENCY,
                allow_private=self._settings.allow_private,
                resolver=self._resolver,
            )
        return self._session


def _answered(content: bytes) -> bytes:
    try:
        found = parse_json(content)
        text = found["data"]
        return bytes.fromhex(text.removeprefix("0x"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EndpointDown("ccip", "answer is not {data: hex}") from None
