"""Asks a chain's interop filter beforehand whether it will let an access list through.

Source: `supervisor_checkAccessList` of op-supervisor and op-interop-filter; the latter serves only
the levels `unsafe` and `cross-unsafe`, which is what nodes' own transaction pools ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import aiohttp

from relayer.errors import EndpointDown
from relayer.foreign_json import parse_json

LEVEL = "cross-unsafe"
TIMEOUT_S = 10.0
VALID_FOR_S = 86_400
"""How long the transaction may wait in a pool: nodes drop it after that."""
MAX_ANSWER_BYTES = 64 * 1024
AT_ONCE = 8
MAX_WORDS = 300
NAME = "supervisor"

Keys = Sequence[bytes]


class Supervisor:
    """One chain's filter; `aclose` ends its connections."""

    def __init__(self, url: str, chain_id: int) -> None:
        self._url = url
        self._chain_id = chain_id
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(AT_ONCE)

    async def refusals(self, lists: Sequence[Keys], timestamp: int) -> list[str | None]:
        """What it has against each message's keys, None for nothing; one question if all is well.

        `EndpointDown` when it does not answer.
        """
        if not lists:
            return []
        together = await self._ask([key for keys in lists for key in keys], timestamp)
        if together is None or len(lists) == 1 or is_paused(together):
            return [together] * len(lists)
        middle = len(lists) // 2
        halves = lists[:middle], lists[middle:]
        found = await asyncio.gather(*(self.refusals(half, timestamp) for half in halves))
        return found[0] + found[1]

    async def aclose(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, keys: Keys, timestamp: int) -> str | None:
        executing = {
            "chainID": str(self._chain_id),
            "timestamp": hex(timestamp),
            "timeout": hex(VALID_FOR_S),
        }
        params = [["0x" + key.hex() for key in keys], LEVEL, executing]
        method = "supervisor_checkAccessList"
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            async with self._room, self._post(body) as answer:
                content = bytearray()
                async for chunk in answer.content.iter_chunked(16 * 1024):
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise ValueError("the answer is too large")
                return _refusal(parse_json(bytes(content)))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, TypeError) as error:
            # the text of an error may hold the URL, and with it a key
            raise EndpointDown(NAME, type(error).__name__) from None

    def _post(self, body: object) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session.post(self._url, json=body, allow_redirects=False)


def is_paused(text: str) -> bool:
    """Whether a refusal means that nothing at all is let through for now."""
    return "failsafe" in text.lower()


def _refusal(answer: object) -> str | None:
    if not isinstance(answer, dict) or answer.get("id") != 1:
        raise ValueError("not an answer to our question")
    error = answer.get("error")
    if error is None and "result" in answer and answer["result"] is None:
        return None
    if not isinstance(error, dict):
        raise ValueError("neither a result nor an error")
    words = str(error.get("message", ""))[:MAX_WORDS]
    return "".join(char if char.isprintable() else "?" for char in words) or "refused"
