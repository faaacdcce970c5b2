"""Carries ready calls of one lane on chain: simulate, pack, price, store the intent, broadcast.

What a transaction did is read from the logs of its receipt, never from `status` alone; delivery is
confirmed later by the follower, at the destination's finality rule.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from relayer.adapter import Action, Adapter, Call, Outcome, Refuse, Verdict, Wait
from relayer.chains import ChainClient
from relayer.chains.fees import FeeQuote, data_fee_view, quote
from relayer.chains.transactions import SendProblem, classify_send_error
from relayer.errors import BadChainData, CallReverted, Fatal, LeaseLost, RelayerError, RpcRefused
from relayer.message import (
    Address,
    BlockHash,
    BlockNumber,
    BridgeName,
    MessageId,
    Reason,
    Record,
    Timestamp,
    TxHash,
    Wei,
)
from relayer.ops.metrics import Metrics
from relayer.pipeline.budgets import Budgets
from relayer.pipeline.follower import sources_on
from relayer.pipeline.inbox import Inbox, ReadyCall
from relayer.pipeline.nonces import Mined, SignerLane
from relayer.pipeline.packing import Failed, Pack, Packer, body_of, revert_of
from relayer.pipeline.policy import Policy
from relayer.pipeline.receipts import carried_by, cost_of, income_of
from relayer.pipeline.retry import RetryPolicy
from relayer.store import Failure, Inclusion, Intent, IntentCall, Lease, Settlement, Store

WAIT_AFTER_FAILURE_S = 15.0
POOR_RECHECK_S = 30.0
DEAR_RECHECK_S = 15.0
UNSIMULATED_RECHECK_S = 5.0
AT_ONCE_S = 0.0
LOOK_AGAIN_S = 2.0
AGAIN_S = 2.0
TRANSACTIONS_PER_TICK = 8
HEAD_MAY_LAG = 64
"""Blocks that a receipt may be ahead of the newest header we have read."""
NOBODY = Address("0x" + "00" * 20)


class Submitter:
    """The submitting half of one lane; `tick()` is called under the lane's lease."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        adapters: Mapping[BridgeName, Adapter],
        signers: Sequence[SignerLane],
        store: Store,
        lease: Lease,
        policy: Policy,
        metrics: Metrics,
        inbox: Inbox,
        now: Callable[[], Timestamp],
        rng: random.Random,
        dry_run: bool,
    ) -> None:
        self._chain = chain
        self._adapters = adapters
        self._signers = signers
        self._store = store
        self._lease = lease
        self._budgets = Budgets(chain.chain_id, policy, store, now)
        self._metrics = metrics
        self._inbox = inbox
        self._now = now
        self._rng = rng
        self._dry_run = dry_run
        self._retry = RetryPolicy(chain.settings.lane.max_attempts)
        self._packer = Packer(chain)
        self._loaded = False
        self._looked: tuple[BlockHash, float] | None = None
        self._sources = sources_on(chain.chain_id, adapters.values())
        self._log = structlog.get_logger("relayer").bind(agent=self.name)

    @property
    def name(self) -> str:
        return f"submitter:{self._chain.name}"

    async def tick(self) -> bool:
        """Look after what is in flight, then send what is ready; True when more can be sent.

        After any failure the intents are read anew: a write whose answer was lost may have
        happened, and only the store knows.
        """
        try:
            return await self._tick()
        except BaseException:
            self._loaded, self._looked = False, None
            raise

    async def _tick(self) -> bool:
        if not self._loaded:
            for signer in self._signers:
                await signer.load()
            self._loaded = True
        await self._look_after_signers()
        await self._send_ready()
        return len(self._inbox) > 0 and self._freest() is not None

    async def _look_after_signers(self) -> None:
        """Settle what was mined and replace what is stuck: with each new head, or now and then."""
        header = await self._chain.header("latest")
        looked = (header.hash, self._now() // LOOK_AGAIN_S)
        if looked == self._looked:
            return
        for signer in self._signers:
            for mined in await signer.mined(header.number):
                await self._settle(signer, mined, header.number)
            await signer.push()
            self._metrics.in_flight(self._chain.name, signer.address, signer.in_flight)
        await self._reopen_overdue()
        self._looked = looked

    # --- sending -----------------------------------------------------------------------------

    async def _send_ready(self) -> None:
        signer = self._freest()
        if signer is None or not len(self._inbox):
            return
        items = self._inbox.take(self._chain.settings.lane.batch_calls * TRANSACTIONS_PER_TICK)
        unsent = {item.record.id: item for item in items}
        try:
            packs, failed = await self._packer.pack(items, signer.address)
            if self._dry_run:
                would = Wait(Reason.DRY_RUN, "simulated well; dry_run is on", recheck_s=300.0)
                await self._wait([item for pack in packs for item in pack.items], would)
            elif packs:
                await self._send_packs(packs, unsent)
            for failure in failed:
                await self._note_failure(failure)
                unsent.pop(failure.item.record.id, None)
        except (LeaseLost, Fatal):
            raise
        except RelayerError as error:
            again = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=AGAIN_S)
            await self._wait(list(unsent.values()), again)
            raise

    async def _send_packs(self, packs: Sequence[Pack], unsent: dict[MessageId, ReadyCall]) -> None:
        """Send each pack, taking its messages out of `unsent` as it goes."""
        fees = await quote(self._chain)
        base_fee = (await self._chain.header("latest")).base_fee
        price = fees.expected(base_fee)
        if base_fee is not None and fees.max_fee < base_fee:
            # no block would take it, and its nonce would hold up all that come after
            detail = f"the base fee is {base_fee} wei, fees.max_fee_gwei allows {fees.max_fee}"
            wait = Wait(Reason.FEE_CAP_EXCEEDED, detail, recheck_s=DEAR_RECHECK_S)
            await self._wait([item for pack in packs for item in pack.items], wait)
            return
        for pack in packs:
            await self._send(pack, fees, price)
            for item in pack.items:
                unsent.pop(item.record.id, None)

    def _freest(self) -> SignerLane | None:
        return max(
            (signer for signer in self._signers if signer.room() > 0),
            key=lambda signer: signer.room(),
            default=None,
        )

    async def _send(self, pack: Pack, fees: FeeQuote, price: Wei) -> None:
        data_fee = await self._data_fee(pack.items)
        admission = await self._budgets.admit(
            pack.items, pack.gas, Wei(pack.gas * price + data_fee)
        )
        for item, wait in admission.waits:
            await self._wait([item], wait)
        items = admission.items
        if not items:
            return
        body = body_of(self._chain, items, lenient=True)
        signer = await self._signer_for(items, body.value + pack.gas * fees.max_fee + data_fee)
        if signer is None:
            return
        calls = [
            IntentCall(item.record.id, item.call.what, item.call.final, item.call.income)
            for item in items
        ]
        try:
            refused = await signer.send(body, pack.gas, calls, fees, charge=admission.charge)
        except RpcRefused as veto:
            await self._isolate(items, veto, fees, price)
            return
        if refused:
            # somebody else moved them on meanwhile; the rest comes back by itself
            rest = [item for item in items if item.record.id not in set(refused)]
            await self._wait(rest, Wait(Reason.NEW, "packed anew", recheck_s=AT_ONCE_S))
            return
        self._metrics.transaction(self._chain.name, "broadcast")
        for item in items:
            waited = self._now() - item.record.since
            self._metrics.stage(item.record.route, "ready_to_submitted", waited)
        self._log.info("transaction_sent", calls=len(items), gas=pack.gas, signer=signer.address)

    async def _isolate(
        self, items: Sequence[ReadyCall], veto: RpcRefused, fees: FeeQuote, price: Wei
    ) -> None:
        """No node takes a transaction with these calls: send the halves, and judge what is left."""
        outcome = Outcome(revert=b"", text=str(veto)[:500], mined=False)
        if len(items) == 1 or self._verdict(items[0], outcome).reason is Reason.PAUSED:
            for item in items:
                await self._judge(item, veto)
            return
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            packs, failed = await self._packer.pack(half, self._signers[0].address)
            for pack in packs:
                await self._send(pack, fees, price)
            for failure in failed:
                await self._note_failure(failure)

    async def _data_fee(self, items: Sequence[ReadyCall]) -> Wei:
        """What the chain adds for publishing the transaction's data elsewhere, 0 where nothing."""
        oracle = self._chain.settings.fees.data_fee_oracle
        if oracle is None:
            return Wei(0)
        data = body_of(self._chain, items, lenient=True).data
        (answer,) = await self._chain.read([data_fee_view(oracle, data)])
        if not answer.ok or len(answer.data) != 32:
            raise BadChainData(
                f"chains.{self._chain.name}.fees.data_fee_oracle {oracle} does not answer getL1Fee"
            )
        return Wei(int.from_bytes(answer.data, "big"))

    async def _signer_for(self, items: Sequence[ReadyCall], worst_cost: int) -> SignerLane | None:
        """A signer with room and money; without one the messages wait with the reason."""
        signer = self._freest()
        if signer is None:
            await self._wait(items, Wait(Reason.PROVED, "every signer is busy", recheck_s=1.0))
            return None
        for candidate in sorted(self._signers, key=lambda one: -one.room()):
            if candidate.room() <= 0:
                continue
            balance = await self._chain.balance(candidate.address)
            self._metrics.balance(self._chain.name, candidate.address, balance)
            if balance >= worst_cost + candidate.committed():
                return candidate
        detail = f"needs up to {worst_cost} wei; no signer of the lane has it"
        await self._wait(items, Wait(Reason.INSUFFICIENT_BALANCE, detail, recheck_s=POOR_RECHECK_S))
        return None

    # --- failures before sending -------------------------------------------------------------

    async def _note_failure(self, failed: Failed) -> None:
        record, error = failed.item.record, failed.error
        if error is None:
            failure = self._failure(record, failed.reason, failed.detail, {})
            await self._note(record, failure)
        elif isinstance(error, CallReverted):
            await self._judge(failed.item, error)
        else:
            await self._wait([failed.item], _trouble(error))

    async def _judge(self, item: ReadyCall, error: RelayerError) -> None:
        """Let the adapter say what a failed simulation means, and write that down."""
        record = item.record
        revert = revert_of(error)
        outcome = Outcome(revert=revert, text=str(error)[:500], mined=False)
        verdict = self._verdict(item, outcome)
        evidence = {"revert": "0x" + revert.hex(), "text": str(error)[:500]}
        self._metrics.reason(record.route, verdict.reason)
        match verdict.action:
            case Action.DONE:
                block = (await self._chain.header("latest")).number
                await self._store.note_included(
                    self._lease, [(record.id, block, None, False, verdict.detail)]
                )
            case Action.WAIT:
                wait = Wait(verdict.reason, verdict.detail, recheck_s=WAIT_AFTER_FAILURE_S)
                await self._wait([item], wait)
            case Action.RETRY:
                failure = self._failure(record, verdict.reason, verdict.detail, evidence)
                await self._note(record, failure)
            case Action.HOLD | Action.DEAD:
                dead = verdict.action is Action.DEAD
                refuse = Refuse(verdict.reason, verdict.detail, dead=dead)
                await self._store.note_refused(self._lease, [(record.id, refuse, evidence)])

    def _verdict(self, item: ReadyCall, outcome: Outcome) -> Verdict:
        adapter = self._adapters[item.record.route.bridge]
        try:
            return adapter.classify(item.record, item.call, outcome)
        except Exception:  # noqa: BLE001 - one poisonous message must not stop the others
            self._log.exception("adapter_crashed", message_id=item.record.id)
            return Verdict(Action.RETRY, Reason.INTERNAL_ERROR, "see the log")

    def _failure(
        self, record: Record, reason: Reason, detail: str, evidence: Mapping[str, str]
    ) -> Failure:
        """One attempt spent: back off, or the dead letters when attempts run out."""
        delay = self._retry.delay_s(record.attempts + 1, self._rng)
        wake_at = None if delay is None else Timestamp(self._now() + delay)
        return Failure(record.id, reason, detail, evidence, wake_at)

    async def _note(self, record: Record, failure: Failure) -> None:
        await self._store.note_failures(self._lease, [failure])
        self._report_failure(record, failure)

    def _report_failure(self, record: Record, failure: Failure) -> None:
        self._metrics.reason(record.route, failure.reason)
        if failure.wake_at is None:
            self._log.error(
                "message_dead",
                message_id=record.id,
                reason=failure.reason,
                detail=failure.detail,
            )

    async def _wait(self, items: Sequence[ReadyCall], wait: Wait) -> None:
        if items:
            await self._store.note_waits(self._lease, [(item.record.id, wait) for item in items])

    # --- after mining ------------------------------------------------------------------------

    async def _settle(self, signer: SignerLane, mined: Mined, head: BlockNumber) -> None:
        """Write down what a transaction did to each of its messages and what it cost, and forget
        it, in one step: a lost answer and a repeat book nothing twice."""
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
        costs = cost_of(receipt, chain, [one.route for one in records])
        return Settlement(
            Reason.NEW,
            f"carried on by {tx}",
            Inclusion(block, tx, tuple(one.id for one in records if one.id in delivered)),
            tuple(self._wasted(one, tx) for one in records if one.id not in good),
            costs,
            income_of(intent, records, frozenset(delivered)),
            intent.charge,
            Wei(sum(cost.wei for cost in costs.values())),
        )

    def _wasted(self, record: Record, tx: TxHash) -> Failure:
        """Mined in vain. In company: look again at once, and alone. Alone, or when the adapter says
        that the target failed, it was the message's own doing: back off, or one that only fails
        on chain burns money block by block."""
        detail = f"mined in {tx} without delivery"
        call = Call(record.id, NOBODY, b"")
        verdict = self._verdict(ReadyCall(record, call), Outcome(b"", detail, mined=True))
        is_target = verdict.reason is Reason.TARGET_FAILED
        reason = verdict.reason if is_target else Reason.CALL_REVERTED
        failure = self._failure(record, reason, detail, {"tx": tx})
        if is_target or record.alone or failure.wake_at is None:
            return failure
        return replace(failure, wake_at=self._now())

    def _report(self, settlement: Settlement, records: Sequence[Record]) -> None:
        failures = {failure.id: failure for failure in settlement.failures}
        included = settlement.inclusion.ids if settlement.inclusion else ()
        for record in records:
            if record.id in failures:
                self._report_failure(record, failures[record.id])
                self._metrics.wasted(record.route)
            elif record.id in included:
                waited_s = self._now() - record.since
                self._metrics.stage(record.route, "submitted_to_included", waited_s)
        for route, cost in settlement.costs.items():
            self._metrics.cost(route, cost.gas, cost.wei)
        for route, income in settlement.incomes.items():
            self._metrics.income(route, income)

    async def _reopen_overdue(self) -> None:
        """Seen included, but the final chain says nothing of it: back to the start."""
        cursor = await self._store.cursor(self._lease.chain)
        if cursor is None:
            return
        ids = await self._store.overdue_included(self._lease.chain, cursor.block)
        if ids:
            await self._store.reopen(self._lease, ids, Reason.REORGED)
            self._log.warning("inclusion_not_final", count=len(ids))


def _trouble(error: RelayerError) -> Wait:
    """A simulation that failed for a reason that is not the message's: it only waits."""
    detail = str(error)[:300]
    refused = isinstance(error, RpcRefused) and classify_send_error(error.text)
    if refused is SendProblem.INSUFFICIENT_FUNDS:
        return Wait(Reason.INSUFFICIENT_BALANCE, detail, recheck_s=POOR_RECHECK_S)
    return Wait(Reason.SOURCE_UNREACHABLE, detail, recheck_s=UNSIMULATED_RECHECK_S)
