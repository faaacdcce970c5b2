"""Writes down what a mined transaction did to each of its messages, and what it cost.

What it did is read from the logs of its receipt, never from `status` alone; delivery is confirmed
later by the follower, at the destination's finality rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from relayer.adapter import Adapter, Call, Outcome
from relayer.chains import ChainClient
from relayer.message import (
    IN_COMPANY,
    Address,
    BlockNumber,
    BridgeName,
    Reason,
    Record,
    Timestamp,
    TxHash,
    Wei,
)
from relayer.ops.metrics import Metrics
from relayer.pipeline.follower import sources_on
from relayer.pipeline.inbox import ReadyCall
from relayer.pipeline.judging import Judge
from relayer.pipeline.nonces import Mined, SignerLane
from relayer.pipeline.receipts import carried_by, cost_of, income_of, paid_for
from relayer.pipeline.suspects import Suspects
from relayer.store import Failure, Inclusion, Intent, Lease, Settlement, Store

HEAD_MAY_LAG = 64
"""Blocks that a receipt, or another endpoint, may be ahead of the newest header we have read."""
NOBODY = Address("0x" + "00" * 20)


class Settler:
    """The end of one lane's transactions."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        adapters: Mapping[BridgeName, Adapter],
        store: Store,
        lease: Lease,
        metrics: Metrics,
        judge: Judge,
        suspects: Suspects,
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._store = store
        self._lease = lease
        self._metrics = metrics
        self._judge = judge
        self._suspects = suspects
        self._now = now
        self._sources = sources_on(chain.chain_id, adapters.values())
        self._log = structlog.get_logger("relayer").bind(agent=f"submitter:{chain.name}")

    async def settle(self, signer: SignerLane, mined: Mined, head: BlockNumber) -> None:
        """Book a transaction and forget it in one step: a lost answer and a repeat book nothing
        twice."""
        intent = mined.intent
        ids = [call.message_id for call in intent.calls]
        records = await self._store.get_many(ids, chain=self._chain.chain_id)
        if mined.receipt is None:
            outcome = "replaced_by_stranger"
            settlement = Settlement(Reason.REPLACED, "lost", charge=intent.charge)
        else:
            reverted = int(str(mined.receipt["status"]), 16) != 1
            outcome = "reverted" if reverted else "mined"
            settlement = self._outcome(intent, mined.receipt, records, head=head)
        settled = await self._store.settle(self._lease, signer.address, intent.nonce, settlement)
        signer.forget(intent.nonce)
        if settled is not None:
            self._metrics.transaction(self._chain.name, outcome)
            self._report(settlement, records)
            self._log.info(
                "transaction_settled",
                outcome=outcome,
                nonce=intent.nonce,
                calls=len(records),
                tx=settlement.inclusion and settlement.inclusion.tx,
            )

    async def reopen_overdue(self, head: BlockNumber) -> None:
        """Seen included, but the final chain says nothing of it: back to the start.

        So is what was seen in a block far beyond the head: it would never be final.
        """
        cursor = await self._store.cursor(self._lease.chain)
        if cursor is None:
            return
        ids = await self._store.overdue_included(self._lease.chain, cursor.block)
        if ids:
            await self._store.reopen(self._lease, ids, Reason.REORGED)
            self._log.warning("inclusion_not_final", count=len(ids))
        far = BlockNumber(max(head, cursor.block) + HEAD_MAY_LAG)
        ids = await self._store.included_beyond(self._lease.chain, far)
        if ids:
            await self._store.reopen(self._lease, ids, Reason.SOURCE_UNREACHABLE)
            self._log.warning("inclusion_beyond_head", count=len(ids), head=head)

    def _outcome(
        self,
        intent: Intent,
        receipt: Mapping[str, object],
        records: Sequence[Record],
        *,
        head: BlockNumber,
    ) -> Settlement:
        """Delivered, carried one step on, or an attempt spent: what became of each message."""
        chain = self._chain.chain_id
        # a block far beyond the head would never be final, and its messages `included` for ever
        told = int(str(receipt["blockNumber"]), 16)
        block = BlockNumber(min(head + HEAD_MAY_LAG, told))
        tx = TxHash(str(receipt["transactionHash"]))
        carried = carried_by(receipt, chain, self._sources)
        steps = {call.message_id for call in intent.calls if not call.final}
        delivered = {one.id for one in records if carried.has_delivered(one)}
        moved = {one.id for one in records if carried.has_moved(one)}
        good = delivered | (moved & steps)
        costs = cost_of(receipt, chain, intent, records)
        in_company = len(intent.calls) > 1
        if in_company and not good:
            self._suspects.doubt(records)
        elif in_company:
            self._suspects.trust([one for one in records if one.id in good])
        return Settlement(
            Reason.NEW,
            f"carried on by {tx}",
            Inclusion(block, tx, tuple(one.id for one in records if one.id in delivered)),
            tuple(
                self._wasted(one, tx, in_company=in_company)
                for one in records
                if one.id not in good
            ),
            costs,
            income_of(intent, records, frozenset(delivered)),
            paid_for(records, frozenset(delivered)),
            intent.charge,
            Wei(sum(cost.wei for cost in costs.values())),
        )

    def _wasted(self, record: Record, tx: TxHash, *, in_company: bool) -> Failure:
        """Mined in vain. In company a neighbour may be to blame: again at once, and alone. Alone it
        was the message's own doing: back off, for what only fails on chain burns money block by
        block, and end after `lane.max_wasted`."""
        detail = f"mined in {tx} without delivery"
        item = ReadyCall(record, Call(record.id, NOBODY, b""))
        verdict = self._judge.verdict(item, Outcome(b"", detail, mined=True))
        is_target = verdict.reason is Reason.TARGET_FAILED
        reason = verdict.reason if is_target else Reason.CALL_REVERTED
        failure = self._judge.failure(record, reason, detail, {"tx": tx})
        if in_company:
            return replace(failure, wake_at=self._now(), detail=IN_COMPANY + detail)
        self._suspects.blame(record)
        most = self._chain.settings.lane.max_wasted
        if record.wasted + 1 >= most:
            end = f"{detail}; that was the last of {most} (lane.max_wasted)"
            return replace(failure, wake_at=None, detail=end)
        return failure

    def _report(self, settlement: Settlement, records: Sequence[Record]) -> None:
        failures = {failure.id: failure for failure in settlement.failures}
        included = settlement.inclusion.ids if settlement.inclusion else ()
        for record in records:
            if record.id in failures:
                self._judge.report(record, failures[record.id])
                self._metrics.wasted(record.route)
            elif record.id in included:
                waited_s = self._now() - record.since
                self._metrics.stage(record.route, "submitted_to_included", waited_s)
        for route, cost in settlement.costs.items():
            self._metrics.cost(route, cost.gas, cost.wei)
        for route, income in settlement.incomes.items():
            self._metrics.income(route, income)
