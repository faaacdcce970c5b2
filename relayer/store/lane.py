"""The lane's side: due messages, what was found out about them, and the intents of its signers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from relayer.adapter import Refuse, Wait
from relayer.errors import SchemaMismatch
from relayer.message import (
    Address,
    BlockNumber,
    ChainId,
    Gate,
    MessageId,
    Reason,
    Record,
    Timestamp,
    TxHash,
)
from relayer.store import codec
from relayer.store.keys import base
from relayer.store.leases import lease_text
from relayer.store.shapes import Attempt, Charge, Failure, Intent, Lease, Settlement
from relayer.store.wire import Wire

log = structlog.get_logger()

Item = dict[str, object]
GATE_PAGE = 1000
OVERDUE_PAGE = 1000
TRIM_PAGE = 200
"""Finished records forgotten per claim: more than a lane finishes between two claims."""
NOTE_PAGE = 500
RECALL_PAGE = 500
SPENT_KEPT_S = 3 * 86400
MOST_SLEEP_S, CLOCKS_DIFFER_S = 7200.0, 600.0
"""Nothing is put off for longer at once: what is due later still was put off by a wrong clock."""


class Lane(Wire):
    """Every write needs the lane's lease and is refused whole with `LeaseLost` without it.

    The `note_*` methods return the ids they left alone because the message had moved on
    meanwhile (delivered, orphaned, held): that is a race lost, not an error.
    """

    async def claim_due(
        self, lease: Lease, now: float, limit: int, visibility_s: float
    ) -> list[Record]:
        """Whole records that are due, fairly over routes, hidden for `visibility_s`.

        Whoever dies with them repeats work: they are due again when the time has passed, or when
        the lane's next holder recalls them.
        Records that cannot be read are left out and pushed on; `get` tells what is wrong.
        """
        answer = await self.run(
            "claim_due",
            lease.chain,
            self._held(
                lease,
                due=codec.time_text(now),
                until_=codec.time_text(now + visibility_s),
                far=codec.time_text(now + MOST_SLEEP_S + CLOCKS_DIFFER_S),
                limit=limit,
                trim=TRIM_PAGE,
            ),
        )
        records: list[Record] = []
        for raw_id, flat in answer:
            message_id = raw_id.decode()
            key = f"{base(self._prefix, lease.chain)}message:{message_id}"
            record = codec.record_or_none(message_id, flat, key=key)
            if record is None:
                log.error("record_unreadable", key=key)
            else:
                records.append(record)
        return records

    async def recall(self, lease: Lease, keep: Sequence[MessageId] = ()) -> int:
        """Make due now what was claimed and not written down since, but for `keep`; how many."""
        args = self._held(lease, keep=list(keep), limit=RECALL_PAGE)
        recalled = kept = 0
        while True:
            page = await self.run("recall", lease.chain, {**args, "skip": kept})
            seen, left = int(page[0]), int(page[1])
            recalled += seen - left
            kept += left
            if seen < RECALL_PAGE:
                return recalled

    async def waiting_gates(self, chain: ChainId) -> list[Gate]:
        """Gates that at least one of the lane's messages waits on."""
        members = await self.command("SMEMBERS", base(self._prefix, chain) + "gates")
        return [codec.gate_from(member.decode()) for member in sorted(members)]

    async def open_gate(self, lease: Lease, gate: Gate, level: int | None) -> int:
        """Make due what waits on the gate up to `level` (None: everything); how many."""
        top = "+inf" if level is None else codec.score(level)
        args = self._held(lease, gate=str(gate), level=top, limit=GATE_PAGE)
        total = 0
        while True:
            opened = int(await self.run("open_gate", lease.chain, args))
            total += opened
            if opened < GATE_PAGE:
                return total

    # --- what was found out ------------------------------------------------------------------

    async def note_waits(
        self, lease: Lease, waits: Sequence[tuple[MessageId, Wait]], *, refused: bool = False
    ) -> list[MessageId]:
        """Not yet: wakes at its gate or after `recheck_s`; costs no attempt.

        `refused`: it is what a failed simulation asks for.
        """
        items = [{**self._wait(mid, wait), "refused": refused} for mid, wait in waits]
        return await self._note(lease, "wait", items)

    def _wait(self, message_id: MessageId, wait: Wait) -> Item:
        item: Item = {
            "id": message_id,
            "reason": wait.reason.value,
            "detail": codec.detail_text(wait.detail),
            "wake_at": self._wake(min(MOST_SLEEP_S, max(0.0, wait.recheck_s))),
        }
        if wait.disproved:
            item["disproved"] = True
        if wait.gate is not None:
            item |= {
                "gate": str(wait.gate),
                "gate_value": str(wait.gate_value),
                "gate_score": codec.score(wait.gate_value),
            }
        if wait.clocks:
            clocks = {clock.name: codec.time_text(clock.at) for clock in wait.clocks}
            item["clocks"] = codec.evidence_text(clocks)
        return item

    async def note_ready(
        self, lease: Lease, ids: Sequence[MessageId], *, visibility_s: float | None = None
    ) -> list[MessageId]:
        """Proved and handed to the submitter; claimed again when the claim's time has passed.

        `visibility_s` hides it for that long from now instead.
        """
        wake = {} if visibility_s is None else {"wake_at": self._wake(visibility_s)}
        return await self._note(lease, "ready", [{"id": mid, **wake} for mid in ids])

    async def note_refused(
        self, lease: Lease, refusals: Sequence[tuple[MessageId, Refuse, Mapping[str, str]]]
    ) -> list[MessageId]:
        """Never, or not without a person: `dead` or `held` with its reason and evidence."""
        items = [
            {**_finding(mid, refuse.reason, refuse.detail, evidence), "dead": refuse.dead}
            for mid, refuse, evidence in refusals
        ]
        return await self._note(lease, "refused", items)

    async def note_failures(self, lease: Lease, failures: Sequence[Failure]) -> list[MessageId]:
        """Failed attempts: tried again at their `wake_at`, attempts + 1, or dead without one."""
        items = [_failure(failure) for failure in failures]
        again = [item for item in items if item["step"] == "retry"]
        dead = [item for item in items if item["step"] == "refused"]
        return [
            *await self._note(lease, "retry", again),
            *await self._note(lease, "refused", dead),
        ]

    async def note_included(
        self,
        lease: Lease,
        included: Sequence[tuple[MessageId, BlockNumber, TxHash | None, bool, str]],
    ) -> list[MessageId]:
        """Delivery seen in a block not final yet: (id, block, tx, by_us, detail)."""
        return await self._note(lease, "included", [_inclusion(*one) for one in included])

    async def note_delivered(
        self,
        lease: Lease,
        delivered: Sequence[tuple[MessageId, BlockNumber, TxHash | None, bool, str]],
    ) -> list[MessageId]:
        """Delivered by a view read at a final block, where no event will come (same shape)."""
        return await self._note(lease, "delivered", [_inclusion(*one) for one in delivered])

    async def overdue_included(
        self, chain: ChainId, final_block: BlockNumber, *, limit: int = OVERDUE_PAGE
    ) -> list[MessageId]:
        """Ids included at or below a final block that no delivery fact has confirmed."""
        return await self._included(chain, "-inf", codec.score(final_block), limit)

    async def included_beyond(
        self, chain: ChainId, block: BlockNumber, *, limit: int = OVERDUE_PAGE
    ) -> list[MessageId]:
        """Ids included above a block."""
        return await self._included(chain, f"({codec.score(block)}", "+inf", limit)

    async def _included(self, chain: ChainId, first: str, last: str, limit: int) -> list[MessageId]:
        key = base(self._prefix, chain) + "included"
        return _ids(await self.command("ZRANGEBYSCORE", key, first, last, "LIMIT", 0, limit))

    async def doubted(self, chain: ChainId, before: Timestamp, *, limit: int) -> list[MessageId]:
        """Ids that only a log made `delivered`, before a time, longest ago first."""
        key = base(self._prefix, chain) + "doubted"
        bounds = ("-inf", codec.time_text(before), "LIMIT", 0, limit)
        return _ids(await self.command("ZRANGEBYSCORE", key, *bounds))

    async def note_looked(
        self,
        lease: Lease,
        sure: Sequence[MessageId],
        *,
        wrong: Sequence[MessageId],
        unsure: Sequence[MessageId],
    ) -> list[MessageId]:
        """What the inbox says of them; returns those that were not delivered and wait again."""
        args = self._held(lease, sure=list(sure), wrong=list(wrong), unsure=list(unsure))
        return _ids(await self.run("note_looked", lease.chain, args))

    async def reopen(
        self, lease: Lease, ids: Sequence[MessageId], reason: Reason
    ) -> list[MessageId]:
        """Wait again, due now: what was included or submitted did not become final."""
        items: list[Item] = [{"id": mid, "reason": reason.value} for mid in ids]
        return await self._note(lease, "reopen", items)

    async def _note(self, lease: Lease, step: str, items: Sequence[Item]) -> list[MessageId]:
        refused: list[MessageId] = []
        for start in range(0, len(items), NOTE_PAGE):
            args = self._held(lease, step=step, items=list(items[start : start + NOTE_PAGE]))
            refused += _ids(await self.run("note", lease.chain, args))
        return refused

    # --- intents -----------------------------------------------------------------------------

    async def signers(self, chain: ChainId) -> list[Address]:
        """Everybody whose intents on the chain are not settled, also former signers of ours."""
        members = await self.command("SMEMBERS", base(self._prefix, chain) + "signers")
        return sorted(Address(member.decode()) for member in members)

    async def intents(self, chain: ChainId, signer: Address) -> list[Intent]:
        """The signer's unsettled intents by nonce."""
        key = f"{base(self._prefix, chain)}intents:{signer.lower()}"
        flat = await self.run("intents", chain, {"signer": signer.lower()})
        return codec.intents_from(signer, flat, key=key)

    async def reserve_intent(
        self, lease: Lease, intent: Intent, ids: Sequence[MessageId]
    ) -> list[MessageId]:
        """Store the intent and make its messages `submitted`, all or nothing.

        Returns the ids that stand in the way (in another live intent, or neither ready nor
        waiting): nothing is written then. `IllegalTransition` when the nonce is taken by
        another intent; repeating the same intent is fine.
        """
        attempts = [codec.attempt_text(attempt) for attempt in intent.attempts]
        args = self._held(
            lease,
            signer=intent.signer.lower(),
            nonce=str(intent.nonce),
            intent=codec.intent_text(intent),
            hashes=[attempt.hash for attempt in intent.attempts],
            ids=list(dict.fromkeys(ids)),
            spend=_spending(intent.charge, intent.charge.gwei if intent.charge else {}),
        )
        blobs = [text.encode() for text in attempts]
        return _ids(await self.run("reserve_intent", lease.chain, args, blobs=blobs))

    async def add_attempt(
        self, lease: Lease, signer: Address, nonce: int, attempt: Attempt
    ) -> None:
        """Keep a replacement before it is broadcast; `UnknownRecord` without the intent."""
        args = self._held(lease, signer=signer.lower(), nonce=str(nonce), hash=attempt.hash)
        blob = codec.attempt_text(attempt).encode()
        await self.run("add_attempt", lease.chain, args, blobs=[blob])

    async def settle(
        self, lease: Lease, signer: Address, nonce: int, settlement: Settlement
    ) -> list[MessageId] | None:
        """Write down what became of an intent, book its cost and forget it: all in one step.

        Messages without an outcome that are still `submitted` wait again, due now; returns those.
        None, and nothing is written, when the intent is not there: repeating is safe.
        """
        inclusion, charge = settlement.inclusion, settlement.charge
        items: list[Item] = [_failure(failure) for failure in settlement.failures]
        if inclusion is not None:
            items += [
                {"step": "included", **_inclusion(mid, inclusion.block, inclusion.tx, True, "")}
                for mid in inclusion.ids
            ]
        args = self._held(
            lease,
            signer=signer.lower(),
            nonce=str(nonce),
            reason=settlement.reason.value,
            detail=codec.detail_text(settlement.detail),
            items=items,
            costs={
                str(route): [str(cost.wei), str(cost.gas), str(cost.txs)]
                for route, cost in settlement.costs.items()
            },
            income={str(route): str(wei) for route, wei in settlement.incomes.items()},
            paid={str(route): str(wei) for route, wei in settlement.paid.items()},
            spend=_spending(charge, charge.corrected(settlement.cost) if charge else {}),
        )
        answer = await self.run("settle", lease.chain, args)
        return None if answer is None else _ids(answer)

    async def spent(self, chain: ChainId, day: str, budgets: Sequence[str]) -> dict[str, int]:
        """Gwei taken out of each budget on a day, transactions in flight as expected."""
        if not budgets:
            return {}
        key = f"{base(self._prefix, chain)}spent:{day}"
        found = await self.command("HMGET", key, *budgets)
        try:
            return {name: int(sum_ or 0) for name, sum_ in zip(budgets, found, strict=True)}
        except ValueError:
            raise SchemaMismatch(f"the key {key} does not hold sums") from None

    def _wake(self, after_s: float) -> str:
        return codec.time_text(self._clock() + after_s)

    def _held(self, lease: Lease, **args: object) -> Mapping[str, object]:
        return {"lease": lease_text(lease), "role": lease.role.value, **args}


def _spending(charge: Charge | None, gwei: Mapping[str, int]) -> Mapping[str, object]:
    return {"day": charge.day if charge else "", "gwei": dict(gwei), "kept_s": SPENT_KEPT_S}


def _finding(
    message_id: MessageId, reason: Reason, detail: str, evidence: Mapping[str, str]
) -> Item:
    return {
        "id": message_id,
        "reason": reason.value,
        "detail": codec.detail_text(detail),
        "evidence": codec.evidence_text(evidence),
    }


def _failure(failure: Failure) -> Item:
    """The item of a failed attempt, with the step it takes."""
    item = _finding(failure.id, failure.reason, failure.detail, failure.evidence)
    if failure.wake_at is None:
        return {**item, "step": "refused", "dead": True, "spent": True}
    wake_at = codec.time_text(failure.wake_at)
    return {**item, "step": "retry", "wake_at": wake_at, "alone": failure.alone}


def _inclusion(
    message_id: MessageId, block: BlockNumber, tx: TxHash | None, by_us: bool, detail: str
) -> Item:
    return {
        "id": message_id,
        "block": codec.score(block),
        "tx": tx or "",
        "by_us": by_us,
        "detail": codec.detail_text(detail),
    }


def _ids(raw: Iterable[Any]) -> list[MessageId]:
    return [MessageId(item.decode()) for item in raw]
