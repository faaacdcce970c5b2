"""The one way to Redis: runs a Lua script in one chain's slot and maps what goes wrong."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import structlog
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from relayer.cancelling import stop_if_cancelled
from relayer.errors import (
    IllegalTransition,
    LeaseLost,
    RelayerError,
    ReorgTooDeep,
    SchemaMismatch,
    StaleEndpoint,
    StoreUnavailable,
    Transient,
    UnknownRecord,
    UnreadableRecord,
)
from relayer.message import TRANSITIONS, ChainId, Timestamp
from relayer.store.connect import Client
from relayer.store.keys import META, base

log = structlog.get_logger("relayer")

CONCURRENT_CALLS = 32
"""Calls in flight per process; a script never runs beside another on the same server anyway."""

MOST_TOLD = 1000
"""Pieces of garbage that are told of, each once."""

REFUSALS: Mapping[str, type[RelayerError]] = {
    "LEASELOST": LeaseLost,
    "ILLEGAL": IllegalTransition,
    "UNKNOWN": UnknownRecord,
    "TOODEEP": ReorgTooDeep,
    "UNREADABLE": SchemaMismatch,
    "GARBAGE": UnreadableRecord,
}
"""First word of an error our scripts raise -> what it is here. UNREADABLE: a key that the chain's
loop cannot do without; GARBAGE: one message's or one tree's key."""


class UndoPending(Transient):
    """A roll-back was cut short and must be finished first; never leaves the store."""


class FactsVanished(Transient):
    """Facts a dead owner stored were not seen again; never leaves the store."""


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua program and its name on the server."""

    text: str
    sha: str


@functools.cache
def load_script(name: str) -> Script:
    """Read `lua/<name>.lua`, put the shared words before it and the error mapping behind it."""
    folder = resources.files("relayer.store") / "lua"
    words, message_words, body, closing = (
        (folder / f"{part}.lua").read_text("utf-8")
        for part in ("words", "message_words", name, "closing")
    )
    shared = f"{_transitions()}\n{words}\n{message_words}"
    text = f"{shared}\nlocal function main()\n{body}\nend\n{closing}"
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _transitions() -> str:
    """`message.TRANSITIONS` as a Lua table, so that both sides know the same legal moves."""
    rows = (
        f"  {start} = {{{', '.join(f'{end} = true' for end in sorted(ends))}}},"
        for start, ends in TRANSITIONS.items()
    )
    return "local TRANSITIONS = {\n" + "\n".join(rows) + "\n}"


def mapped(error: Exception) -> RelayerError:
    """A client error in our words: ours by its first word, anything else is unavailability."""
    text = str(error)
    if isinstance(error, ResponseError):
        ours = re.match(r"(?:ERR )?([A-Z]+) (.*)", text, re.DOTALL)
        if ours is not None:
            word, rest = ours[1], ours[2]
            if word == "UNDO":
                return UndoPending(rest)
            if word == "VANISHED":
                return FactsVanished(rest)
            if word in REFUSALS:
                return REFUSALS[word](rest)
            if word == "READONLY":
                return StoreUnavailable("Redis is a replica; decisions need the primary")
    return StoreUnavailable(f"Redis: {type(error).__name__}: {text[:300]}")


class Wire:
    """Base of the store's parts: one client, one prefix, one clock."""

    def __init__(
        self,
        client: Client,
        *,
        prefix: str,
        clock: Callable[[], float],
        retention_s: float,
        lease_s: float,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._clock = clock
        self._retention_s = retention_s
        self._lease_s = lease_s
        self._gate = asyncio.Semaphore(CONCURRENT_CALLS)
        self._turns: dict[ChainId, asyncio.Lock] = {}
        self._undone: dict[ChainId, int] = {}
        self._configured: frozenset[ChainId] = frozenset()
        self._known_chains: set[ChainId] = set()
        self._told: set[str] = set()
        self.round_trips = 0
        """Calls made so far, for budgets and metrics."""

    @property
    def retention_s(self) -> float:
        """How long a delivered message is kept."""
        return self._retention_s

    def now(self) -> Timestamp:
        """The injected clock's time."""
        return Timestamp(self._clock())

    async def run(
        self,
        name: str,
        chain: ChainId | str,
        args: Mapping[str, object] | None = None,
        *,
        blobs: Sequence[bytes] = (),
    ) -> Any:
        """Run `lua/<name>.lua` in the chain's slot with JSON `args` and raw `blobs`."""
        script = load_script(name)
        whole = {
            "now": f"{self._clock():.3f}",
            "chain": str(chain),
            "retention_ms": round(self._retention_s * 1000),
            **(args or {}),
        }
        operands = (1, base(self._prefix, chain), _json(whole), *blobs)
        try:
            return await self.command("EVALSHA", script.sha, *operands)
        except _ScriptMissing:
            return await self.command("EVAL", script.text, *operands)

    def undone(self, chain: ChainId) -> int:
        """How often facts of a chain have been undone here: what was read before is not saved."""
        return self._undone.get(chain, 0)

    def require_still(self, chain: ChainId, as_of: int) -> None:
        """`StaleEndpoint` when facts of the chain were undone since `undone()` was `as_of`."""
        if self.undone(chain) != as_of:
            raise StaleEndpoint("blocks were replaced while they were read; they are read again")

    def turn(self, chain: ChainId) -> asyncio.Lock:
        """Held while facts of a chain are saved or undone: the two never interleave.

        One process holds the follower's lease, so a lock in this process is enough.
        """
        return self._turns.setdefault(chain, asyncio.Lock())

    async def command(self, *words: Any) -> Any:
        """Run one Redis command; `StoreUnavailable` when it cannot be run."""
        async with self._gate:
            self.round_trips += 1
            try:
                answer = await self._client.execute_command(*words)
            except NoScriptError:
                raise _ScriptMissing from None
            except (RedisError, RedisClusterException, OSError) as error:
                raise mapped(error) from error
        # redis-py drops a cancellation that arrives with its answer (`wait_for` of Python 3.11)
        stop_if_cancelled()
        return answer

    async def chains(self) -> list[ChainId]:
        """Every chain that is configured or has keys in this store, in order."""
        key = base(self._prefix, META) + "chains"
        stored: set[ChainId] = set()
        for member in await self.command("SMEMBERS", key):
            if re.fullmatch(rb"\d{1,20}", member):
                stored.add(ChainId(int(member)))
            else:
                self.tell_garbage(key, member, "remove it with SREM; the other chains go on")
        self._known_chains |= stored
        return sorted(stored | self._configured)

    def tell_garbage(self, key: str, found: object, way_out: str) -> None:
        """Log once what a key holds that is not ours, and what to do; it is passed over."""
        text = found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
        name = f"{key} {text[:100]}"
        if name in self._told or len(self._told) >= MOST_TOLD:
            return
        self._told.add(name)
        log.error("stored_garbage", key=key, holds=text[:100], way_out=way_out)

    async def _register(self, chains: set[ChainId]) -> None:
        """Remember chains before their first key is written, so that readers find them."""
        fresh = chains - self._known_chains
        if not fresh:
            return
        await self.command(
            "SADD", base(self._prefix, META) + "chains", *(str(chain) for chain in sorted(fresh))
        )
        self._known_chains.update(fresh)


class _ScriptMissing(Exception):
    """The server does not have the script yet (a new or flushed node)."""


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


async def each(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """Run calls to different slots side by side; the first failure is raised after all ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return list(answers)


def pairs_of(answer: Mapping[bytes, bytes] | Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """`HGETALL`'s answer; clients give a mapping or a flat list."""
    if isinstance(answer, Mapping):
        return list(answer.items())
    return list(zip(answer[::2], answer[1::2], strict=True))
