"""What a person may do to messages; legality is checked where the state is, in Lua."""

from __future__ import annotations

from dataclasses import dataclass

from relayer.acts import STARTS, Selection, Verb
from relayer.errors import IllegalTransition, UnknownRecord
from relayer.message import ChainId, MessageId, Record, Status
from relayer.store import codec
from relayer.store.keys import base
from relayer.store.reading import Reading
from relayer.store.wire import each

OPERATE_PAGE = 500
"""Messages that one call looks at: a second or less of work."""
REFUSED_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Operated:
    """What one page of a selection came to."""

    looked: int
    """Messages looked at."""
    matched: int
    """Of these, those that were selected."""
    changed: int
    """Of these, those that made the transition."""
    refused: tuple[tuple[MessageId, str], ...]
    """The first of the others, and why not: they moved on meanwhile."""
    after: str | None
    """Go on behind this mark; None at the end."""


class Operator(Reading):
    """Each method returns the message as it is afterwards.

    `IllegalTransition` names the present state when the move is not allowed from it;
    `UnknownRecord` when no chain's lane holds the message.
    """

    async def hold(self, message_id: MessageId) -> Record:
        """Stop working on it until it is released (waiting or ready only)."""
        return await self.operate(Verb.HOLD, message_id)

    async def release_message(self, message_id: MessageId) -> Record:
        """Let a held message go on, due now."""
        return await self.operate(Verb.RELEASE, message_id)

    async def retry(self, message_id: MessageId) -> Record:
        """Due now with a fresh count of attempts (dead, waiting or ready)."""
        return await self.operate(Verb.RETRY, message_id)

    async def drop(self, message_id: MessageId) -> Record:
        """Give it up for good, unless it is retried or somebody delivers it."""
        return await self.operate(Verb.DROP, message_id)

    async def operate(self, verb: Verb, message_id: MessageId) -> Record:
        """The transition that the verb stands for."""
        chain = await self.chain_of(message_id)
        if chain is None:
            raise UnknownRecord(f"no message {message_id} is stored")
        return await self._operate(verb, message_id, chain)

    async def operate_all(
        self,
        verb: Verb,
        selection: Selection,
        *,
        dry_run: bool = False,
        after: str | None = None,
        limit: int = OPERATE_PAGE,
    ) -> Operated:
        """Apply the verb to one page of the selected messages, newest first.

        Only messages that the verb may be applied to are looked at. `after` is the mark of the page
        before; `UnknownRecord` when it is malformed. `IllegalTransition` when nothing is selected,
        or a status that the verb cannot be applied to.
        """
        page = await self.list(
            status=_starts(verb, selection),
            route=selection.route,
            reason=selection.reason,
            limit=limit,
            after=after,
        )
        chosen = [record for record in page.records if selection.admits(record)]
        moves = [] if dry_run else [self._attempt(verb, record) for record in chosen]
        refused = [refusal for refusal in await each(moves) if refusal is not None]
        return Operated(
            looked=len(page.records),
            matched=len(chosen),
            changed=len(moves) - len(refused),
            refused=tuple(refused[:REFUSED_SHOWN]),
            after=page.after,
        )

    async def _attempt(self, verb: Verb, record: Record) -> tuple[MessageId, str] | None:
        """Why the transition was refused, None when it was made."""
        try:
            await self._operate(verb, record.id, record.route.destination)
        except (IllegalTransition, UnknownRecord) as error:
            return record.id, str(error)
        return None

    async def _operate(self, verb: Verb, message_id: MessageId, chain: ChainId) -> Record:
        starts = sorted(status.value for status in STARTS[verb])
        args = {"id": message_id, "step": verb.value, "starts": starts}
        flat = await self.run("operate", chain, args)
        key = f"{base(self._prefix, chain)}message:{message_id}"
        return codec.record_from(message_id, flat, key=key)

    async def chain_of(self, message_id: MessageId) -> ChainId | None:
        """The destination whose lane holds the message."""
        chains = await self.chains()
        known = await each(
            [
                self.command(
                    "HEXISTS", f"{base(self._prefix, chain)}message:{message_id}", "message"
                )
                for chain in chains
            ]
        )
        return next((chain for chain, here in zip(chains, known, strict=True) if here), None)


def _starts(verb: Verb, selection: Selection) -> frozenset[Status]:
    if selection.is_empty:
        raise IllegalTransition(f"{verb}: give at least one filter, or all messages would be meant")
    if selection.status is None:
        return STARTS[verb]
    if selection.status not in STARTS[verb]:
        known = ", ".join(sorted(STARTS[verb]))
        raise IllegalTransition(f"can not {verb} what is {selection.status}; possible: {known}")
    return frozenset({selection.status})
