"""The audit log: what operators did, and apart from it what strangers tried.

Two streams, each bounded, so that nobody can push the acts of operators out by being refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relayer.acts import LONGEST_TEXT, Act
from relayer.errors import UnknownRecord
from relayer.message import Timestamp
from relayer.store.keys import META, base
from relayer.store.wire import Wire

ACTS_KEPT = 10_000
STRANGERS_KEPT = 1_000
MAX_ACTS = 500
"""Lines of one page."""

_FIELDS = ("at", "who", "remote", "what", "arguments", "outcome", "detail")


@dataclass(frozen=True, slots=True)
class ActPage:
    """Newest first; `after` goes on behind the last one, None at the end."""

    acts: tuple[Act, ...]
    after: str | None


class Audit(Wire):
    """Lines are added and never changed; the oldest go when there are too many."""

    async def note_act(self, act: Act) -> None:
        """Add one line, its texts cut to a bound."""
        await self._add("audit", ACTS_KEPT, act)

    async def note_stranger(self, act: Act) -> None:
        """Add one line about a request that had no valid token."""
        await self._add("strangers", STRANGERS_KEPT, act)

    async def acts(
        self, *, limit: int = 100, after: str | None = None, strangers: bool = False
    ) -> ActPage:
        """A page of the log; `UnknownRecord` when `after` is not the mark of one."""
        if after is not None and not re.fullmatch(r"\d{1,20}-\d{1,20}", after):
            raise UnknownRecord(f"after: {after[:80]!r} is not the mark of a page")
        size = max(1, min(limit, MAX_ACTS))
        top = "+" if after is None else f"({after}"
        key = self._stream("strangers" if strangers else "audit")
        rows = await self.command("XREVRANGE", key, top, "-", "COUNT", size)
        acts = tuple(_act(fields) for _, fields in rows)
        return ActPage(acts, rows[-1][0].decode() if len(rows) == size else None)

    async def _add(self, stream: str, most: int, act: Act) -> None:
        values = (
            f"{act.at:.3f}",
            act.who,
            act.remote,
            act.what,
            act.arguments[:LONGEST_TEXT],
            act.outcome,
            act.detail[:LONGEST_TEXT],
        )
        pairs = (part for pair in zip(_FIELDS, values, strict=True) for part in pair)
        await self.command("XADD", self._stream(stream), "MAXLEN", "~", most, "*", *pairs)

    def _stream(self, name: str) -> str:
        return base(self._prefix, META) + name


def _act(fields: Mapping[bytes, bytes] | Sequence[bytes]) -> Act:
    """A line; what another version did not write is empty."""
    pairs = (
        fields.items()
        if isinstance(fields, Mapping)
        else zip(fields[::2], fields[1::2], strict=True)
    )
    told = {name.decode(): value.decode("utf-8", "replace") for name, value in pairs}
    at, *texts = (told.get(name, "") for name in _FIELDS)
    return Act(Timestamp(float(at or 0)), *texts)
