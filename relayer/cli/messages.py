"""Commands about messages: list them, show one, and tell the engine what to do with them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from relayer.acts import Selection, Verb, chain_id_of
from relayer.cli.acting import written_down
from relayer.cli.invocation import (
    OK,
    Invocation,
    common,
    exit_code,
    with_invocation,
)
from relayer.cli.invocation import table as table_of
from relayer.cli.types import ACCOUNT, ID_OR_TX, MESSAGE_ID, ROUTE, WholeNumber
from relayer.errors import IllegalTransition, UnknownRecord
from relayer.message import ChainId, MessageId, Reason, Record, Route, Status, TxHash
from relayer.ops.views import explanation, iso, next_wake_up, printable, record_view
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.store import Page, Store

MAX_LISTED = 1000
MAX_NAMED = 1000


def _words(kind: type[Status] | type[Reason]) -> click.Choice[str]:
    return click.Choice([word.value for word in kind])


@click.command(name="list")
@click.option("--status", type=_words(Status), help="Only messages with this status.")
@click.option("--route", type=ROUTE, help="Only messages of this route.")
@click.option("--reason", type=_words(Reason), metavar="REASON", help="Only with this reason.")
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


FILTERS = (
    click.option("--status", type=_words(Status), help="Only messages with this status."),
    click.option("--reason", type=_words(Reason), metavar="REASON", help="Only with this reason."),
    click.option("--route", type=ROUTE, help="Only messages of this route."),
    click.option("--bridge", help="Only messages of this bridge."),
    click.option("--origin", help="Only messages from this chain (name or id)."),
    click.option("--destination", help="Only messages to this chain (name or id)."),
    click.option("--sender", type=ACCOUNT, help="Only messages of this sender."),
    click.option("--recipient", type=ACCOUNT, help="Only messages to this recipient."),
    click.option("--dry-run", is_flag=True, help="Only say how many messages are meant."),
)


def _verb(verb: Verb, help_text: str) -> click.Command:
    """A command that makes the same transition on messages that are named, or selected."""

    @click.command(name=verb.value, help=help_text)
    @click.argument("message_ids", type=MESSAGE_ID, nargs=-1)
    @common
    @with_invocation
    def command(
        asked: Invocation, message_ids: tuple[MessageId, ...], dry_run: bool, **filters: Any
    ) -> None:
        if len(message_ids) > MAX_NAMED:
            raise click.UsageError(f"at most {MAX_NAMED} messages in one call")
        is_filtered = any(value is not None for value in filters.values())
        if bool(message_ids) == is_filtered or (message_ids and dry_run):
            raise click.UsageError(
                "give ids of messages, or filters such as --status, and not both"
            )
        settings = asked.settings()
        if message_ids:
            raise SystemExit(
                asked.run(_named(asked, settings, verb, list(dict.fromkeys(message_ids))))
            )
        selection = _selection(settings, filters)
        asked.run(_selected(asked, settings, verb, selection, dry_run=dry_run))

    for option in reversed(FILTERS):
        command = option(command)
    return command


hold = _verb(Verb.HOLD, "Hold messages until they are released.")
release = _verb(Verb.RELEASE, "Let held messages go on.")
retry = _verb(Verb.RETRY, "Take up waiting, held or dead messages again, now.")
drop = _verb(Verb.DROP, "Give messages up; `retry` takes them up again.")


@click.command()
@click.option("--route", type=ROUTE, help="Only messages of this route.")
@click.option("--reason", type=_words(Reason), metavar="REASON", help="Only with this reason.")
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


COMMANDS = (list_messages, show, dead, retry, hold, release, drop)


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


async def _named(
    asked: Invocation, settings: Settings, verb: Verb, ids: Sequence[MessageId]
) -> int:
    """Apply `verb` to each id; the answer is the exit code of the first one that failed."""
    async with opened_store(settings) as store:
        code, rows = await written_down(
            store,
            verb.value,
            {"ids": ids},
            _each_named(asked, store, verb, ids),
            told=lambda done: f"{sum(row['outcome'] == 'ok' for row in done[1])} changed",
        )
    cells = [(row["id"], row["outcome"]) for row in rows]
    asked.show({"verb": verb, "messages": rows}, table_of(("message", verb), cells))
    return code


async def _each_named(
    asked: Invocation, store: Store, verb: Verb, ids: Sequence[MessageId]
) -> tuple[int, list[dict[str, str]]]:
    code = OK
    rows: list[dict[str, str]] = []
    with asked.progress() as bar:
        for message_id in bar.track(ids, description=verb.value):
            try:
                await store.operate(verb, message_id)
                outcome = "ok"
            except (IllegalTransition, UnknownRecord) as error:
                outcome = printable(str(error), 300)
                code = code or exit_code(error)
            rows.append({"id": message_id, "outcome": outcome})
    return code, rows


async def _selected(
    asked: Invocation, settings: Settings, verb: Verb, selection: Selection, *, dry_run: bool
) -> None:
    """Apply `verb` to all that is selected, page by page, and say how many there were."""
    given = {name: getattr(selection, name) for name in selection.__dataclass_fields__}
    arguments = {name: str(value) for name, value in given.items() if value is not None}
    async with opened_store(settings) as store:
        work = _each_page(asked, store, verb, selection, dry_run=dry_run)
        if dry_run:
            done = await work
        else:
            done = await written_down(
                store,
                verb.value,
                arguments,
                work,
                told=lambda done: f"matched {done['matched']}, changed {done['changed']}",
            )
    would = "would be" if dry_run else f"{done['changed']} of them were"
    text = f"{done['matched']} messages match; {would} changed by {verb}"
    lines = [f"{one['id']}: {one['text']}" for one in done["refused"]]
    asked.show({"verb": verb, "dry_run": dry_run, **done}, Text("\n".join((text, *lines))))


async def _each_page(
    asked: Invocation, store: Store, verb: Verb, selection: Selection, *, dry_run: bool
) -> dict[str, Any]:
    matched = changed = 0
    refused: list[dict[str, str]] = []
    after: str | None = None
    with asked.progress() as bar:
        task = bar.add_task(verb.value, total=None)
        while True:
            page = await store.operate_all(verb, selection, dry_run=dry_run, after=after)
            matched, changed, after = matched + page.matched, changed + page.changed, page.after
            refused += [{"id": mid, "text": printable(why, 300)} for mid, why in page.refused]
            bar.update(task, completed=matched)
            if after is None:
                return {"matched": matched, "changed": changed, "refused": refused[:MAX_LISTED]}


def _selection(settings: Settings, filters: Mapping[str, Any]) -> Selection:
    chains = {name: ChainId(chain.id) for name, chain in settings.chains.items()}
    ends = {
        end: None if filters[end] is None else chain_id_of(f"--{end}", filters[end], chains)
        for end in ("origin", "destination")
    }
    status, reason = filters["status"], filters["reason"]
    return Selection(
        status=Status(status) if status else None,
        reason=Reason(reason) if reason else None,
        route=filters["route"],
        bridge=filters["bridge"],
        origin=ends["origin"],
        destination=ends["destination"],
        sender=filters["sender"],
        recipient=filters["recipient"],
    )


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
