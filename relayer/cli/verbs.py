"""`retry`, `hold`, `release`, `drop`: on messages that are named, or on all that are selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from relayer.acts import Selection, Verb
from relayer.cli.acting import written_down
from relayer.cli.filters import filtered, mind_the_unknown, selection
from relayer.cli.invocation import OK, Invocation, Listing, common, exit_code, with_invocation
from relayer.cli.messages import opened_store
from relayer.cli.types import MESSAGE_ID
from relayer.errors import IllegalTransition, UnknownRecord
from relayer.message import MessageId
from relayer.ops.views import counted, printable
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.store import Store

MAX_NAMED = 1000
MAX_REFUSED = 1000

DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say how many messages are meant.")


def _verb(verb: Verb, help_text: str) -> click.Command:
    """A command that makes the same transition on messages that are named, or selected."""

    @click.command(name=verb.value, help=help_text)
    @click.argument("message_ids", type=MESSAGE_ID, nargs=-1)
    @filtered
    @DRY_RUN
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
        chosen = selection(settings, filters)
        asked.run(_selected(asked, settings, verb, chosen, dry_run=dry_run))

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
    asked.show({"verb": verb, "messages": rows}, Listing(("message", verb), cells))
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
    asked: Invocation, settings: Settings, verb: Verb, chosen: Selection, *, dry_run: bool
) -> None:
    """Apply `verb` to all that is selected, page by page, and say how many there were."""
    given = {name: getattr(chosen, name) for name in chosen.__dataclass_fields__}
    arguments = {name: str(value) for name, value in given.items() if value is not None}
    async with opened_store(settings) as store:
        done = await written_down(
            settings,
            store,
            verb.value,
            {**arguments, "dry_run": dry_run},
            _each_page(asked, store, verb, chosen, dry_run=dry_run),
            told=lambda done: f"matched {done['matched']}, changed {done['changed']}",
        )
    mind_the_unknown(settings, chosen, matched=done["matched"])
    lines = [f"{one['id']}: {one['text']}" for one in done["refused"]]
    text = _told_of_selected(verb, done, dry_run=dry_run)
    asked.show({"verb": verb, "dry_run": dry_run, **done}, Text("\n".join((text, *lines))))


def _told_of_selected(verb: Verb, done: Mapping[str, Any], *, dry_run: bool) -> str:
    found = counted(done["matched"], "message")
    if dry_run:
        return f"{found} would be changed by {verb}; this was a dry run"
    return f"{found} found; {done['changed']} changed by {verb}"


async def _each_page(
    asked: Invocation, store: Store, verb: Verb, chosen: Selection, *, dry_run: bool
) -> dict[str, Any]:
    matched = changed = 0
    refused: list[dict[str, str]] = []
    after: str | None = None
    with asked.progress() as bar:
        task = bar.add_task(verb.value, total=None)
        while True:
            page = await store.operate_all(verb, chosen, dry_run=dry_run, after=after)
            matched, changed, after = matched + page.matched, changed + page.changed, page.after
            refused += [{"id": mid, "text": printable(why, 300)} for mid, why in page.refused]
            bar.update(task, completed=matched)
            if after is None:
                return {"matched": matched, "changed": changed, "refused": refused[:MAX_REFUSED]}
