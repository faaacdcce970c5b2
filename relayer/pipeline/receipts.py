"""What a mined transaction of ours did and what it cost, read from its receipt.

Whatever an endpoint writes into it, settling the transaction must not fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from relayer.adapter import Adapter, Log, LogSource
from relayer.chains.logs import parse_logs
from relayer.errors import BadChainData
from relayer.message import (
    BridgeName,
    ChainId,
    DeliverySeen,
    Fact,
    Gas,
    MessageId,
    ProgressSeen,
    Record,
    Route,
    Wei,
)
from relayer.pipeline.follower import logs_of
from relayer.store import CostTotal, Intent

NO_BRIDGE = BridgeName("_overhead")
"""Heads the cost of transactions that carried nothing; no configured bridge can have the name."""

log = structlog.get_logger("relayer")


@dataclass(frozen=True, slots=True)
class Carried:
    """Messages that a receipt's logs say are delivered, or one step further, as named there."""

    delivered: frozenset[MessageId] = frozenset()
    moved: frozenset[MessageId] = frozenset()

    def has_delivered(self, record: Record) -> bool:
        """Whether the message is delivered, under either of its names."""
        return not self.delivered.isdisjoint(_names(record))

    def has_moved(self, record: Record) -> bool:
        """Whether the message is one step further, under either of its names."""
        return not self.moved.isdisjoint(_names(record))


def carried_by(
    receipt: Mapping[str, object], chain: ChainId, sources: Sequence[tuple[Adapter, LogSource]]
) -> Carried:
    """What the logs say; those that cannot be read say nothing and are left to the follower,
    which confirms a delivery whatever we made of it."""
    try:
        logs = parse_logs(chain, receipt.get("logs"))
    except BadChainData as error:
        log.error("receipt_unreadable", error=str(error)[:300])
        return Carried()
    facts = [fact for adapter, source in sources for fact in _facts(adapter, logs_of(source, logs))]
    return Carried(
        frozenset(fact.message_id for fact in facts if isinstance(fact, DeliverySeen)),
        frozenset(fact.message_id for fact in facts if isinstance(fact, ProgressSeen)),
    )


def _facts(adapter: Adapter, logs: Sequence[Log]) -> list[Fact]:
    try:
        return adapter.decode(logs)
    except Exception:  # one bridge's bug must not leave the nonce unsettled for ever
        log.exception("receipt_unreadable", bridge=adapter.name)
        return []


def _names(record: Record) -> set[MessageId | None]:
    return {record.id, record.message.inbox_id}


def cost_of(
    receipt: Mapping[str, object], chain: ChainId, intent: Intent, records: Sequence[Record]
) -> dict[Route, CostTotal]:
    """The whole cost to the last wei, shared over routes by the gas of their messages' calls."""
    gas = _number(receipt, "gasUsed")
    wei = gas * _number(receipt, "effectiveGasPrice") + _number(receipt, "l1Fee")
    needs = {call.message_id: max(1, call.gas) for call in intent.calls}
    carried: Counter[Route] = Counter()
    for record in records:
        carried[record.route] += needs.get(record.id, 1)
    carried = carried or Counter([Route(NO_BRIDGE, chain, chain)])
    left = carried.total()
    shares: dict[Route, CostTotal] = {}
    for route, need in carried.items():
        share = CostTotal(Wei(wei * need // left), Gas(gas * need // left), txs=1)
        shares[route] = share
        left, gas, wei = left - need, gas - share.gas, wei - share.wei
    return shares


def income_of(
    intent: Intent, records: Sequence[Record], delivered: frozenset[MessageId]
) -> dict[Route, Wei]:
    """What inboxes paid for the messages that the transaction delivered, by route."""
    routes = {record.id: record.route for record in records}
    incomes: dict[Route, Wei] = {}
    for call in intent.calls:
        if call.income and call.message_id in delivered and call.message_id in routes:
            route = routes[call.message_id]
            incomes[route] = Wei(incomes.get(route, 0) + call.income)
    return incomes


def paid_for(records: Sequence[Record], delivered: frozenset[MessageId]) -> dict[Route, Wei]:
    """What was paid on the origins, as far as it is known now, for what was delivered, by route."""
    paid: dict[Route, Wei] = {}
    for record in records:
        if record.id in delivered and record.payment.amount:
            paid[record.route] = Wei(paid.get(record.route, 0) + record.payment.amount)
    return paid


def _number(receipt: Mapping[str, object], name: str) -> int:
    """A quantity of the receipt; 0 when it is left out or makes no sense."""
    told = receipt.get(name)
    if told is None:
        return 0
    try:
        return max(0, int(str(told), 16))
    except ValueError:
        log.warning("receipt_number_unreadable", field=name)
        return 0
