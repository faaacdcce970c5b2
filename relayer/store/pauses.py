"""What operators have paused: kept until it is resumed, and true for every replica."""

from __future__ import annotations

import json

from relayer.acts import Pause, Target
from relayer.errors import IllegalTransition, SchemaMismatch
from relayer.message import Timestamp
from relayer.store.keys import META, base
from relayer.store.wire import Wire

MOST_PAUSES = 1000


class Pauses(Wire):
    """Each of these is one command, so two operators cannot get between each other."""

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
        """Everything that is paused; `SchemaMismatch` names a key that holds something else."""
        key = self._pauses_key
        flat = await self.command("HGETALL", key)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        found = [_pause(key, name, text) for name, text in pairs]
        return sorted(found, key=lambda pause: pause.target)

    @property
    def _pauses_key(self) -> str:
        return base(self._prefix, META) + "pauses"


def _text(pause: Pause) -> str:
    return json.dumps([pause.who, pause.why, pause.since])


def _pause(key: str, name: bytes, text: bytes) -> Pause:
    try:
        who, why, since = json.loads(text)
        return Pause(Target.parse(name.decode()), str(who), str(why), Timestamp(float(since)))
    except (ValueError, TypeError, RecursionError):
        raise SchemaMismatch(f"the key {key} does not hold what is paused") from None
