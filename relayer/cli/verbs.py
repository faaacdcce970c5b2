"""`retry`, `hold`, `release`, `drop`: on messages that are named, or on all that are selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from relayer.acts import Selection, Verb, chain_id_of, unknown_bridge
from relayer.cli.acting import written_down
from relayer.cli.invocation import OK, Invocation, common, exit_code, with_invocation
from relayer.cli.invocation import table as table_of
from relayer.cli.messages import opened_store, words_of
from relayer.cli.naming import chains_of
from relayer.cli.types import ACCOUNT, MESSAGE_ID, ROUTE
from relayer.errors import IllegalTransition, UnknownRecord
from relayer.message import MessageId, Reason, Status
from relayer.ops.views import printable
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.store import Store

MAX_NAMED = 1000
MAX_REFUSED = 1000

FILTERS = (
    click.option("--status", type=words_of(Status), help="Only messages with this status."),
    click.option(
        "--reason", type=words_of(Reason), metavar="REASON", help="Only with this reason."
    ),
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
retry = _verb(
    Verb.RETRY, "Take up waiting, ready or dead messages again, now (`release` the held)."
)
drop = _verb(Verb.DROP, "Give messages up; `retry` takes them up again.")

COMMANDS = (retry, hold, release, drop)


async def _named(
    asked: Invocation, settings: Settings, verb: Verb, ids: Sequence[MessageId]
) -> int:
    """Apply `verb` to each id; the answer is the exit code of the first one that failed."""
    async with opened_store(settings) as store:
        code, rows = await written_down(
            settings,
            store,
            verb.value,
            {"ids": ids},
            _each_named(asked, store, verb, ids),
            told=_told_of_named,
            is_refused=lambda done: not any(row["outcome"] == "ok" for row in done[1]),
        )
    cells = [(row["id"], row["outcome"]) for row in rows]
    asked.show({"verb": verb, "messages": rows}, table_of(("message", verb), cells))
    return code


def _told_of_named(done: tuple[int, Sequence[Mapping[str, str]]]) -> str:
    """How many were changed, and why the first was not that was not."""
    outcomes = [row["outcome"] for row in done[1]]
    refused = [text for text in outcomes if text != "ok"]
    changed = f"{len(outcomes) - len(refused)} changed"
    return f"{changed}, {len(refused)} refused: {refused[0]}" if refused else changed


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
                settings,
                store,
                verb.value,
                arguments,
                work,
                told=lambda done: f"matched {done['matched']}, changed {done['changed']}",
            )
    _mind_the_unknown(settings, selection, matched=done["matched"])
    would = "would be" if dry_run else f"{done['changed']} of them were"
    text = f"{done['matched']} messages match; {would} changed by {verb}"
    lines = [f"{one['id']}: {one['text']}" for one in done["refused"]]
    asked.show({"verb": verb, "dry_run": dry_run, **done}, Text("\n".join((text, *lines))))


def _mind_the_unknown(settings: Settings, selection: Selection, *, matched: int) -> None:
    """Nothing matched, and the bridge is none of ours."""
    told = None if matched else unknown_bridge(selection, settings.bridges)
    if told is not None:
        click.echo(f"warning: {printable(told, 500)}", err=True)


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
                return {"matched": matched, "changed": changed, "refused": refused[:MAX_REFUSED]}


def _selection(settings: Settings, filters: Mapping[str, Any]) -> Selection:
    chains = chains_of(settings)
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
