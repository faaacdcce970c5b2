"""The follower's side: facts with their undo index, the cursor, and roll-back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from relayer.errors import BadChainData
from relayer.message import (
    BlockHash,
    BlockNumber,
    ChainId,
    DeliverySeen,
    Fact,
    Gate,
    LeafAdded,
    MessageId,
    MessageSeen,
    PaymentSeen,
    ProgressSeen,
    RootSeen,
    Route,
    Timestamp,
)
from relayer.store import codec
from relayer.store.batches import BATCHES_KEPT
from relayer.store.keys import base
from relayer.store.shapes import Cursor, Delivery, Lease, SaveResult
from relayer.store.undo import Undo, message_ids
from relayer.store.wire import FactsVanished, each

REMEMBERED = 512
"""Scanned blocks kept with their hashes: how far back a replaced block can be undone."""
ROOTS_KEPT = 4096
BATCH_FACTS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""Bounds of one script call, so that Redis is never busy with one batch for long."""

Item = dict[str, object]


class Facts(Undo):
    """What chains said in blocks we hold final; every write needs the follower's lease."""

    async def cursor(self, chain: ChainId) -> Cursor | None:
        """The last block below which everything is stored; None before the first."""
        answer = await self.run("cursor", chain)
        if answer is None:
            return None
        return Cursor(BlockNumber(int(answer[0])), BlockHash(answer[1].decode()))

    async def remembered(self, chain: ChainId) -> list[Cursor]:
        """Scanned blocks with their hashes, newest first, at most 512."""
        key = base(self._prefix, chain) + "scanned"
        found: list[Cursor] = []
        for member in await self.command("ZREVRANGE", key, 0, -1):
            match = re.fullmatch(rb"(\d+) (0x[0-9a-f]{64})", member)
            if match is None:
                self.tell_garbage(key, member, "remove it with ZREM")
            else:
                found.append(Cursor(BlockNumber(int(match[1])), BlockHash(match[2].decode())))
        return found

    async def advance(self, lease: Lease, to: Cursor) -> None:
        """Move the cursor up; only after all facts and leaves at or below `to` are stored.

        Facts that a dead owner stored above the cursor and that were not seen again are undone
        first: their blocks were replaced meanwhile. `IllegalTransition` when `to` is lower.
        """
        args = self._under(lease, block=str(to.block), hash=to.hash, remembered=REMEMBERED)

        async def move() -> None:
            try:
                await self.run("advance", lease.chain, args)
            except FactsVanished:
                await self._undo_vanished(lease, to)
                await self.run("advance", lease.chain, args)

        async with self.turn(lease.chain):
            await self._after_undo(lease, move)

    async def save_facts(
        self, lease: Lease, facts: Sequence[Fact], *, as_of: int | None = None
    ) -> SaveResult:
        """Store facts of the lease's chain; repeating it changes nothing (leaves are skipped).

        `StaleEndpoint` when blocks were undone since `undone()` was `as_of`.

        First what must be undone if a block is replaced, in the followed chain's slot, then the
        records in their destinations' slots: a crash between repeats work and loses none.
        Facts of one message are applied in the given order.
        """
        kept = [fact for fact in facts if not isinstance(fact, LeafAdded)]
        if not kept:
            return SaveResult()
        for fact in kept:
            _require_ours(fact, lease.chain)
        places = {place for fact in kept if (place := _place(fact)) is not None}
        await self._register(places | {lease.chain})

        groups = {
            place: [_record_item(fact) for fact in kept if _place(fact) == place]
            for place in sorted(places)
        }
        async with self.turn(lease.chain):
            if as_of is not None:
                self.require_still(lease.chain, as_of)
            roots, numbers = await self._after_undo(lease, lambda: self._index(lease, kept))
            answers = await each(
                [
                    self._save_records(lease, place, items, number=numbers.get(place, ""))
                    for place, items in groups.items()
                ]
            )
        rooted = {lease.chain} if any(isinstance(fact, RootSeen) for fact in kept) else set()
        return _merged(answers, roots=roots, woken=frozenset(places | rooted))

    async def _index(self, lease: Lease, facts: Sequence[Fact]) -> tuple[int, dict[ChainId, str]]:
        """Roots that were new, and the number of each batch that goes to another slot."""
        spans = _spans(facts, lease.chain)
        batches = [[str(place), blocks] for place, blocks in spans.items()]
        raised, numbers = 0, dict.fromkeys(spans, "")
        for part in _batches([_index_item(fact) for fact in facts], _item_size):
            args = self._under(lease, items=part, roots_kept=ROOTS_KEPT)
            args |= {"batches": batches, "batches_kept": BATCHES_KEPT}
            some, given = await self.run("index_facts", lease.chain, args)
            raised += int(some)
            numbers = dict(zip(spans, (number.decode() for number in given), strict=True))
        return raised, numbers

    async def _save_records(
        self, lease: Lease, place: ChainId, items: Sequence[Item], *, number: str = ""
    ) -> list[list[Any]]:
        """One slot's records; the batch's number is written with the last of them."""
        parts = list(_batches(items, _item_size))
        numbers = [*[""] * (len(parts) - 1), number]
        return [
            await self.run("save_records", place, self._under(lease, items=part, batch=batch))
            for part, batch in zip(parts, numbers, strict=True)
        ]

    async def roots(self, chain: ChainId, gate: Gate) -> int | None:
        """The highest level of the gate's accepted roots on `chain`; None when there is none."""
        best = await self.best_root(chain, gate)
        return None if best is None else best.level

    async def best_root(self, chain: ChainId, gate: Gate) -> RootSeen | None:
        """The accepted root with the highest level."""
        return await self._root(chain, gate, ("ZREVRANGE", 0, 0))

    async def root_at(self, chain: ChainId, gate: Gate, level: int) -> RootSeen | None:
        """The accepted root with the lowest level that is at least `level`."""
        bounds = ("ZRANGEBYSCORE", codec.score(level), "+inf", "LIMIT", 0, 1)
        return await self._root(chain, gate, bounds)

    async def _root(
        self, chain: ChainId, gate: Gate, query: tuple[str | int, ...]
    ) -> RootSeen | None:
        key = f"{base(self._prefix, chain)}root:{gate}"
        members = await self.command(query[0], key, *query[1:])
        return codec.root_from(gate, members[0], key=key) if members else None


def _require_ours(fact: Fact, chain: ChainId) -> None:
    if fact.at.chain != chain:
        raise BadChainData(f"a fact of chain {fact.at.chain} under the lease of chain {chain}")
    name = str(fact.gate) if isinstance(fact, RootSeen) else _message_id(fact)
    if not re.fullmatch(r"[^\x00-\x1f]{1,256}" if isinstance(fact, RootSeen) else r"\S+", name):
        raise BadChainData(f"a {type(fact).__name__} of chain {chain} has a malformed id {name!r}")


def _message_id(fact: Fact) -> MessageId:
    if isinstance(fact, MessageSeen):
        return fact.message.id
    if isinstance(fact, DeliverySeen | PaymentSeen | ProgressSeen):
        return fact.message_id
    raise BadChainData(f"{type(fact).__name__} is not about a message")


def _place(fact: Fact) -> ChainId | None:
    """The chain whose slot holds the fact's record; None for roots, which stay where seen."""
    match fact:
        case MessageSeen():
            return fact.message.route.destination
        case DeliverySeen():
            return fact.at.chain
        case PaymentSeen() | ProgressSeen():
            return fact.destination
        case _:
            return None


def _spans(facts: Sequence[Fact], home: ChainId) -> dict[ChainId, str]:
    """`<first block> <last block>` of the facts for each other slot."""
    blocks: dict[ChainId, list[int]] = {}
    for fact in facts:
        place = _place(fact)
        if place is not None and place != home:
            blocks.setdefault(place, []).append(fact.at.block)
    return {place: f"{min(found)} {max(found)}" for place, found in sorted(blocks.items())}


def _index_item(fact: Fact) -> Item:
    """`member` is `<kind> <chain of the record> <id> <block hash> <rest>`."""
    at = fact.at
    if isinstance(fact, RootSeen):
        return {
            "member": f"R {at.chain} - {at.block_hash} {fact.gate}",
            "block": str(at.block),
            "gate": str(fact.gate),
            "level": codec.score(fact.level),
            "root": codec.root_text(fact),
        }
    kind = type(fact).__name__[0] if not isinstance(fact, ProgressSeen) else "G"
    rest = f" {at.tx}:{at.log_index}" if isinstance(fact, PaymentSeen | ProgressSeen) else ""
    member = f"{kind} {_place(fact)} {_message_id(fact)} {at.block_hash}{rest}"
    return {"member": member, "block": str(at.block)}


def _record_item(fact: Fact) -> Item:
    at = fact.at
    item: Item = {"id": _message_id(fact), "at": codec.ref_text(at), "tx": at.tx}
    match fact:
        case MessageSeen():
            route = str(fact.message.route)
            return {
                **item,
                "kind": "M",
                "route": route,
                "message": codec.message_text(fact.message),
                "named": fact.message.inbox_id or "",
            }
        case DeliverySeen():
            return {**item, "kind": "D"}
        case PaymentSeen():
            paid = [str(at.block), str(fact.gas), str(fact.amount), str(at.chain)]
            return {**item, "kind": "P", "key": f"{at.tx}:{at.log_index}", "paid": paid}
        case ProgressSeen():
            line = f"{codec.detail_text(fact.what)} in {at.tx}:{at.log_index}"
            return {**item, "kind": "G", "line": line}
    raise BadChainData(f"{type(fact).__name__} is not about a message")


def _item_size(item: Item) -> int:
    return len(str(item.get("message", ""))) + 400


def _batches(items: Sequence[Item], size: Callable[[Item], int]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    total = 0
    for item in items:
        if batch and (len(batch) >= BATCH_FACTS or total + size(item) > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size(item)
    if batch:
        yield batch


def _merged(answers: list[Any], *, roots: int, woken: frozenset[ChainId]) -> SaveResult:
    created: list[MessageId] = []
    delivered: list[Delivery] = []
    unreadable: list[str] = []
    contradicted: list[MessageId] = []
    payments = 0
    for created_ids, delivered_rows, paid, bad, otherwise in (
        row for answer in answers for row in answer
    ):
        created.extend(message_ids(created_ids))
        delivered.extend(_delivery(row) for row in delivered_rows)
        payments += paid
        unreadable.extend(text.decode("utf-8", "replace") for text in bad)
        contradicted.extend(message_ids(otherwise))
    return SaveResult(
        new_messages=tuple(created),
        new_deliveries=tuple(delivered),
        payments=payments,
        roots=roots,
        woken=woken,
        unreadable=tuple(unreadable),
        contradicted=tuple(contradicted),
    )


def _delivery(row: Sequence[bytes]) -> Delivery:
    message_id, route, by_us, seen_at = (part.decode() for part in row)
    return Delivery(
        MessageId(message_id), Route.parse(route), by_us == "1", Timestamp(float(seen_at))
    )
