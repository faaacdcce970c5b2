"""Asks the inbox itself about messages that only a log made `delivered`: one lying answer must not
make us forget a message for ever.

Our own deliveries that a receipt showed before need no second look. It comes a while later, and
only what could be delivered right now is taken up again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from relayer.adapter import Call, Done, Step
from relayer.chains import ChainClient
from relayer.message import MessageId, Record, Timestamp
from relayer.ops.metrics import Metrics
from relayer.store import Lease, Store

AFTER_S = 600.0
"""Between a delivery and the second look, and between two looks: long enough for a node to lag, or
for one that lied to be asked no more."""
AT_ONCE = 200


class SecondLook:
    """An agent of one lane; cheap, for adapters answer whole batches with one read."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        ask: Callable[[Sequence[Record]], Awaitable[Mapping[MessageId, Step]]],
        store: Store,
        lease: Lease,
        metrics: Metrics,
        now: Callable[[], Timestamp],
    ) -> None:
        """`ask`: what each message would need now, a wait where nobody can tell."""
        self._chain = chain
        self._ask = ask
        self._store = store
        self._lease = lease
        self._metrics = metrics
        self._now = now
        self._log = structlog.get_logger("relayer").bind(agent=self.name)

    @property
    def name(self) -> str:
        return f"second_look:{self._chain.name}"

    async def tick(self) -> bool:
        """Look at one batch; True when there may be more."""
        before = Timestamp(self._now() - AFTER_S)
        ids = await self._store.doubted(self._lease.chain, before, limit=AT_ONCE)
        if not ids:
            return False
        records = await self._store.get_many(ids, chain=self._lease.chain)
        steps = await self._ask(records)
        wrong = [one for one, step in steps.items() if isinstance(step, Call)]
        unsure = [one for one, step in steps.items() if not isinstance(step, Call | Done)]
        sure = [one for one in ids if one not in {*wrong, *unsure}]
        reopened = await self._store.note_looked(self._lease, sure, wrong=wrong, unsure=unsure)
        if reopened:
            self._metrics.agent_failed(self.name, "delivery_denied")
            self._log.error("deliveries_denied", count=len(reopened), message_id=reopened[0])
        return len(ids) == AT_ONCE
