"""Taking back what replaced blocks said: roll-back to a block, and starting a chain over."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from relayer.message import ChainId, MessageId, Status, TreeId
from relayer.store.batches import Batches
from relayer.store.keys import base
from relayer.store.leases import lease_text
from relayer.store.shapes import Cursor, Lease, RollbackResult
from relayer.store.wire import UndoPending, each

T = TypeVar("T")
UNDO_PAGE = 1000
_FACT = re.compile(r"[A-Z] \d{1,20} \S+ 0x[0-9a-f]{64}( [^\x00-\x1f]*)?")
"""`<kind> <chain of the record> <id> <block hash> <rest>`; see `facts._index_item`."""


class Undo(Batches):
    """Every write needs the follower's lease; what was cut short is finished by the next one."""

    async def rollback(self, lease: Lease, to: Cursor) -> RollbackResult:
        """Undo every fact of blocks above `to`, then stand there.

        The cursor goes down first, with a mark; while the mark stands nothing is saved, and
        whoever comes next finishes the work. `ReorgTooDeep` when `to` is below what is kept.
        """
        args = self._under(lease, block=str(to.block), hash=to.hash)
        self._undone[lease.chain] = self.undone(lease.chain) + 1
        async with self.turn(lease.chain):
            await self.run("undo_begin", lease.chain, args)
            return await self._finish_undo(lease)

    async def start_over(self, lease: Lease, to: Cursor) -> None:
        """Undo everything the chain ever said, and stand before its first block.

        Its messages are orphaned, or marked where they are on their way; deliveries on it are open
        again; trees and roots are empty. What the chain says anew brings them back.
        """
        args = self._under(lease, block=str(to.block), hash=to.hash, over=True)
        self._undone[lease.chain] = self.undone(lease.chain) + 1
        async with self.turn(lease.chain):
            await self.run("undo_begin", lease.chain, args)
            await self._finish_undo(lease)

    async def _undo_everywhere(self, lease: Lease) -> None:
        """All messages from the chain, and all deliveries on it, also those of forgotten blocks."""
        for place in await self.chains():
            for raw in await self.command("SMEMBERS", base(self._prefix, place) + "routes"):
                route = raw.decode("utf-8", "replace")
                if re.search(rf":({lease.chain}>\d+|\d+>{lease.chain})$", route):
                    for status in Status:
                        await self._undo_index(lease, place, route=route, status=status)
            await self._undo_stubs(lease, place)

    async def _undo_stubs(self, lease: Lease, place: ChainId) -> None:
        at = "0"
        while True:
            args = self._under(lease, cursor=at, limit=UNDO_PAGE)
            at = (await self.run("undo_stubs", place, args)).decode()
            if at == "0":
                return

    async def _undo_index(
        self, lease: Lease, place: ChainId, *, route: str, status: Status
    ) -> None:
        skip = 0
        while True:
            args = self._under(lease, route=route, status=status, skip=skip, limit=UNDO_PAGE)
            seen, kept = await self.run("undo_route_page", place, args)
            skip += int(kept)
            if int(seen) < UNDO_PAGE:
                return

    async def _finish_undo(self, lease: Lease) -> RollbackResult:
        result = RollbackResult()
        while members := await self.run(
            "undo_page", lease.chain, self._under(lease, limit=UNDO_PAGE)
        ):
            result = _added(result, await self._undo(lease, members))
        if await self.command("HEXISTS", base(self._prefix, lease.chain) + "cursor", "over"):
            await self._undo_everywhere(lease)
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
        texts = await self._facts_in(lease.chain, members)
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
                result,
                RollbackResult(0, message_ids(orphaned), message_ids(reopened), payments, roots),
            )
        return result

    async def _facts_in(self, chain: ChainId, members: Sequence[bytes]) -> list[str]:
        """The members that say what to undo; garbage among them is told of and removed."""
        garbage = [member for member in members if not _is_fact(member)]
        key = base(self._prefix, chain) + "facts"
        for member in garbage:
            self.tell_garbage(key, member, "it was removed")
        if garbage:
            await self.command("ZREM", key, *garbage)
        return [member.decode() for member in members if _is_fact(member)]

    async def _after_undo(self, lease: Lease, call: Callable[[], Awaitable[T]]) -> T:
        """Run a write; when an unfinished roll-back stands in its way, finish that first."""
        try:
            return await call()
        except UndoPending:
            await self._finish_undo(lease)
            return await call()

    def _under(self, lease: Lease, **args: object) -> dict[str, object]:
        """Script arguments with the lease they are made under."""
        return {
            "lease": lease_text(lease),
            "role": lease.role.value,
            "origin": str(lease.chain),
            "token": str(lease.token),
            **args,
        }


def _is_fact(member: bytes) -> bool:
    try:
        return _FACT.fullmatch(member.decode()) is not None
    except UnicodeDecodeError:
        return False


def message_ids(raw: Sequence[bytes]) -> tuple[MessageId, ...]:
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
