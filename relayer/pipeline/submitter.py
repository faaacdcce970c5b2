"""Carries ready calls of one lane on chain: simulate, pack, price, store the intent, broadcast.

What fails on the way is for the `Judge`, what was mined for the `Settler`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from relayer.adapter import Adapter, Header, Outcome, Refuse, Wait
from relayer.chains import ChainClient
from relayer.chains.fees import FeeQuote, data_fee_view, quote
from relayer.errors import (
    BadChainData,
    Fatal,
    LeaseLost,
    RelayerError,
    RpcRefused,
    SignerUnavailable,
    SigningRefused,
)
from relayer.message import (
    Address,
    BlockHash,
    BridgeName,
    MessageId,
    Reason,
    Timestamp,
    TxHash,
    Wei,
)
from relayer.ops.metrics import Metrics
from relayer.pipeline.budgets import Budgets
from relayer.pipeline.crew import AGAIN_S, Crew
from relayer.pipeline.inbox import Inbox, ReadyCall
from relayer.pipeline.judging import Judge
from relayer.pipeline.nonces import SignerLane
from relayer.pipeline.packing import Pack, Packer, body_of
from relayer.pipeline.pauses import PauseBoard
from relayer.pipeline.policy import Policy
from relayer.pipeline.settling import Settler
from relayer.pipeline.suspects import Suspects
from relayer.store import Charge, IntentCall, Lease, Store

DEAR_RECHECK_S = 15.0
AT_ONCE_S = 0.0
LOOK_AGAIN_S = 2.0
TRANSACTIONS_PER_TICK = 8


@dataclass(frozen=True, slots=True)
class _Look:
    """When the lane was looked after, and whether accounts were read."""

    head: BlockHash
    at: float
    has_accounts: bool

    def serves(self, head: Header, now: float, *, is_busy: bool) -> bool:
        """Whether it is new enough, and knows the accounts where they matter."""
        is_new = self.head == head.hash and 0 <= now - self.at < LOOK_AGAIN_S
        return is_new and (self.has_accounts or not is_busy)


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
        pauses: PauseBoard,
        metrics: Metrics,
        inbox: Inbox,
        now: Callable[[], Timestamp],
        rng: random.Random,
        dry_run: bool,
        lacks_signers: bool = False,
    ) -> None:
        """`lacks_signers`: some that are configured could not be opened yet."""
        self._chain = chain
        self._signers = signers
        self._store = store
        self._lease = lease
        self._crew = Crew(signers, lacks_signers=lacks_signers)
        self._budgets = Budgets(chain.chain_id, policy, store, now)
        self._pauses = pauses
        self._metrics = metrics
        self._inbox = inbox
        self._now = now
        self._dry_run = dry_run
        suspects = Suspects(now)
        self._judge = Judge(
            chain=chain,
            adapters=adapters,
            store=store,
            lease=lease,
            metrics=metrics,
            now=now,
            rng=rng,
        )
        self._settler = Settler(
            chain=chain,
            adapters=adapters,
            store=store,
            lease=lease,
            metrics=metrics,
            judge=self._judge,
            suspects=suspects,
            now=now,
        )
        self._packer = Packer(chain, suspects, policy.weighs)
        self._loaded = False
        self._looked: _Look | None = None
        self._quoted: tuple[BlockHash, FeeQuote] | None = None
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
        if await self._look_after_signers():
            await self._send_ready()
        return len(self._inbox) > 0 and self._crew.freest() is not None

    async def _look_after_signers(self) -> bool:
        """Settle what was mined and replace what is stuck: with each new head, or now and then.

        Accounts are read when something is in flight or about to be sent; the answer is whether
        they were, so that more can be.
        """
        head, now = await self._chain.header("latest"), self._now()
        is_busy = len(self._inbox) > 0 or any(signer.is_waiting for signer in self._signers)
        looked = self._looked
        if looked is not None and looked.serves(head, now, is_busy=is_busy):
            return looked.has_accounts
        working = [one for one in self._signers if is_busy and (one.has_key or one.is_waiting)]
        accounts = await self._chain.accounts([one.address for one in working])
        hashes: list[TxHash] = []
        for signer, account in zip(working, accounts, strict=True):
            hashes += signer.observe(head.number, account)
        receipts = dict(zip(hashes, await self._chain.receipts(hashes), strict=True))
        for signer in working:
            for mined in signer.mined(receipts):
                await self._settler.settle(signer, mined, head.number)
            await signer.push()
        for signer in self._signers:
            self._metrics.in_flight(self._chain.name, signer.address, signer.in_flight)
        await self._settler.reopen_overdue(head.number)
        self._looked = _Look(head.hash, now, has_accounts=is_busy)
        return is_busy

    # --- sending -----------------------------------------------------------------------------

    async def _put_off_paused(self) -> None:
        """What was proved before it was paused goes back to waiting, and says why."""
        own = [signer.address for signer in self._signers if signer.has_key]
        kept: list[ReadyCall] = []
        waits: list[tuple[MessageId, Wait]] = []
        for item in self._inbox.take(len(self._inbox)):
            able = own if item.call.sender is None else [item.call.sender]
            wait = self._pauses.wait_of(item.record) or self._pauses.signers_wait(able)
            if wait is None:
                kept.append(item)
            else:
                waits.append((item.record.id, wait))
        self._inbox.put(kept)
        if waits:
            await self._store.note_waits(self._lease, waits)

    async def _send_ready(self) -> None:
        if self._pauses.all():
            await self._put_off_paused()
        if not len(self._inbox):
            return
        signer = self._crew.freest()
        if signer is None:
            no_key = self._crew.no_key()
            if no_key is not None:
                await self._wait(self._inbox.take(len(self._inbox)), no_key)
            return
        items = self._take()
        unsent = {item.record.id: item for item in items}
        try:
            items = await self._without_strangers(items)
            packs, failed = await self._packer.pack(items, signer.address)
            if self._dry_run:
                would = Wait(Reason.DRY_RUN, "simulated well; dry_run is on", recheck_s=300.0)
                await self._wait([item for pack in packs for item in pack.items], would)
            elif packs:
                await self._send_packs(packs, unsent)
            for failure in failed:
                await self._judge.note(failure)
                unsent.pop(failure.item.record.id, None)
        except (LeaseLost, Fatal):
            raise
        except RelayerError as error:
            again = Wait(Reason.SOURCE_UNREACHABLE, str(error)[:300], recheck_s=AGAIN_S)
            await self._wait(list(unsent.values()), again)
            raise

    def _take(self) -> list[ReadyCall]:
        """The oldest calls; of those that travel alone no more than there is room for, lest they be
        simulated in vain."""
        items = self._inbox.take(self._chain.settings.lane.batch_calls * TRANSACTIONS_PER_TICK)
        alone = [item for item in items if not self._packer.may_share(item)]
        late = alone[self._crew.room() :]
        self._inbox.put_back(late)
        ids = {item.record.id for item in late}
        return [item for item in items if item.record.id not in ids]

    async def _without_strangers(self, items: Sequence[ReadyCall]) -> list[ReadyCall]:
        """Hold what only an account that is no signer of ours could deliver; it waits while one
        that is not open yet may be the one."""
        own = {None, *(signer.address for signer in self._signers)}
        for item in items:
            if item.call.sender not in own:
                detail = f"only {item.call.sender} may deliver it, which is no signer of this lane"
                if self._crew.lacks_signers:
                    wait = Wait(Reason.SOURCE_UNREACHABLE, f"{detail} so far", recheck_s=AGAIN_S)
                    await self._wait([item], wait)
                    continue
                refuse = Refuse(Reason.UNSUPPORTED, detail)
                await self._store.note_refused(self._lease, [(item.record.id, refuse, {})])
        return [item for item in items if item.call.sender in own]

    async def _send_packs(self, packs: Sequence[Pack], unsent: dict[MessageId, ReadyCall]) -> None:
        """Send each pack, taking its messages out of `unsent` as it goes."""
        head = await self._chain.header("latest")
        if self._quoted is None or self._quoted[0] != head.hash:
            self._quoted = head.hash, await quote(self._chain)
        fees, base_fee = self._quoted[1], head.base_fee
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
        for signer in self._signers:
            await signer.flush()

    async def _send(self, pack: Pack, fees: FeeQuote, price: Wei) -> None:
        data_fee = await self._data_fee(pack.items)
        admission = await self._budgets.admit(pack, price, data_fee)
        for item, wait in admission.waits:
            await self._wait([item], wait)
        pack, items = admission.pack, admission.pack.items
        if not items:
            return
        worst_cost = pack.gas * fees.max_fee + data_fee + sum(item.call.value for item in items)
        sender = items[0].call.sender
        failed: dict[Address, RelayerError] = {}
        while True:
            signer = self._crew.pick(worst_cost, failed, sender=sender)
            if isinstance(signer, Wait):
                await self._wait(items, signer)
                return
            try:
                await self._send_by(signer, pack, fees, admission.charge)
                return
            except (SignerUnavailable, SigningRefused) as failure:
                failed[signer.address] = failure
                if self._crew.all_refuse(failed, sender):
                    await self._deny(items, failure, fees, price)
                    return
            except RpcRefused as veto:
                await self._isolate(items, veto, fees, price)
                return

    async def _send_by(
        self, signer: SignerLane, pack: Pack, fees: FeeQuote, charge: Charge | None
    ) -> None:
        """Send a pack with one signer; `SignerUnavailable` or `SigningRefused` without a trace."""
        items = pack.items
        body = body_of(self._chain, items, lenient=True)
        calls = [
            IntentCall(item.record.id, item.call.what, item.call.final, item.call.income, gas)
            for item, gas in zip(items, pack.shares, strict=True)
        ]
        refused = await signer.send(body, pack.gas, calls, fees, charge=charge)
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

    async def _deny(
        self, items: Sequence[ReadyCall], refusal: RelayerError, fees: FeeQuote, price: Wei
    ) -> None:
        """No signer may sign for these calls: hold the one that is meant, send the others."""
        if len(items) > 1:
            await self._send_halves(items, fees, price)
            return
        record = items[0].record
        self._metrics.reason(record.route, Reason.DENIED_BY_POLICY)
        refuse = Refuse(Reason.DENIED_BY_POLICY, f"no signer may sign it: {refusal}"[:300])
        await self._store.note_refused(self._lease, [(record.id, refuse, {})])

    async def _isolate(
        self, items: Sequence[ReadyCall], veto: RpcRefused, fees: FeeQuote, price: Wei
    ) -> None:
        """No node takes a transaction with these calls: send the halves, and judge what is left."""
        outcome = Outcome(revert=b"", text=str(veto)[:500], mined=False)
        if len(items) == 1 or self._judge.verdict(items[0], outcome).reason is Reason.PAUSED:
            for item in items:
                await self._judge.judge(item, veto)
            return
        await self._send_halves(items, fees, price)

    async def _send_halves(self, items: Sequence[ReadyCall], fees: FeeQuote, price: Wei) -> None:
        middle = len(items) // 2
        for half in (items[:middle], items[middle:]):
            packs, failed = await self._packer.pack(half, self._signers[0].address)
            for pack in packs:
                await self._send(pack, fees, price)
            for failure in failed:
                await self._judge.note(failure)

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

    async def _wait(self, items: Sequence[ReadyCall], wait: Wait) -> None:
        if items:
            await self._store.note_waits(self._lease, [(item.record.id, wait) for item in items])
