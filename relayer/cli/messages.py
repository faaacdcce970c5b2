"""Commands that show messages: a list, one of them, the dead letters."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from relayer.cli.invocation import (
    Invocation,
    common,
    with_invocation,
)
from relayer.cli.invocation import table as table_of
from relayer.cli.types import ID_OR_TX, ROUTE, WholeNumber
from relayer.errors import UnknownRecord
from relayer.message import MessageId, Reason, Record, Route, Status, TxHash
from relayer.ops.views import explanation, iso, next_wake_up, printable, record_view
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.store import Page, Store

MAX_LISTED = 1000


def words_of(kind: type[Status] | type[Reason]) -> click.Choice[str]:
    """The values of an enumeration as a choice, without the status that is never stored."""
    return click.Choice([word.value for word in kind if word is not Status.SEEN])


@click.command(name="list")
@click.option("--status", type=words_of(Status), help="Only messages with this status.")
@click.option("--route", type=ROUTE, help="Only messages of this route.")
@click.option("--reason", type=words_of(Reason), metavar="REASON", help="Only with this reason.")
@click.option("--limit", type=WholeNumber(1, MAX_LISTED), default=50, show_default=True)
@click.option("--after", help="Go on behind the mark that the page before ended with.")
@common
@with_invocation
def list_messages(
    asked: Invocation,
    status: str | None,
    route: Route | None,
    reason: str | None,
    limit: int,
    after: str | None,
) -> None:
    """List messages, newest first."""
    settings = asked.settings()

    async def read() -> Any:
        async with opened_store(settings) as store:
            return await store.list(
                status=Status(status) if status else None,
                route=route,
                reason=Reason(reason) if reason else None,
                limit=limit,
                after=after,
            )

    page = asked.run(read())
    shown: Group | Table = _overview(page.records)
    if page.after is not None:
        shown = Group(shown, Text(f"More: --after {page.after}"))
    views = [record_view(record) for record in page.records]
    asked.show({"messages": views, "after": page.after}, shown)


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
@click.option("--route", type=ROUTE, help="Only messages of this route.")
@click.option("--reason", type=words_of(Reason), metavar="REASON", help="Only with this reason.")
@click.option("--limit", type=WholeNumber(1, MAX_LISTED), default=50, show_default=True)
@click.option("--after", help="Go on behind the mark that the page before ended with.")
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
    shown: Group | Table = table_of(("message", "route", "reason", "since", "evidence"), rows)
    if page.after is not None:
        shown = Group(shown, Text(f"more with --after {page.after!r}"))
    asked.show({"messages": views, "after": page.after}, shown)


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


def _overview(records: Sequence[Record]) -> Table:
    return table_of(
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
