"""What an origin's validators have published, read from their storage and checked one by one.

A validator that cannot be reached is asked again in the background, so that it delays nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from relayer.errors import BadChainData, Transient
from relayer.message import Address, Timestamp
from relayer.protocols.hyperlane.announce import Announcements
from relayer.protocols.hyperlane.checkpoints import (
    SignedCheckpoint,
    parse_checkpoint,
    parse_index,
    signer,
)
from relayer.protocols.hyperlane.memory import Memory
from relayer.protocols.hyperlane.storage import Location, Storage

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 160.0
"""How long an unreachable validator is left alone: doubles from the first to the longest."""
MAX_CHECKPOINTS = 20_000
"""Checked checkpoints kept; about 0.5 KiB each."""
MAX_VALIDATORS = 4096


@dataclass(frozen=True, slots=True)
class Published:
    """A validator's latest signed index and where it is, or why there is none."""

    index: int | None
    location: Location | None
    trouble: str = ""


UNREACHABLE = Published(None, None, "unreachable")


@dataclass(frozen=True, slots=True)
class _Sick:
    until: float
    pause_s: float


class Validators:
    """All validators of one origin chain."""

    def __init__(
        self,
        domain: int,
        hook: bytes,
        *,
        announcements: Announcements,
        storage: Storage,
        now: Callable[[], Timestamp],
        poll_s: float,
    ) -> None:
        self._domain = domain
        self._hook = hook
        self._announcements = announcements
        self._storage = storage
        self._now = now
        self._latest: Memory[Address, Published] = Memory(
            now, lifetime_s=poll_s, most=MAX_VALIDATORS
        )
        self._checked: Memory[tuple[Address, int], SignedCheckpoint] = Memory(
            now, lifetime_s=float("inf"), most=MAX_CHECKPOINTS
        )
        self._sick: Memory[Address, _Sick] = Memory(
            now, lifetime_s=float("inf"), most=MAX_VALIDATORS
        )
        self._last_words: Memory[Address, Published] = Memory(
            now, lifetime_s=float("inf"), most=MAX_VALIDATORS
        )
        self._asking: dict[Address, asyncio.Task[Published]] = {}

    async def latest(self, validators: Sequence[Address]) -> dict[Address, Published]:
        """What each validator says is its latest index, at most `poll_s` old.

        Raises `Transient` when the origin's announcements cannot be read.
        """
        found = {validator: self._latest.get(validator) for validator in validators}
        missing = [validator for validator, said in found.items() if said is None]
        if missing:
            locations = await self._announcements.locations(missing)
            answers = await asyncio.gather(*(self._ask(v, locations[v]) for v in missing))
            found.update(zip(missing, answers, strict=True))
        return {validator: said for validator, said in found.items() if said is not None}

    async def checkpoint(self, validator: Address, said: Published, index: int) -> SignedCheckpoint:
        """This validator's own signature of the checkpoint at `index`.

        Raises `BadChainData` that says why there is none.
        """
        known = self._checked.get((validator, index))
        if known is not None:
            return known
        if said.location is None:
            raise BadChainData(said.trouble or "no file")
        try:
            raw = await self._storage.read(said.location, said.location.checkpoint_name(index))
        except Transient:
            self._fall_sick(validator)
            raise BadChainData(UNREACHABLE.trouble) from None
        if raw is None:
            raise BadChainData("no file")
        signed = self._check(validator, parse_checkpoint(raw), index)
        return self._checked.put((validator, index), signed)

    def forget(self, validators: Iterable[Address], index: int) -> None:
        """Read these checkpoints anew: they contradict the tree (it may have been reorganised)."""
        for validator in validators:
            self._checked.forget((validator, index))

    async def aclose(self) -> None:
        """Stop asking."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asking.clear()

    def _check(self, validator: Address, signed: SignedCheckpoint, index: int) -> SignedCheckpoint:
        checkpoint = signed.checkpoint
        if checkpoint.index != index:
            raise BadChainData("wrong index")
        if checkpoint.domain != self._domain or checkpoint.hook != self._hook:
            raise BadChainData("wrong domain or hook")
        if not any(checkpoint.root):
            raise BadChainData("wrong root")
        if signer(signed) != validator:
            raise BadChainData("bad signature: somebody else's")
        return signed

    async def _ask(self, validator: Address, locations: Sequence[Location]) -> Published:
        """Ask now, or in the background while the validator is known to be unreachable."""
        sick = self._sick.get(validator)
        task = self._asking.get(validator)
        if task is None:
            if sick is not None and self._now() < sick.until:
                return self._last_word(validator)
            task = asyncio.create_task(self._refresh(validator, locations))
            self._asking[validator] = task
        return await asyncio.shield(task) if sick is None else self._last_word(validator)

    def _last_word(self, validator: Address) -> Published:
        return self._last_words.get(validator) or UNREACHABLE

    async def _refresh(self, validator: Address, locations: Sequence[Location]) -> Published:
        try:
            said = await self._read_latest(locations)
        finally:
            del self._asking[validator]
        if said.trouble == UNREACHABLE.trouble:
            self._fall_sick(validator)
            return said
        self._sick.forget(validator)
        self._last_words.put(validator, said)
        return self._latest.put(validator, said)

    async def _read_latest(self, locations: Sequence[Location]) -> Published:
        """The newest location that has a latest index."""
        said = Published(None, None, "no readable storage location" if not locations else "no file")
        for location in locations:
            try:
                raw = await self._storage.read(location, location.latest_name)
                if raw is not None:
                    return Published(parse_index(raw), location)
            except Transient:
                said = UNREACHABLE
            except BadChainData as error:
                said = Published(None, location, str(error))
        return said

    def _fall_sick(self, validator: Address) -> None:
        sick = self._sick.get(validator)
        pause_s = FIRST_PAUSE_S if sick is None else min(2 * sick.pause_s, LONGEST_PAUSE_S)
        self._sick.put(validator, _Sick(self._now() + pause_s, pause_s))
        self._last_words.put(validator, UNREACHABLE)
        self._latest.forget(validator)
