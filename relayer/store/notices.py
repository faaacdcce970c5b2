"""What webhooks are still to be told: queued with the place read to, settled under a lease.

A notice is one event for one webhook. It lives in the slot of the event's chain until it is told or
given up; the newest given-up ones are kept as dead letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from relayer.errors import UnreadableRecord
from relayer.foreign_json import parse_json
from relayer.message import ChainId, Timestamp
from relayer.store import codec
from relayer.store.keys import base
from relayer.store.leases import lease_text
from relayer.store.shapes import Lease
from relayer.store.wire import Wire, each

DEAD_KEPT = 1000
"""Dead letters of one webhook and chain; older ones make room and are counted as lost."""
DUE_PAGE = 100


@dataclass(frozen=True, slots=True)
class Notice:
    """One event to be told to one webhook."""

    number: int
    """Of the event, on its chain."""
    body: str
    """What is sent, the same at every attempt."""
    attempts: int = 0
    trouble: str = ""
    """Why the last attempt failed."""
    since: float = 0.0
    """When it was queued."""


@dataclass(frozen=True, slots=True)
class WebhookState:
    """How far a webhook is, over all chains."""

    pending: int
    dead: int
    lost: int
    """Events that were trimmed before they could be told."""


class Notices(Wire):
    """Writes need the chain's `webhooks` lease."""

    async def notice_place(self, chain: ChainId, webhook: str) -> int | None:
        """Number of the last event looked at; None before the first look."""
        key = f"{base(self._prefix, chain)}webhook:{webhook}"
        found = await self.command("HGET", key, "at")
        return None if found is None else int(found)

    async def notices_pending(self, chain: ChainId, webhook: str) -> int:
        """How many of the webhook's notices are queued."""
        key = f"{base(self._prefix, chain)}notices_due:{webhook}"
        return int(await self.command("ZCARD", key))

    async def queue_notices(
        self,
        lease: Lease,
        webhook: str,
        notices: Sequence[Notice],
        *,
        after: int | None,
        upto: int,
        lost: int = 0,
    ) -> bool:
        """Queue notices and move the place from `after` to `upto`; False when it had moved."""
        args = self._for(
            lease,
            webhook,
            after="" if after is None else str(after),
            upto=str(upto),
            items=[[str(notice.number), _text(notice)] for notice in notices],
            lost=lost,
        )
        return bool(await self.run("queue_notices", lease.chain, args))

    async def due_notices(
        self, chain: ChainId, webhook: str, *, limit: int = DUE_PAGE
    ) -> list[Notice]:
        """Notices to be told now."""
        args = {"webhook": webhook, "limit": limit}
        rows = await self.run("due_notices", chain, args)
        return [_notice(text) for _, text in rows]

    async def settle_notices(
        self,
        lease: Lease,
        webhook: str,
        *,
        told: Iterable[int] = (),
        again: Sequence[tuple[Notice, Timestamp]] = (),
        dead: Sequence[Notice] = (),
    ) -> None:
        """Write down which were told, which are told again and when, and which are given up."""
        args = self._for(
            lease,
            webhook,
            told=[str(number) for number in told],
            again=[
                [str(notice.number), _text(notice), codec.time_text(at)] for notice, at in again
            ],
            dead=[[str(notice.number), _text(notice)] for notice in dead],
            kept=DEAD_KEPT,
        )
        await self.run("settle_notices", lease.chain, args)

    async def webhook_state(self, webhook: str) -> WebhookState:
        """What is queued, given up and lost."""
        chains = await self.chains()
        sums = [0, 0, 0]
        for answer in await each([self._state(chain, webhook) for chain in chains]):
            sums = [one + other for one, other in zip(sums, answer, strict=True)]
        return WebhookState(*sums)

    async def _state(self, chain: ChainId, webhook: str) -> list[int]:
        place = base(self._prefix, chain)
        return [
            int(await self.command("ZCARD", f"{place}notices_due:{webhook}")),
            int(await self.command("LLEN", f"{place}notices_dead:{webhook}")),
            int(await self.command("HGET", f"{place}webhook:{webhook}", "lost") or 0),
        ]

    async def dead_notices(self, webhook: str, *, limit: int = DUE_PAGE) -> list[Notice]:
        """Given-up notices, newest first within each chain."""
        found: list[Notice] = []
        for chain in await self.chains():
            key = f"{base(self._prefix, chain)}notices_dead:{webhook}"
            texts = await self.command("LRANGE", key, 0, limit - 1)
            found += [_notice(text) for text in texts]
        return found[:limit]

    async def revive_notices(self, webhook: str) -> int:
        """Tell a webhook's dead letters again, from the oldest on; how many."""
        chains = await self.chains()
        args = {"webhook": webhook, "limit": DEAD_KEPT}
        return sum(await each([self.run("revive_notices", chain, args) for chain in chains]))

    def _for(self, lease: Lease, webhook: str, **args: object) -> Mapping[str, object]:
        return {
            "lease": lease_text(lease),
            "role": lease.role.value,
            "webhook": webhook,
            **args,
        }


def _text(notice: Notice) -> str:
    # As text, because cjson would write a large number as 1.7e+12.
    return codec.dumps({**asdict(notice), "number": str(notice.number)})


def _notice(text: bytes) -> Notice:
    try:
        parts = parse_json(text)
        return Notice(
            number=int(parts["number"]),
            body=str(parts["body"]),
            attempts=int(parts["attempts"]),
            trouble=str(parts["trouble"]),
            since=float(parts["since"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableRecord(f"a webhook's notice cannot be read ({error})") from error
