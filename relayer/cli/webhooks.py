"""The command about webhooks: what they are still to be told, and what they would not take."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Group

from relayer.cli.invocation import Invocation, common, with_invocation
from relayer.cli.invocation import table as table_of
from relayer.cli.messages import opened_store
from relayer.errors import UnknownRecord
from relayer.message import Timestamp
from relayer.ops.views import iso, printable
from relayer.settings import Settings

MAX_SHOWN = 100


@click.command()
@click.option("--retry", "revived", metavar="NAME", help="Tell this webhook's dead letters again.")
@common
@with_invocation
def webhooks(asked: Invocation, revived: str | None) -> None:
    """Show webhooks and their dead letters."""
    settings = asked.settings()
    names = [webhook.name for webhook in settings.webhooks]
    if revived is not None and revived not in names:
        known = ", ".join(names) or "there are none"
        raise UnknownRecord(f"no webhook {printable(revived, 60)!r} is configured; known: {known}")
    shown = asked.run(_read(settings, names, revived))
    states = [
        (one["name"], str(one["pending"]), str(one["dead"]), str(one["lost"]))
        for one in shown["webhooks"]
    ]
    letters = [
        (one["webhook"], one["since"], str(one["attempts"]), one["trouble"], one["body"])
        for one in shown["dead_letters"]
    ]
    tables = [table_of(("webhook", "pending", "dead letters", "lost"), states)]
    if letters:
        tables.append(table_of(("webhook", "since", "attempts", "trouble", "event"), letters))
    asked.show(shown, Group(*tables))


async def _read(settings: Settings, names: list[str], revived: str | None) -> dict[str, Any]:
    async with opened_store(settings) as store:
        count = await store.revive_notices(revived) if revived is not None else 0
        states = {name: await store.webhook_state(name) for name in names}
        letters = [
            {
                "webhook": name,
                "event_number": notice.number,
                "since": iso(Timestamp(notice.since)),
                "attempts": notice.attempts,
                "trouble": printable(notice.trouble, 200),
                "body": printable(notice.body),
            }
            for name in names
            for notice in await store.dead_notices(name, limit=MAX_SHOWN)
        ]
    rows = [
        {"name": name, "pending": one.pending, "dead": one.dead, "lost": one.lost}
        for name, one in states.items()
    ]
    return {"webhooks": rows, "dead_letters": letters, "told_again": count}


COMMANDS = (webhooks,)
