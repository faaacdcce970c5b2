"""One signer's window on one lane: nonces, stored intents, replacement, and what the chain says.

An intent (nonce, calls, raw bytes) is stored before it is broadcast, under the lane's lease, so a
crash at any point leaves something to look up on chain and nothing to send twice. The chain's own
nonce is compared with ours at every head while there is work, down as well as up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import rlp
import structlog

from relayer.acts import Target
from relayer.chains import ChainClient
from relayer.chains.fees import FeeQuote, bump, quote
from relayer.chains.queries import Account
from relayer.chains.signers import Signer
from relayer.chains.transactions import Envelope, SendProblem, classify_send_error
from relayer.errors import RelayerError, RpcRefused, SignerUnavailable, SigningRefused
from relayer.message import Address, BlockNumber, Gas, MessageId, Reason, Timestamp, TxHash, Wei
from relayer.ops.metrics import Metrics
from relayer.pipeline.packing import INTRINSIC_GAS, Body
from relayer.pipeline.pauses import PauseBoard
from relayer.pipeline.signing_key import SigningKey
from relayer.store import Attempt, Charge, Intent, IntentCall, Lease, Settlement, Store

TYPE_1 = b"\x01"
TYPE_2 = b"\x02"
RECEIPT_PATIENCE = 20
RECEIPT_PATIENCE_S = 60.0
"""Heads, and seconds on chains of fast ones, that a used nonce may go without a receipt before we
believe that there is none."""
GAP_PATIENCE = 3
MOST_ATTEMPTS = 60
"""The store keeps 64 attempts of an intent."""
HOPELESS = frozenset({SendProblem.GAS_LIMIT, SendProblem.OTHER})
"""Refusals that a higher price does not cure."""
FLUSH_AT = 8
"""Transactions that wait for each other to be broadcast together."""
FOREIGN_PENDING_BLOCKS = 20
"""Blocks to let pending transactions that we do not remember settle before we send our own."""


@dataclass(frozen=True, slots=True)
class Mined:
    """An intent whose nonce the chain has used; `receipt` is None when by a stranger's hash."""

    intent: Intent
    receipt: dict[str, object] | None


class SignerLane:
    """Nonces of one signer on one chain; only ever used under the lane's lease."""

    def __init__(
        self,
        *,
        chain: ChainClient,
        address: Address,
        signer: Signer | None,
        store: Store,
        lease: Lease,
        pauses: PauseBoard,
        metrics: Metrics,
        now: Callable[[], Timestamp],
    ) -> None:
        """Without a `signer` (its key was taken out of the configuration) nothing new is sent:
        what is in flight is sent again as it is, and settled."""
        self.address = address
        self._chain = chain
        self._key = (
            None if signer is None else SigningKey(chain.name, signer, metrics=metrics, now=now)
        )
        self._store = store
        self._lease = lease
        self._pauses = pauses
        self._metrics = metrics
        self._now = now
        self._intents: dict[int, Intent] = {}
        self.balance = Wei(0)
        """When the chain was looked at last; less `committed`, what may be spent."""
        self._mined = 0
        self._floor = 0
        self._unsent: list[int] = []
        self._pushed_at: dict[int, int] = {}
        self._problems: dict[int, SendProblem] = {}
        self._missing_since: dict[int, tuple[BlockNumber, Timestamp]] = {}
        self._gap_since: dict[int, int] = {}
        self._head = BlockNumber(0)
        self._settle_until: BlockNumber | None = None
        self._settle_to = 0
        self._log = structlog.get_logger("relayer").bind(
            agent="submitter", chain=chain.name, signer=address
        )

    @property
    def in_flight(self) -> int:
        return len(self._intents)

    @property
    def is_waiting(self) -> bool:
        """Whether something is in flight, of ours or that we know nothing of."""
        return bool(self._intents) or self._settle_until is not None

    @property
    def has_key(self) -> bool:
        """Whether it can sign at all, now or later."""
        return self._key is not None

    @property
    def trouble(self) -> str:
        """Why nothing is asked of its key for a while, empty when it may be."""
        return "" if self._key is None else self._key.trouble

    def room(self) -> int:
        """Transactions that may be sent now."""
        if self._key is None or self._settle_until is not None or self.trouble:
            return 0
        if self._pauses.of(Target.signer(self.address)) is not None:
            return 0
        return max(0, self._chain.settings.lane.window - len(self._intents))

    async def load(self) -> None:
        """Take over what the store remembers and compare it with the chain; send it again.

        Pending transactions of our signer that no intent explains (a wiped store) are given time
        to be mined before anything new is sent, so that nothing is paid twice.
        """
        stored = await self._store.intents(self._lease.chain, self.address)
        self._intents = {intent.nonce: intent for intent in stored}
        (account,) = await self._chain.accounts([self.address])
        mined, self._mined, self.balance = account.nonce, account.nonce, account.balance
        pending = await self._chain.pending_nonce(self.address)
        self._head = (await self._chain.header("latest")).number
        known = max([mined, self._floor, *(nonce + 1 for nonce in self._intents)])
        if pending > known and pending != self._settle_to:
            self._settle_to = pending
            self._settle_until = BlockNumber(self._head + FOREIGN_PENDING_BLOCKS)
            self._log.warning("unknown_pending_transactions", count=pending - known)
        if self._key is None and self._intents:
            self._log.warning("former_signer_in_flight", count=len(self._intents))
        self._unsent.clear()
        await self._broadcast(*(one for one in self._intents.values() if one.nonce >= mined))

    async def send(
        self,
        body: Body,
        gas: Gas,
        calls: Sequence[IntentCall],
        fees: FeeQuote,
        *,
        charge: Charge | None = None,
    ) -> list[MessageId]:
        """Store the intent, to be broadcast by `flush` at the latest; returns the ids that the
        store refused.

        One with an access list is broadcast at once: `RpcRefused` when the nodes veto what it
        names. The intent is taken back then, and its nonce is free for the next. Without a
        signature nothing is stored at all: `SignerUnavailable` or `SigningRefused`.
        """
        nonce = self._free_nonce()
        head = await self._attempt(self._envelope(nonce, body, gas, fees))
        intent = Intent(
            signer=self.address,
            nonce=nonce,
            calls=tuple(calls),
            attempts=(head,),
            created_at=self._now(),
            purpose="deliver",
            charge=charge,
        )
        ids = [call.message_id for call in calls]
        refused = await self._store.reserve_intent(self._lease, intent, ids)
        if refused:
            return list(refused)
        self._intents[nonce] = intent
        self._unsent.append(nonce)
        if body.access_list:
            veto = await self.flush()
            if veto is not None and self._problems.get(nonce) in HOPELESS:
                await self._take_back(intent)
                raise veto
        elif len(self._unsent) >= FLUSH_AT:
            await self.flush()
        return []

    async def flush(self) -> RpcRefused | None:
        """Broadcast what is stored and was not yet; answers the refusal of the last."""
        nonces, self._unsent = self._unsent, []
        return await self._broadcast(*(self._intents[nonce] for nonce in nonces))

    async def _take_back(self, intent: Intent) -> None:
        """Nobody has it; should it turn up after all, its nonce lets only one of two be mined."""
        taken_back = Settlement(Reason.NEW, "no node took it", charge=intent.charge)
        await self._store.settle(self._lease, self.address, intent.nonce, taken_back)
        self.forget(intent.nonce)

    def _free_nonce(self) -> int:
        """The lowest that is free: one wrong answer of the chain leaves no gap behind for long."""
        nonce = max(self._mined, self._floor)
        while nonce in self._intents:
            nonce += 1
        return nonce

    def committed(self) -> Wei:
        """The most that transactions in flight may still cost."""
        return Wei(
            sum(
                last.gas * last.max_fee + body_of_raw(last.raw).value
                for last in (intent.attempts[-1] for intent in self._intents.values())
            )
        )

    def observe(self, head: BlockNumber, account: Account) -> list[TxHash]:
        """Note how the chain has the account; answers the transactions that may be mined."""
        self._head = head
        self._mined, self.balance = account.nonce, account.balance
        self._metrics.balance(self._chain.name, self.address, account.balance)
        self._settle_foreign(account.nonce)
        return [attempt.hash for intent in self._used() for attempt in intent.attempts]

    def mined(self, receipts: Mapping[TxHash, dict[str, object] | None]) -> list[Mined]:
        """Intents whose nonce is used on chain, each with the receipt of whichever attempt won.

        A missing receipt is believed only after some patience: the node that knows the nonce and
        the node that knows the receipt may be two behind one address.
        """
        used = self._used()
        reach = self._reach()
        far = [intent for nonce, intent in sorted(self._intents.items()) if nonce >= reach]
        # what a reorg has set free again is missing anew when it is used the next time
        doubtful = {intent.nonce for intent in (*used, *far)}
        self._missing_since = {n: at for n, at in self._missing_since.items() if n in doubtful}
        found = [Mined(intent, None) for intent in far if self._is_lost(intent.nonce)]
        for intent in used:
            won = [receipt for a in intent.attempts if (receipt := receipts.get(a.hash))]
            if won:
                self._floor = max(self._floor, intent.nonce + 1)
                found.append(Mined(intent, won[0]))
            elif self._is_lost(intent.nonce):
                found.append(Mined(intent, None))
        return found

    def _used(self) -> list[Intent]:
        return [intent for nonce, intent in sorted(self._intents.items()) if nonce < self._mined]

    def _is_lost(self, nonce: int) -> bool:
        """Whether a nonce has been in doubt for longer than our patience."""
        head, at = self._missing_since.get(nonce, (self._head, self._now()))
        head = min(head, self._head)  # it may have been a block that never was
        self._missing_since[nonce] = head, at
        return self._head - head >= RECEIPT_PATIENCE and self._now() - at >= RECEIPT_PATIENCE_S

    def _reach(self) -> int:
        """From this nonce on, only a wrong count of the chain's can have made an intent.

        Bridging the gap would cost a fee per imagined nonce, so its messages are sent again. Should
        the chain ever get there, the nonce is used by us or by it, and never by both.
        """
        most_in_flight = len(self._intents) + self._chain.settings.lane.window
        return max(self._mined, self._floor) + most_in_flight

    def forget(self, nonce: int) -> None:
        """The store has settled the intent of this nonce."""
        self._intents.pop(nonce, None)
        for by_nonce in (self._pushed_at, self._problems, self._missing_since, self._gap_since):
            by_nonce.pop(nonce, None)

    async def push(self) -> None:
        """Fill nonce gaps below our own, and replace the next transaction when it is stuck.

        What waits above a gap is not stuck for its price.
        """
        reach = self._reach()
        pending = [nonce for nonce in self._intents if self._mined <= nonce < reach]
        if not pending:
            return
        if self._key is not None:
            await self._fill_gaps(max(pending))
        stuck = self._intents.get(self._mined)
        if stuck is None:
            return
        last_push = self._pushed_at.get(stuck.nonce, stuck.attempts[-1].block)
        last_push = self._pushed_at[stuck.nonce] = min(last_push, self._head)
        if self._head - last_push >= self._chain.settings.fees.replace_after_blocks:
            self._pushed_at[stuck.nonce] = self._head
            try:
                await self._replace(stuck)
            except (SignerUnavailable, SigningRefused) as error:
                self._log.warning("not_replaced", nonce=stuck.nonce, error=str(error)[:300])
                await self._broadcast(stuck)

    async def _fill_gaps(self, top: int) -> None:
        """Empty transfers at nonces that nothing occupies, once a gap outlived some heads.

        A number that one endpoint gets wrong once must not cost a fee per imagined nonce.
        """
        window = self._chain.settings.lane.window
        missing = [nonce for nonce in range(self._mined, top) if nonce not in self._intents][
            :window
        ]
        head = self._head
        self._gap_since = {n: min(self._gap_since.get(n, head), head) for n in missing}
        for nonce, since in list(self._gap_since.items()):
            if self._head - since >= GAP_PATIENCE:
                try:
                    await self._send_cancel(nonce)
                except (SignerUnavailable, SigningRefused) as error:
                    self._log.warning("gap_not_filled", nonce=nonce, error=str(error)[:300])
                    return

    async def _send_cancel(self, nonce: int) -> None:
        fees = await quote(self._chain)
        body = Body(self.address, b"", Wei(0))
        head = await self._attempt(self._envelope(nonce, body, Gas(INTRINSIC_GAS), fees))
        intent = Intent(self.address, nonce, (), (head,), self._now(), "cancel")
        await self._store.reserve_intent(self._lease, intent, [])
        self._intents[nonce] = intent
        self._log.warning("nonce_gap_filled", nonce=nonce)
        self._metrics.transaction(self._chain.name, "cancelled")
        await self._broadcast(intent)

    async def _replace(self, intent: Intent) -> None:
        """Same nonce, higher fees; the same bytes again when more money is not what is missing.

        What nodes refuse twice for its contents gives way to an empty transfer at the same nonce;
        its messages are looked at again once that is mined.
        """
        last = intent.attempts[-1]
        problem = self._problems.get(intent.nonce)
        full = len(intent.attempts) >= MOST_ATTEMPTS
        if self._key is None or problem is SendProblem.INSUFFICIENT_FUNDS or full:
            await self._broadcast(intent)
            return
        if problem in HOPELESS:
            await self._broadcast(intent)
            problem = self._problems.get(intent.nonce)
            if problem not in HOPELESS:
                return
        before = FeeQuote(max_fee=last.max_fee, tip=last.tip, gas_price=last.gas_price)
        limits = self._chain.settings.fees
        cap = Wei(int(limits.max_fee_gwei * 10**9))
        higher = bump(before, await quote(self._chain), limits.bump_percent, cap)
        if higher is None:
            await self._broadcast(intent)
            return
        body, gas = body_of_raw(last.raw), last.gas
        if problem in HOPELESS:
            body, gas = Body(self.address, b"", Wei(0)), Gas(INTRINSIC_GAS)
        attempt = await self._attempt(self._envelope(intent.nonce, body, gas, higher))
        await self._store.add_attempt(self._lease, self.address, intent.nonce, attempt)
        replaced = replace(intent, attempts=(*intent.attempts, attempt))
        self._intents[intent.nonce] = replaced
        self._log.info(
            "transaction_replaced", nonce=intent.nonce, attempts=len(intent.attempts) + 1
        )
        self._metrics.transaction(self._chain.name, "replaced")
        await self._broadcast(replaced)

    def _settle_foreign(self, latest: int) -> None:
        if self._settle_until is None:
            return
        self._settle_until = BlockNumber(
            min(self._settle_until, self._head + FOREIGN_PENDING_BLOCKS)
        )
        if latest >= self._settle_to or self._head >= self._settle_until:
            self._settle_until = None

    def _envelope(self, nonce: int, body: Body, gas: Gas, fees: FeeQuote) -> Envelope:
        return Envelope(
            chain_id=self._chain.chain_id,
            nonce=nonce,
            to=body.to,
            value=body.value,
            data=body.data,
            gas=gas,
            fees=fees,
            access_list=body.access_list,
        )

    async def _attempt(self, envelope: Envelope) -> Attempt:
        assert self._key is not None  # without one there is no room and no replacement
        signed = await self._key.sign(envelope)
        return Attempt(
            hash=signed.hash,
            raw=signed.raw,
            max_fee=envelope.fees.max_fee,
            tip=envelope.fees.tip,
            gas_price=envelope.fees.gas_price,
            gas=envelope.gas,
            at=self._now(),
            block=self._head,
        )

    async def _broadcast(self, *intents: Intent) -> RpcRefused | None:
        """Send to every endpoint; a refusal is remembered for the next push, that of the last one
        answered."""
        if not intents:
            return None
        outcomes = await self._chain.send_raw([one.attempts[-1].raw for one in intents])
        vetoes = [self._note(*one) for one in zip(intents, outcomes, strict=True)]
        return vetoes[-1]

    def _note(self, intent: Intent, outcome: RelayerError | None) -> RpcRefused | None:
        self._problems.pop(intent.nonce, None)
        if not isinstance(outcome, RpcRefused):
            if outcome is not None:
                self._log.warning("broadcast_failed", error=str(outcome)[:300])
            return None
        problem = classify_send_error(outcome.text)
        if problem in (SendProblem.ALREADY_KNOWN, SendProblem.NONCE_TOO_LOW):
            return None
        self._problems[intent.nonce] = problem
        self._log.warning("broadcast_refused", problem=problem.value, error=str(outcome)[:300])
        self._metrics.transaction(self._chain.name, "refused")
        return outcome


def body_of_raw(raw: bytes) -> Body:
    """What a signed transaction of ours does, read back from its bytes (EIP-1559 or legacy)."""
    if raw[:1] == TYPE_2:
        _, _, _, _, _, to, value, payload, access, *_ = rlp.decode(raw[1:])
    elif raw[:1] == TYPE_1:
        _, _, _, _, to, value, payload, access, *_ = rlp.decode(raw[1:])
    else:
        _, _, _, to, value, payload, *_ = rlp.decode(raw)
        access = []
    return Body(
        to=Address("0x" + to.hex()),
        data=payload,
        value=Wei(int.from_bytes(value, "big")),
        access_list=tuple((Address("0x" + who.hex()), tuple(keys)) for who, keys in access),
    )
