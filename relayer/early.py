"""Messages in blocks that are not final yet, for whoever asks by transaction: read from the chains
at that moment, within bounds, and stored nowhere."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from weakref import WeakValueDictionary

from relayer.adapter import Adapter, Header, Log
from relayer.chains import ChainClient
from relayer.chains.logs import parse_logs
from relayer.chains.wire import hex_text, mapping, quantity
from relayer.errors import BadChainData, RelayerError
from relayer.message import (
    BlockNumber,
    BridgeName,
    ChainId,
    Fact,
    Gas,
    Message,
    MessageSeen,
    Moment,
    Payment,
    PaymentSeen,
    Reason,
    Record,
    Status,
    Timestamp,
    TxHash,
    Wei,
)
from relayer.ops.api import EarlyAnswer
from relayer.ops.api.limits import Buckets, Limits
from relayer.pipeline.follower import logs_of, sources_on
from relayer.store import Cursor

AT_ONCE = 4
"""Transactions looked for at the same time; each costs every origin a request."""
RATE_PER_S = 5.0
BURST = 10
WITHIN_S = 3.0
"""A chain that takes longer is passed over."""
KEPT_S = 3.0
"""Seconds an answer, also an empty one, is given to whoever asks for the same transaction."""
MOST_KEPT = 64
"""More than are looked for while one is kept."""
MOST_MESSAGES = 100
"""Of one transaction."""

NOT_ASKED = EarlyAnswer((), is_complete=False, is_new=False)
_MOST_BLOCK = 2**63 - 1


class FollowedStore(Protocol):
    """What is asked of the store: how far a chain is followed, and what was stored since."""

    async def cursor(self, chain: ChainId, /) -> Cursor | None: ...

    async def by_tx(self, tx: TxHash, /) -> Sequence[Record]: ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer, and until when it is given."""

    until: float
    answer: EarlyAnswer


class EarlyLook:
    """Asks the origin chains for a transaction without letting strangers load them."""

    def __init__(
        self,
        store: FollowedStore,
        chains: Callable[[], Mapping[str, ChainClient]],
        adapters: Callable[[], Mapping[BridgeName, Adapter]],
        *,
        clock: Callable[[], float],
        now: Callable[[], Timestamp],
        within_s: float = WITHIN_S,
    ) -> None:
        self._store = store
        self._chains = chains
        self._adapters = adapters
        self._clock = clock
        self._now = now
        self._within_s = within_s
        self._under_way = 0
        self._bucket = Buckets(Limits(rate_per_s=RATE_PER_S, burst=BURST), clock)
        self._kept: OrderedDict[TxHash, _Kept] = OrderedDict()
        # Lives as long as somebody asks.
        self._turns: WeakValueDictionary[TxHash, asyncio.Lock] = WeakValueDictionary()

    async def ask(self, tx: TxHash) -> EarlyAnswer:
        """What the origin chains have of a transaction of which nothing is stored."""
        turn = self._turns.setdefault(tx, asyncio.Lock())
        async with turn:  # who asks for the same transaction waits for the same answer
            kept = self._kept.get(tx)
            if kept is not None and self._clock() < kept.until:
                return kept.answer
            if self._under_way >= AT_ONCE or self._bucket.take("all"):
                return NOT_ASKED
            self._under_way += 1
            try:
                answer = await self._asked(tx)
            finally:
                self._under_way -= 1
            self._kept[tx] = _Kept(self._clock() + KEPT_S, replace(answer, is_new=False))
            self._kept.move_to_end(tx)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return answer

    async def _asked(self, tx: TxHash) -> EarlyAnswer:
        leaving: dict[ChainId, list[Adapter]] = {}
        for adapter in self._adapters().values():
            for origin in {route.origin for route in adapter.routes()}:
                leaving.setdefault(origin, []).append(adapter)
        answers = await asyncio.gather(
            *(
                self._on(chain, leaving[chain.chain_id], tx)
                for chain in self._chains().values()
                if chain.chain_id in leaving
            )
        )
        records = [record for answer in answers for record in answer or ()]
        return EarlyAnswer(tuple(records[:MOST_MESSAGES]), is_complete=None not in answers)

    async def _on(
        self, chain: ChainClient, adapters: Sequence[Adapter], tx: TxHash
    ) -> Sequence[Record] | None:
        """What one chain has of it; None when it does not answer, or answers nonsense."""
        try:
            async with asyncio.timeout(self._within_s):
                return await self._read(chain, adapters, tx)
        except (RelayerError, TimeoutError):
            return None

    async def _read(
        self, chain: ChainClient, adapters: Sequence[Adapter], tx: TxHash
    ) -> Sequence[Record]:
        # One endpoint's word is enough of where to look; an odd receipt, which a stranger may
        # choose from all of the past, is not held against the endpoint that gave it.
        answer = await chain.rpc("eth_getTransactionReceipt", [tx])
        receipt = mapping(answer or {}, "receipt")
        if receipt.get("blockNumber") is None:
            return ()
        sources = sources_on(chain.chain_id, adapters)
        said = parse_logs(chain.chain_id, receipt.get("logs"))
        if not any(logs_of(source, said) for _, source in sources):
            return ()
        block = BlockNumber(quantity(receipt["blockNumber"], "receipt block", most=_MOST_BLOCK))
        cursor = await self._store.cursor(chain.chain_id)
        if cursor is None and block < min(source.start_block for _, source in sources):
            return ()
        if cursor is not None and block <= cursor.block:
            return await self._store.by_tx(tx)  # it was followed meanwhile, or is none of ours
        logs, header = await chain.scan(
            block,
            block,
            addresses=sorted({address for _, source in sources for address in source.addresses}),
            topics=[sorted({topic for _, source in sources for topic in source.topics})],
        )
        if header.hash != hex_text(receipt.get("blockHash"), "receipt block hash", size=32):
            return ()
        logs = [log for log in logs if log.at.tx == tx]
        facts = [
            (adapter, fact)
            for adapter, source in sources
            for fact in _decoded(adapter, logs_of(source, logs))
        ]
        messages = [
            fact.message
            for adapter, fact in facts
            if isinstance(fact, MessageSeen) and fact.message.route in adapter.routes()
        ]
        if not messages:
            return ()
        return await self._records(chain, header, messages, [fact for _, fact in facts])

    async def _records(
        self,
        chain: ChainClient,
        at: Header,
        messages: Sequence[Message],
        facts: Sequence[Fact],
    ) -> list[Record]:
        """As if they were stored; they wake up when their block should be final."""
        head, final = await chain.tip()
        if at.number <= final.number:
            reason, detail, wake_at = Reason.NEW, "", self._now()
        else:
            reason = Reason.AWAITING_FINALITY
            detail = f"block {at.number} of {chain.name}, which is final up to {final.number}"
            wake_at = Timestamp(at.timestamp + max(0.0, head.timestamp - final.timestamp))
        return [
            Record(
                message=message,
                status=Status.SEEN,
                reason=reason,
                detail=detail,
                since=at.timestamp,
                seen_at=at.timestamp,
                wake_at=wake_at,
                gate=None,
                gate_value=None,
                attempts=0,
                alone=False,
                payment=_paid(message, facts),
                timeline=(Moment(at.timestamp, Status.SEEN, reason),),
                evidence={},
                tx=None,
            )
            for message in messages
        ]


def _decoded(adapter: Adapter, logs: Sequence[Log]) -> list[Fact]:
    """Nothing when something is malformed: the follower tells of it once the block is final."""
    try:
        return adapter.decode(logs)
    except BadChainData:
        return []


def _paid(message: Message, facts: Sequence[Fact]) -> Payment:
    paid = [
        fact
        for fact in facts
        if isinstance(fact, PaymentSeen)
        and (fact.message_id, fact.destination) == (message.id, message.route.destination)
    ]
    return Payment(
        Gas(sum(fact.gas for fact in paid)), Wei(sum(fact.amount for fact in paid)), len(paid)
    )
