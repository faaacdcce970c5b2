"""What operators have paused: kept until it is resumed, and true for every replica."""

from __future__ import annotations

import json
import re

import structlog

from relayer.acts import Pause, PauseKind, Target
from relayer.errors import IllegalTransition, SchemaMismatch
from relayer.foreign_json import parse_json
from relayer.message import Timestamp
from relayer.store.keys import META, base
from relayer.store.wire import Wire

MOST_PAUSES = 1000

_KINDS = frozenset(kind.value for kind in PauseKind)
_WORD = re.compile(r"[a-z][a-z_]{0,31}")


class Pauses(Wire):
    """Each of these is one command, so two operators cannot get between each other."""

    _told_unknown: frozenset[str] = frozenset()

    async def pause(self, pause: Pause) -> Pause:
        """Pause, and return what holds now: an earlier pause of the same thing stays as it is.

        `IllegalTransition` when 1000 things are paused already.
        """
        key = self._pauses_key
        if int(await self.command("HLEN", key)) >= MOST_PAUSES:
            raise IllegalTransition(f"{MOST_PAUSES} things are paused already; resume some")
        name, text = str(pause.target), _text(pause)
        if await self.command("HSETNX", key, name, text):
            return pause
        found = await self.command("HGET", key, name)
        return pause if found is None else _pause(key, name.encode(), found)

    async def resume(self, target: Target) -> bool:
        """Let it go on; False when it was not paused."""
        return bool(await self.command("HDEL", self._pauses_key, str(target)))

    async def pauses(self) -> list[Pause]:
        """Everything that is paused; `SchemaMismatch` names a key that holds something else.

        A kind that a newer release pauses is left out: this one has nothing that it could stop.
        """
        key = self._pauses_key
        flat = await self.command("HGETALL", key)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        stored = dict(pairs)
        unknown = {name for name in stored if not _is_known(name)}
        self._tell_of(key, frozenset(_kind(name) for name in unknown))
        found = [_pause(key, name, text) for name, text in stored.items() if name not in unknown]
        return sorted(found, key=lambda pause: pause.target)

    def _tell_of(self, key: str, unknown: frozenset[str]) -> None:
        """Once, not each second: this is read all the time."""
        if unknown - self._told_unknown:
            self._told_unknown |= unknown
            kinds = sorted(unknown)[:10]
            structlog.get_logger("relayer").warning("pauses_unknown", key=key, kinds=kinds)

    @property
    def _pauses_key(self) -> str:
        return base(self._prefix, META) + "pauses"


def _is_known(name: bytes) -> bool:
    """Whether it is of a kind of ours, or no kind at all."""
    kind = _kind(name)
    return kind in _KINDS or not _WORD.fullmatch(kind)


def _kind(name: bytes) -> str:
    return name.partition(b" ")[0].decode("utf-8", "replace")


def _text(pause: Pause) -> str:
    return json.dumps([pause.who, pause.why, pause.since])


def _pause(key: str, name: bytes, text: bytes) -> Pause:
    try:
        who, why, since = parse_json(text)
        return Pause(Target.parse(name.decode()), str(who), str(why), Timestamp(float(since)))
    except (ValueError, TypeError):
        raise SchemaMismatch(f"the key {key} does not hold what is paused") from None
