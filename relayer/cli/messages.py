"""Commands that show messages: a list, one of them, the dead letters."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.table import Table

from relayer.acts import Selection
from relayer.cli.filters import OF_ROUTE, REASON, filtered, mind_the_unknown, selection
from relayer.cli.invocation import Invocation, Listing, common, way_on, with_invocation
from relayer.cli.invocation import table as table_of
from relayer.cli.types import ID_OR_TX, PAGE_MARK, WholeNumber
from relayer.errors import UnknownRecord
from relayer.message import BridgeName, MessageId, Reason, Record, Route, Status, TxHash, Where
from relayer.ops.views import explanation, iso, next_wake_up, printable, record_view
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.store import Page, Store

MAX_LISTED = 1000
AFTER = click.option(
    "--after", type=PAGE_MARK, help="Go on behind the mark that the page before ended with."
)


@click.command(name="list")
@filtered
@click.option("--oldest", is_flag=True, help="The oldest first.")
@click.option("--limit", type=WholeNumber(1, MAX_LISTED), default=50, show_default=True)
@AFTER
@common
@with_invocation
def list_messages(
    asked: Invocation, oldest: bool, limit: int, after: str | None, **filters: Any
) -> None:
    """List messages, newest first."""
    settings = asked.settings()
    chosen = selection(settings, filters)

    async def read() -> Page:
        async with opened_store(settings) as store:
            return await store.list(
                status=chosen.status,
                route=chosen.route,
                reason=chosen.reason,
                where=_where(chosen),
                limit=limit,
                after=after,
                oldest_first=oldest,
            )

    page = asked.run(read())
    records = [record for record in page.records if chosen.admits(record)]
    mind_the_unknown(settings, chosen, matched=len(records))
    views = [record_view(record) for record in records]
    asked.show({"messages": views, "after": page.after}, _page(_overview(records), page.after))


@click.command()
@click.argument("id_or_tx", type=ID_OR_TX)
@common
@with_invocation
def show(asked: Invocation, id_or_tx: str) -> None:
    """Show one message by its id, or the messages of a transaction."""
    settings = asked.settings()

    async def read() -> list[Record]:
        async with opened_store(settings) as store:
            record = await store.get(MessageId(id_or_tx))
            return [record] if record else list(await store.by_tx(TxHash(id_or_tx)))

    records = asked.run(read())
    if not records:
        raise UnknownRecord(
            f"{id_or_tx} is neither a known message nor a transaction of one;"
            " its block may not be final yet (`relayer backfill --chain NAME --tx HASH` reads it)"
        )
    views = [record_view(record) for record in records]
    parts = [part for record in records for part in _details(record)]
    asked.show(views[0] if len(views) == 1 else {"messages": views}, Group(*parts))


@click.command()
@OF_ROUTE
@REASON
@click.option("--limit", type=WholeNumber(1, MAX_LISTED), default=50, show_default=True)
@AFTER
@common
@with_invocation
def dead(
    asked: Invocation, route: Route | None, reason: str | None, limit: int, after: str | None
) -> None:
    """List the dead letters with their reason and evidence, newest first."""
    settings = asked.settings()

    async def read() -> Page:
        async with opened_store(settings) as store:
            return await store.list(
                status=Status.DEAD,
                route=route,
                reason=Reason(reason) if reason else None,
                limit=limit,
                after=after,
            )

    page = asked.run(read())
    views = [record_view(record) for record in page.records]
    rows = [
        (view["id"], view["route"], view["reason"], view["since"], _evidence(view))
        for view in views
    ]
    shown = Listing(("message", "route", "reason", "since", "evidence"), rows)
    asked.show({"messages": views, "after": page.after}, _page(shown, page.after))


COMMANDS = (list_messages, show, dead)


@contextlib.asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """The store of the configuration; a running relayer's private server is shared, not stopped."""
    from relayer.store import Store

    store = await Store.open(
        settings.redis,
        settings.data_dir,
        clock=time.time,
        retention_s=settings.retention_s,
        attach=True,
    )
    try:
        yield store
    finally:
        await store.aclose()


def _evidence(view: Mapping[str, Any]) -> str:
    told = ", ".join(f"{key}: {value}" for key, value in view["evidence"].items())
    return printable(told or str(view["explanation"]), 200)


def _where(chosen: Selection) -> Where:
    return Where(
        bridge=None if chosen.bridge is None else BridgeName(chosen.bridge),
        origin=chosen.origin,
        destination=chosen.destination,
        sender=chosen.sender,
        recipient=chosen.recipient,
    )


def _page(shown: Listing, after: str | None) -> Group:
    return Group(shown) if after is None else Group(shown, way_on(after))


def _overview(records: Sequence[Record]) -> Listing:
    return Listing(
        ("message", "route", "status", "reason", "since", "attempts", "next wake-up"),
        [
            (
                record.id,
                str(record.route),
                record.status.value,
                record.reason.value,
                iso(record.since),
                str(record.attempts),
                next_wake_up(record) or "-",
            )
            for record in records
        ],
    )


def _details(record: Record) -> list[Table]:
    view = record_view(record)
    facts = [
        ("message", record.id),
        ("route", view["route"]),
        ("status", f"{view['status']} ({view['reason']}) since {view['since']}"),
        ("why", explanation(record)),
        ("next wake-up", view["next_wake_up"] or "none is due"),
        ("attempts", str(record.attempts)),
        ("from", f"{view['sender']} in {view['origin_tx']} (block {view['origin_block']})"),
        ("to", view["recipient"]),
        ("carried by", record.tx or "no transaction yet"),
        ("paid", f"{record.payment.gas} gas, {record.payment.amount} wei"),
        *((f"evidence: {key}", value) for key, value in view["evidence"].items()),
    ]
    timeline = [
        (moment["at"], moment["status"], moment["reason"], moment["detail"])
        for moment in view["timeline"]
    ]
    return [table_of(("", ""), facts), table_of(("at", "status", "reason", "detail"), timeline)]
