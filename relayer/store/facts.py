"""The follower's side: facts with their undo index, the cursor, and roll-back."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

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
    TreeId,
)
from relayer.store import codec
from relayer.store.keys import base
from relayer.store.leases import lease_text
from relayer.store.shapes import Cursor, Delivery, Lease, RollbackResult, SaveResult
from relayer.store.wire import FactsVanished, UndoPending, Wire, each

T = TypeVar("T")
REMEMBERED = 512
"""Scanned blocks kept with their hashes: how far back a replaced block can be undone."""
ROOTS_KEPT = 4096
BATCH_FACTS = 500
BATCH_BYTES = 4 * 1024 * 1024
"""Bounds of one script call, so that Redis is never busy with one batch for long."""
UNDO_PAGE = 1000

Item = dict[str, object]


class Facts(Wire):
    """What chains said in blocks we hold final; every write needs the follower's lease."""

    async def cursor(self, chain: ChainId) -> Cursor | None:
        """The last block below which everything is stored; None before the first."""
        answer = await self.run("cursor", chain)
        if answer is None:
            return None
        return Cursor(BlockNumber(int(answer[0])), BlockHash(answer[1].decode()))

    async def remembered(self, chain: ChainId) -> list[Cursor]:
        """Scanned blocks with their hashes, newest first, at most 512."""
        members = await self.command("ZREVRANGE", base(self._prefix, chain) + "scanned", 0, -1)
        pairs = (member.decode().split(" ") for member in members)
        return [Cursor(BlockNumber(int(block)), BlockHash(digest)) for block, digest in pairs]

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

    async def save_facts(self, lease: Lease, facts: Sequence[Fact]) -> SaveResult:
        """Store facts of the lease's chain; repeating it changes nothing (leaves are skipped).

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

        async def index() -> int:
            raised = 0
            for batch in _batches([_index_item(fact) for fact in kept], _item_size):
                args = self._under(lease, items=batch, roots_kept=ROOTS_KEPT)
                raised += int(await self.run("index_facts", lease.chain, args))
            return raised

        groups = {
            place: [_record_item(fact) for fact in kept if _place(fact) == place]
            for place in sorted(places)
        }
        async with self.turn(lease.chain):
            roots = await self._after_undo(lease, index)
            answers = await each(
                [self._save_records(lease, place, items) for place, items in groups.items()]
            )
        rooted = {lease.chain} if any(isinstance(fact, RootSeen) for fact in kept) else set()
        return _merged(answers, roots=roots, woken=frozenset(places | rooted))

    async def _save_records(
        self, lease: Lease, place: ChainId, items: Sequence[Item]
    ) -> list[list[Any]]:
        return [
            await self.run("save_records", place, self._under(lease, items=batch))
            for batch in _batches(items, _item_size)
        ]

    async def rollback(self, lease: Lease, to: Cursor) -> RollbackResult:
        """Undo every fact of blocks above `to`, then stand there.

        The cursor goes down first, with a mark; while the mark stands nothing is saved, and
        whoever comes next finishes the work. `ReorgTooDeep` when `to` is below what is kept.
        """
        args = self._under(lease, block=str(to.block), hash=to.hash)
        async with self.turn(lease.chain):
            await self.run("undo_begin", lease.chain, args)
            return await self._finish_undo(lease)

    async def _finish_undo(self, lease: Lease) -> RollbackResult:
        result = RollbackResult()
        while members := await self.run(
            "undo_page", lease.chain, self._under(lease, limit=UNDO_PAGE)
        ):
            result = _added(result, await self._undo(lease, members))
        trees = await self.run("undo_finish", lease.chain, self._under(lease))
        cut = {TreeId(name.decode()): int(size) for name, size in trees}
        return RollbackResult(
            result.facts, result.orphaned, result.reopened, result.payments, result.roots, cut
        )

    async def _undo_vanished(self, lease: Lease, to: Cursor) -> None:
        while members := await self.run(
            "vanished", lease.chain, self._under(lease, block=str(to.block), limit=UNDO_PAGE)
        ):
            await self._undo(lease, members)

    async def _undo(self, lease: Lease, members: Sequence[bytes]) -> RollbackResult:
        """Undo one page in its slots, then forget it in the index."""
        texts = [member.decode() for member in members]
        groups: dict[ChainId, list[str]] = {}
        for text in texts:
            groups.setdefault(ChainId(int(text.split(" ", 2)[1])), []).append(text)
        answers = await each(
            [
                self.run("undo_records", place, self._under(lease, items=group))
                for place, group in groups.items()
            ]
        )
        await self.run("undo_forget", lease.chain, self._under(lease, items=texts))
        result = RollbackResult(facts=len(texts))
        for orphaned, reopened, payments, roots in answers:
            result = _added(
                result, RollbackResult(0, _ids(orphaned), _ids(reopened), payments, roots)
            )
        return result

    async def _after_undo(self, lease: Lease, call: Callable[[], Awaitable[T]]) -> T:
        """Run a write; when an unfinished roll-back stands in its way, finish that first."""
        try:
            return await call()
        except UndoPending:
            await self._finish_undo(lease)
            return await call()

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

    def _under(self, lease: Lease, **args: object) -> Mapping[str, object]:
        """Script arguments with the lease they are made under."""
        return {
            "lease": lease_text(lease),
            "role": lease.role.value,
            "origin": str(lease.chain),
            "token": str(lease.token),
            **args,
        }


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
            paid = [str(at.block), str(fact.gas), str(fact.amount)]
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
    payments = 0
    for created_ids, delivered_rows, paid, bad in (row for answer in answers for row in answer):
        created.extend(_ids(created_ids))
        delivered.extend(_delivery(row) for row in delivered_rows)
        payments += paid
        unreadable.extend(text.decode("utf-8", "replace") for text in bad)
    return SaveResult(tuple(created), tuple(delivered), payments, roots, woken, tuple(unreadable))


def _delivery(row: Sequence[bytes]) -> Delivery:
    message_id, route, by_us, seen_at = (part.decode() for part in row)
    return Delivery(
        MessageId(message_id), Route.parse(route), by_us == "1", Timestamp(float(seen_at))
    )


def _ids(raw: Sequence[bytes]) -> tuple[MessageId, ...]:
    return tuple(MessageId(item.decode()) for item in raw)


def _added(one: RollbackResult, two: RollbackResult) -> RollbackResult:
    return RollbackResult(
        one.facts + two.facts,
        one.orphaned + two.orphaned,
        one.reopened + two.reopened,
        one.payments + two.payments,
        one.roots + two.roots,
        {**one.trees, **two.trees},
    )
