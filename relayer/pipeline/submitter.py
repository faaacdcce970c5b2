"""Carries ready calls of one lane on chain: simulate, pack, price, store the intent, broadcast.

What a transaction did is read from the logs of its receipt, never from `status` alone; delivery is
confirmed later by the follower, at the destination's finality rule.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import structlog

from relayer.adapter import Action, Adapter, Outcome, Refuse, Wait
from relayer.chains import ChainClient
from relayer.chains.fees import FeeQuote, quote
from relayer.chains.logs import parse_logs
from relayer.errors import BadChainData, CallReverted, Fatal, LeaseLost, RelayerError
from relayer.message import (
    BlockNumber,
    BridgeName,
    DeliverySeen,
    Gas,
    MessageId,
    Reason,
    Record,
    Route,
    Timestamp,
    TxHash,
    Wei,
)
from relayer.ops.metrics import Metrics
from relayer.pipeline.follower import logs_of, sources_on
from relayer.pipeline.inbox import Inbox, ReadyCall
from relayer.pipeline.nonces import Mined, SignerLane
from relayer.pipeline.packing import Failed, Pack, Packer, body_of, revert_of
from relayer.pipeline.policy import Policy
from relayer.pipeline.retry import RetryPolicy
from relayer.store import Lease, Store

WAIT_AFTER_FAILURE_S = 15.0
POOR_RECHECK_S = 30.0
AT_ONCE_S = 0.0
AGAIN_S = 2.0
TRANSACTIONS_PER_TICK = 8


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
        self._policy = policy
        self._metrics = metrics
        self._inbox = inbox
        self._now = now
        self._rng = rng
        self._dry_run = dry_run
        self._retry = RetryPolicy(chain.settings.lane.max_attempts)
        self._packer = Packer(chain)
        self._loaded = False
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
            self._loaded = False
            raise

    async def _tick(self) -> bool:
        if not self._loaded:
            for signer in self._signers:
                await signer.load()
            self._loaded = True
        head = (await self._chain.header("latest")).number
        for signer in self._signers:
            for mined in await signer.mined(head):
                await self._settle(signer, mined)
            await signer.push()
            self._metrics.in_flight(self._chain.name, signer.address, signer.in_flight)
        await self._reopen_overdue()
        await self._send_ready()
        return len(self._inbox) > 0 and self._freest() is not None

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
            await self._note_failures(failed)
        except (LeaseLost, Fatal):
            raise
        except RelayerError as error:
            again = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=AGAIN_S)
            await self._wait(list(unsent.values()), again)
            raise

    async def _send_packs(self, packs: Sequence[Pack], unsent: dict[MessageId, ReadyCall]) -> None:
        """Send each pack, taking its messages out of `unsent` as it goes."""
        fees = await quote(self._chain)
        for pack in packs:
            await self._send(pack, fees)
            for item in pack.items:
                unsent.pop(item.record.id, None)

    def _freest(self) -> SignerLane | None:
        return max(
            (signer for signer in self._signers if signer.room() > 0),
            key=lambda signer: signer.room(),
            default=None,
        )

    async def _send(self, pack: Pack, fees: FeeQuote) -> None:
        unpaid = [
            (item, wait)
            for item in pack.items
            if (wait := self._policy.unpaid(item.record, Gas(pack.gas // len(pack.items))))
        ]
        for item, wait in unpaid:
            await self._wait([item], wait)
        items = [item for item in pack.items if item not in [poor for poor, _ in unpaid]]
        if not items:
            return
        body = body_of(self._chain, items, lenient=True)
        signer = await self._signer_for(items, body.value + pack.gas * fees.max_fee)
        if signer is None:
            return
        ids = [item.record.id for item in items]
        refused = await signer.send(body, pack.gas, ids, fees)
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

    async def _note_failures(self, failed: Sequence[Failed]) -> None:
        for failure in failed:
            await self._note_failure(failure)

    async def _note_failure(self, failure: Failed) -> None:
        record = failure.item.record
        if failure.error is not None and not isinstance(failure.error, CallReverted):
            # the node's trouble, not the message's
            wait = Wait(Reason.SOURCE_UNREACHABLE, str(failure.error)[:300], recheck_s=5.0)
            await self._wait([failure.item], wait)
            return
        if failure.error is None:
            detail = f"needs {failure.gas} gas, cap is {self._chain.settings.lane.gas_cap}"
            await self._fail(record, Reason.GAS_CAP_EXCEEDED, detail, {"gas": str(failure.gas)})
            return
        await self._judge(failure.item, failure.error)

    async def _judge(self, item: ReadyCall, error: RelayerError) -> None:
        """Let the adapter say what a failed simulation means, and write that down."""
        record = item.record
        revert = revert_of(error)
        outcome = Outcome(revert=revert, text=str(error)[:500], mined=False)
        verdict = self._adapters[record.route.bridge].classify(record, item.call, outcome)
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
                await self._fail(record, verdict.reason, verdict.detail, evidence)
            case Action.HOLD | Action.DEAD:
                dead = verdict.action is Action.DEAD
                refuse = Refuse(verdict.reason, verdict.detail, dead=dead)
                await self._store.note_refused(self._lease, [(record.id, refuse, evidence)])

    async def _fail(
        self,
        record: Record,
        reason: Reason,
        detail: str,
        evidence: Mapping[str, str],
        *,
        at_once: bool = False,
    ) -> None:
        """One attempt spent: back off, or the dead letters when attempts run out."""
        delay = self._retry.delay_s(record.attempts + 1, self._rng)
        self._metrics.reason(record.route, reason)
        if delay is None:
            await self._store.note_dead(self._lease, [(record.id, reason, detail, dict(evidence))])
            self._log.error("message_dead", message_id=record.id, reason=reason, detail=detail)
            return
        wake_at = Timestamp(self._now() + (0.0 if at_once else delay))
        await self._store.note_retry(
            self._lease, [(record.id, reason, detail, dict(evidence), wake_at, True)]
        )

    async def _wait(self, items: Sequence[ReadyCall], wait: Wait) -> None:
        if items:
            await self._store.note_waits(self._lease, [(item.record.id, wait) for item in items])

    # --- after mining ------------------------------------------------------------------------

    async def _settle(self, signer: SignerLane, mined: Mined) -> None:
        """Write down what a mined transaction did to each of its messages, then forget it."""
        ids = [call.message_id for call in mined.intent.calls]
        if mined.receipt is None:
            self._metrics.transaction(self._chain.name, "replaced_by_stranger")
            await self._store.reopen(self._lease, ids, Reason.REPLACED)
            await signer.settle(mined, "lost")
            return
        block = BlockNumber(int(str(mined.receipt["blockNumber"]), 16))
        tx = TxHash(str(mined.receipt["transactionHash"]))
        records = await self._store.get_many(ids)
        delivered = self._delivered_by(mined.receipt)
        good = [record for record in records if record.id in delivered]
        if good:
            await self._store.note_included(
                self._lease, [(record.id, block, tx, True, "") for record in good]
            )
        for record in records:
            if record.id in delivered:
                waited_s = self._now() - record.since
                self._metrics.stage(record.route, "submitted_to_included", waited_s)
                continue
            # carried but not delivered: an attempt is spent; look again at once, and alone
            detail = f"mined in {tx} without delivery"
            await self._fail(record, Reason.CALL_REVERTED, detail, {"tx": tx}, at_once=True)
        ok = int(str(mined.receipt["status"]), 16) == 1
        self._metrics.transaction(self._chain.name, "mined" if ok else "reverted")
        await self._book_cost(mined.receipt, records)
        await signer.settle(mined, "mined")
        self._log.info("transaction_mined", tx=tx, block=block, delivered=len(good), of=len(ids))

    def _delivered_by(self, receipt: Mapping[str, object]) -> set[MessageId]:
        """Ids that the receipt's logs say are delivered; what cannot be read is left to the
        follower, which confirms it or has it reopened."""
        delivered: set[MessageId] = set()
        try:
            logs = parse_logs(self._chain.chain_id, receipt.get("logs"))
        except BadChainData as error:
            self._log.error("receipt_unreadable", error=str(error)[:300])
            return delivered
        for adapter, source in self._sources:
            try:
                facts = adapter.decode(logs_of(source, logs))
            except BadChainData as error:
                self._log.error("receipt_unreadable", bridge=adapter.name, error=str(error)[:300])
                continue
            delivered |= {fact.message_id for fact in facts if isinstance(fact, DeliverySeen)}
        return delivered

    async def _book_cost(self, receipt: Mapping[str, object], records: Sequence[Record]) -> None:
        """Share what the transaction cost over the routes of its messages."""
        gas = int(str(receipt["gasUsed"]), 16)
        price = int(str(receipt.get("effectiveGasPrice", "0x0")), 16)
        data_fee = int(str(receipt.get("l1Fee") or "0x0"), 16)
        carried: dict[Route, int] = {}
        for record in records:
            carried[record.route] = carried.get(record.route, 0) + 1
        for route, count in carried.items():
            share = Gas(gas * count // len(records))
            cost = Wei(share * price + data_fee * count // len(records))
            await self._store.add_cost(self._lease, route, wei=cost, gas=share)
            self._metrics.cost(route, share, cost)

    async def _reopen_overdue(self) -> None:
        """Seen included, but the final chain says nothing of it: back to the start."""
        cursor = await self._store.cursor(self._lease.chain)
        if cursor is None:
            return
        ids = await self._store.overdue_included(self._lease.chain, cursor.block)
        if ids:
            await self._store.reopen(self._lease, ids, Reason.REORGED)
            self._log.warning("inclusion_not_final", count=len(ids))
