"""One bounded JSON request to the keeper of a key; its answer is hostile until checked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from relayer.chains.client import open_session
from relayer.chains.redaction import Redactor
from relayer.errors import SignerUnavailable
from relayer.foreign_json import parse_json

READ_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """The status and the JSON object of an answer, empty when it was no JSON object."""

    status: int
    body: Mapping[str, Any]


class KeeperClient:
    """Asks the keeper of a key at one base URL, which is never shown."""

    def __init__(self, name: str, url: str, *, timeout_s: float) -> None:
        self.name = name
        self.redactor = Redactor([url])
        self._url = url
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        path: str = "",
        *,
        most_bytes: int,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; `SignerUnavailable` without an answer of at most `most_bytes` in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                status, text = await self._fetch(
                    method, path, most_bytes=most_bytes, body=body, headers=headers
                )
        except TimeoutError:
            raise self.trouble(f"no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self.trouble(type(error).__name__) from None
        if len(text) > most_bytes:
            raise self.trouble(f"answered more than {most_bytes} bytes")
        return Reply(status, _object_in(text))

    def trouble(self, cause: str, *, lasting: bool = False) -> SignerUnavailable:
        """The error that says so, without what is secret in the URL."""
        return SignerUnavailable(self.name, self.redactor.clean(cause), lasting=lasting)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _fetch(
        self,
        method: str,
        path: str,
        *,
        most_bytes: int,
        body: object,
        headers: Mapping[str, str] | None,
    ) -> tuple[int, bytes]:
        """Status and body, cut soon after `most_bytes`; no redirect is followed."""
        if self._session is None:
            self._session = open_session()
        text = b""
        async with self._session.request(
            method, self._url + path, json=body, headers=headers, allow_redirects=False
        ) as answer:
            async for part in answer.content.iter_chunked(READ_BYTES):
                text += part
                if len(text) > most_bytes:
                    answer.close()
                    break
            return answer.status, text


def _object_in(text: bytes) -> Mapping[str, Any]:
    try:
        found = parse_json(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
