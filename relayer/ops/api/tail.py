"""Follows the events of all chains once for the whole process and hands them to every listener.

A listener that does not keep up is sent away and may come back with the id of its last event; what
it was not told it is told then, for as long as the store keeps events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable

from relayer.message import ChainId, Event
from relayer.ops.api.limits import Limiter
from relayer.ops.api.metering import ApiMetrics
from relayer.ops.api.places import Places, place_text
from relayer.ops.api.ports import EventReader
from relayer.ops.api.turns import Turns
from relayer.ops.views import event_view
from relayer.ops.web import Refused

POLL_S = 0.25
"""How long an event waits at most until it is read."""
PAGE = 500
REPLAYED_AT_ONCE = 250
"""Events in one page of a replay: reading them holds everything else up for some 5 ms."""
EVENTS_PER_TOKEN = 100
"""Events of a replay that cost as much as a request."""
QUEUE = 1000
"""Frames that may wait for one listener."""

Wanted = Callable[[Event], bool]


def always() -> bool:
    """Of a listener that never leaves by itself."""
    return True


class Listener:
    """One client: what it wants, and the frames that wait for it."""

    def __init__(self, client: str, wanted: Wanted, is_here: Callable[[], bool] = always) -> None:
        self.client = client
        self.wanted = wanted
        self.is_here = is_here
        """Whether it still listens: who says nothing and is told nothing is not missed else."""
        self.joined: Places | None = None
        """Where the tail was when it came, None until that is known: what is behind is queued."""
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
        self.is_over = False

    def offer(self, frame: bytes) -> bool:
        """Queue a frame; False when there is no room, and then the listener is over."""
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self.end()
            return False
        return True

    def end(self) -> None:
        """Nothing more will come; what waits is not told."""
        self.is_over = True
        while not self._frames.empty():
            self._frames.get_nowait()
        self._frames.put_nowait(None)

    async def next(self, within_s: float) -> bytes | None:
        """The next frame, empty when none came in time, None at the end."""
        try:
            async with asyncio.timeout(within_s):
                return await self._frames.get()
        except TimeoutError:
            return b""

    @property
    def is_told_all(self) -> bool:
        """Whether no frame waits."""
        return self._frames.empty()


class Tail:
    """The one reader, an agent whose `tick()` is called for ever; handlers `join()` it."""

    def __init__(
        self,
        store: EventReader,
        metrics: ApiMetrics,
        limiter: Limiter,
        turns: Turns,
        *,
        most: int,
        most_per_client: int,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._limiter = limiter
        self._turns = turns
        self._most = most
        self._most_per_client = most_per_client
        self._places: dict[ChainId, int] | None = None
        """None while nobody listens."""
        self._reading = asyncio.Lock()
        self._listeners: set[Listener] = set()
        self._is_closed = False

    @property
    def name(self) -> str:
        return "event_tail"

    async def tick(self) -> bool:
        """Read what is new on every chain and hand it on; True when there is more.

        While nobody listens nothing is read. Whoever has left is let go.
        """
        for listener in self._listeners:
            if not (listener.is_over or listener.is_here()):
                listener.end()
        async with self._reading:
            if self._places is None:
                return False
            busy = False
            for chain in await self._store.chains():
                busy |= await self._read(chain, self._places)
            return busy

    async def _read(self, chain: ChainId, places: dict[ChainId, int]) -> bool:
        page = await self._store.events(chain, places.get(chain, 0), limit=PAGE)
        if page.missed:
            places[chain] = page.start
            frame = reset_frame(places, page.missed)
            for listener in list(self._listeners):
                self._offer(listener, frame)
        for event in page.events:
            places[chain] = event.number
            wanting = [one for one in self._listeners if one.wanted(event)]
            frame = event_frame(event, places) if wanting else b""
            for listener in wanting:
                self._offer(listener, frame)
        places[chain] = page.upto
        return page.upto != page.newest

    def _offer(self, listener: Listener, frame: bytes) -> None:
        is_here = listener.joined is not None and not listener.is_over
        if is_here and not listener.offer(frame):
            self._metrics.dropped("too_slow")

    @contextlib.asynccontextmanager
    async def join(
        self, client: str, wanted: Wanted, is_here: Callable[[], bool] = always
    ) -> AsyncIterator[Listener]:
        """Listen from now on; `Refused` (503) when there are too many already."""
        counts = Counter(one.client for one in self._listeners)
        is_full = len(self._listeners) >= self._most or counts[client] >= self._most_per_client
        if is_full or self._is_closed:
            self._metrics.dropped("too_many")
            raise Refused(503, "too many listen already; try again later", retry_after_s=5)
        listener = Listener(client, wanted, is_here)
        self._listeners.add(listener)
        self._metrics.subscribers(len(self._listeners))
        try:
            await self._place(listener)
            yield listener
        finally:
            self._listeners.discard(listener)
            self._metrics.subscribers(len(self._listeners))
            if not self._listeners:
                self._places = None

    async def _place(self, listener: Listener) -> None:
        """Note where it joins, between two readings: what came before is never queued for it."""
        async with self._reading:
            if self._places is None:
                found: dict[ChainId, int] = {}
                for chain in await self._store.chains():
                    found[chain] = (await self._store.events(chain, None, limit=1)).newest
                self._places = found
            listener.joined = dict(self._places)

    @property
    def place(self) -> str:
        """The id of the newest event handed on."""
        return place_text(self._places or {})

    def knows(self, places: Places | None) -> bool:
        """Whether places can be ours: those of nothing but other chains are somebody else's."""
        here = self._places or {}
        return places is not None and (not places or any(chain in here for chain in places))

    async def missed(self, listener: Listener, places: dict[ChainId, int]) -> AsyncIterator[bytes]:
        """Frames of what happened between `places` and where the listener joined, by the page.

        A chain that is not in `places` had no event then. `places` moves along. It ends early when
        the listener does; each page is paid for, and takes its turn among all that is heavy.
        """
        joined = listener.joined or {}
        for chain in [chain for chain in places if chain not in joined]:
            del places[chain]
        for chain, upto in joined.items():
            while places.get(chain, 0) != upto:
                await self._may_read(listener)
                async with self._turns.turn(listener.client):
                    if listener.is_over or not listener.is_here():
                        listener.end()
                        return
                    frames = await self._replayed(listener, chain, places, upto)
                # Without any it is told how far we are: it need not begin anew when it is cut off.
                yield b"".join(frames) or heartbeat_frame(place_text(places))

    async def _may_read(self, listener: Listener) -> None:
        while not listener.is_over:
            wait_s = self._limiter.spare_in_s(listener.client)
            if not wait_s:
                return
            await asyncio.sleep(min(wait_s, POLL_S))

    async def _replayed(
        self, listener: Listener, chain: ChainId, places: dict[ChainId, int], upto: int
    ) -> list[bytes]:
        page = await self._store.events(chain, places.get(chain, 0), limit=REPLAYED_AT_ONCE)
        self._limiter.owe(listener.client, len(page.events) / EVENTS_PER_TOKEN)
        frames = []
        if page.missed:
            places[chain] = min(page.start, upto)
            frames.append(reset_frame(places, page.missed))
        for event in page.events:
            places[chain] = event.number
            if event.number <= upto and listener.wanted(event):
                frames.append(event_frame(event, places))
        # A store that lost its events meanwhile has no more than this, and never will.
        is_all = page.upto == page.newest
        places[chain] = upto if is_all else min(page.upto, upto)
        return frames

    def close(self) -> None:
        """Send everybody away, and let nobody in."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()


def event_frame(event: Event, places: Places) -> bytes:
    """A server-sent event (html.spec.whatwg.org, 9.2); JSON in ASCII holds no line break."""
    return f"id: {place_text(places)}\ndata: {json.dumps(event_view(event))}\n\n".encode()


def reset_frame(places: Places, missed: int) -> bytes:
    """Tells that events were lost to this listener: what it knows of messages may be old."""
    told = json.dumps({"missed": missed if missed > 0 else None})
    return f"id: {place_text(places)}\nevent: reset\ndata: {told}\n\n".encode()


def heartbeat_frame(place: str) -> bytes:
    """Moves the client's last id on without an event, and shows that the line is alive."""
    return f": alive\nid: {place}\n\n".encode()
