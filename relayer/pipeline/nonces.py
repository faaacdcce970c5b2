"""One signer's window on one lane: nonces, stored intents, replacement, and what the chain says.

An intent (nonce, calls, raw bytes) is stored before it is broadcast, under the lane's lease, so a
crash at any point leaves something to look up on chain and nothing to send twice. The chain's own
nonce is compared with ours every tick, down as well as up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import rlp
import structlog

from relayer.chains import ChainClient
from relayer.chains.fees import FeeQuote, bump, quote
from relayer.chains.signers import Signer
from relayer.chains.transactions import Envelope, SendProblem, classify_send_error
from relayer.errors import EndpointsExhausted, RpcRefused
from relayer.message import Address, BlockNumber, Gas, MessageId, Timestamp, Wei
from relayer.pipeline.packing import INTRINSIC_GAS, Body
from relayer.store import Attempt, Intent, IntentCall, Lease, Store

TYPE_2 = b"\x02"
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
        signer: Signer,
        store: Store,
        lease: Lease,
        now: Callable[[], Timestamp],
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._store = store
        self._lease = lease
        self._now = now
        self._intents: dict[int, Intent] = {}
        self._next = 0
        self._mined = 0
        self._pushed_at: dict[int, int] = {}
        self._head = BlockNumber(0)
        self._settle_until: BlockNumber | None = None
        self._settle_to = 0
        self._log = structlog.get_logger("relayer").bind(
            agent="submitter", chain=chain.name, signer=signer.address
        )

    @property
    def address(self) -> Address:
        return self._signer.address

    @property
    def in_flight(self) -> int:
        return len(self._intents)

    def room(self) -> int:
        """Transactions that may be sent now."""
        if self._settle_until is not None:
            return 0
        return max(0, self._chain.settings.lane.window - len(self._intents))

    async def load(self) -> None:
        """Take over what the store remembers and compare it with the chain; send it again.

        Pending transactions of our signer that no intent explains (a wiped store) are given time
        to be mined before anything new is sent, so that nothing is paid twice.
        """
        for intent in await self._store.intents(self._lease.chain, self.address):
            self._intents[intent.nonce] = intent
        mined = self._mined = await self._chain.nonce(self.address, "latest")
        pending = await self._chain.nonce(self.address, "pending")
        self._head = (await self._chain.header("latest")).number
        self._next = max([mined, *(nonce + 1 for nonce in self._intents)])
        if pending > self._next:
            self._settle_to = pending
            self._settle_until = BlockNumber(self._head + FOREIGN_PENDING_BLOCKS)
            self._log.warning("unknown_pending_transactions", count=pending - self._next)
        for intent in self._intents.values():
            if intent.nonce >= mined:
                await self._broadcast(intent.attempts[-1].raw)

    async def send(
        self, body: Body, gas: Gas, message_ids: Sequence[MessageId], fees: FeeQuote
    ) -> list[MessageId]:
        """Store the intent, then broadcast it; returns the ids that the store refused."""
        envelope = self._envelope(self._next, body, gas, fees)
        head = await self._attempt(envelope)
        intent = Intent(
            signer=self.address,
            nonce=self._next,
            calls=tuple(IntentCall(message_id, "deliver") for message_id in message_ids),
            attempts=(head,),
            created_at=self._now(),
            purpose="deliver" if message_ids else "cancel",
        )
        refused = await self._store.reserve_intent(self._lease, intent, list(message_ids))
        if refused:
            return list(refused)
        self._intents[intent.nonce] = intent
        self._next += 1
        await self._broadcast(head.raw)
        return []

    async def mined(self, head: BlockNumber) -> list[Mined]:
        """Intents whose nonce is used on chain, each with the receipt of whichever attempt won."""
        self._head = head
        latest = await self._chain.nonce(self.address, "latest")
        self._mined = latest
        self._settle_foreign(latest)
        used = [intent for nonce, intent in sorted(self._intents.items()) if nonce < latest]
        self._next = max(self._next, latest)
        if not used:
            return []
        hashes = [attempt.hash for intent in used for attempt in intent.attempts]
        receipts = dict(zip(hashes, await self._chain.receipts(hashes), strict=True))
        found: list[Mined] = []
        for intent in used:
            won = [receipts[a.hash] for a in intent.attempts if receipts[a.hash] is not None]
            found.append(Mined(intent, won[0] if won else None))
        return found

    async def settle(self, mined: Mined, outcome: str) -> None:
        """Forget an intent whose outcome is written down on its messages."""
        nonce = mined.intent.nonce
        await self._store.settle_intent(self._lease, self.address, nonce, outcome)
        self._intents.pop(nonce, None)
        self._pushed_at.pop(nonce, None)

    async def push(self) -> None:
        """Fill nonce gaps below our own, then replace the lowest transaction when it is stuck."""
        if not self._intents:
            return
        for nonce in range(self._mined, max(self._intents)):
            if nonce not in self._intents:
                await self._send_cancel(nonce)
        stuck = self._intents[min(self._intents)]
        last_push = max(stuck.attempts[-1].block, self._pushed_at.get(stuck.nonce, 0))
        if self._head - last_push >= self._chain.settings.fees.replace_after_blocks:
            self._pushed_at[stuck.nonce] = self._head
            await self._replace(stuck)

    async def _send_cancel(self, nonce: int) -> None:
        fees = await quote(self._chain)
        body = Body(self.address, b"", Wei(0))
        head = await self._attempt(self._envelope(nonce, body, Gas(INTRINSIC_GAS), fees))
        intent = Intent(self.address, nonce, (), (head,), self._now(), "cancel")
        await self._store.reserve_intent(self._lease, intent, [])
        self._intents[nonce] = intent
        self._log.warning("nonce_gap_filled", nonce=nonce)
        await self._broadcast(head.raw)

    async def _replace(self, intent: Intent) -> None:
        """Same nonce, higher fees; the same bytes again when the fee cap leaves no room."""
        last = intent.attempts[-1]
        before = FeeQuote(max_fee=last.max_fee, tip=last.tip, gas_price=last.gas_price)
        limits = self._chain.settings.fees
        cap = Wei(int(limits.max_fee_gwei * 10**9))
        higher = bump(before, await quote(self._chain), limits.bump_percent, cap)
        if higher is None:
            await self._broadcast(last.raw)
            return
        attempt = await self._attempt(
            self._envelope(intent.nonce, body_of_raw(last.raw), last.gas, higher)
        )
        await self._store.add_attempt(self._lease, self.address, intent.nonce, attempt)
        self._intents[intent.nonce] = replace(intent, attempts=(*intent.attempts, attempt))
        self._log.info(
            "transaction_replaced", nonce=intent.nonce, attempts=len(intent.attempts) + 1
        )
        await self._broadcast(attempt.raw)

    def _settle_foreign(self, latest: int) -> None:
        if self._settle_until is None:
            return
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
        signed = await self._signer.sign(envelope)
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

    async def _broadcast(self, raw: bytes) -> None:
        """Send to every endpoint; a refusal is kept for the next push, never a new transaction."""
        try:
            await self._chain.send_raw(raw)
        except EndpointsExhausted as error:
            self._log.warning("broadcast_failed", error=str(error)[:300])
        except RpcRefused as error:
            problem = classify_send_error(error.text)
            if problem in (SendProblem.ALREADY_KNOWN, SendProblem.NONCE_TOO_LOW):
                return
            self._log.warning("broadcast_refused", problem=problem.value, error=str(error)[:300])


def body_of_raw(raw: bytes) -> Body:
    """What a signed transaction of ours does, read back from its bytes (EIP-1559 or legacy)."""
    if raw[:1] == TYPE_2:
        _, _, _, _, _, to, value, payload, access, *_ = rlp.decode(raw[1:])
    else:
        _, _, _, to, value, payload, *_ = rlp.decode(raw)
        access = []
    return Body(
        to=Address("0x" + to.hex()),
        data=payload,
        value=Wei(int.from_bytes(value, "big")),
        access_list=tuple((Address("0x" + who.hex()), tuple(keys)) for who, keys in access),
    )
