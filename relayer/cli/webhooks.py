"""The command about webhooks: what they are still to be told, and what they would not take."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Group

from relayer.cli.acting import written_down
from relayer.cli.invocation import Invocation, common, with_invocation
from relayer.cli.invocation import table as table_of
from relayer.cli.messages import opened_store
from relayer.ops.operator.hooks import require_webhook, webhooks_view
from relayer.settings import Settings


@click.command()
@click.option("--retry", "revived", metavar="NAME", help="Tell this webhook's dead letters again.")
@common
@with_invocation
def webhooks(asked: Invocation, revived: str | None) -> None:
    """Show webhooks and their dead letters."""
    settings = asked.settings()
    names = [webhook.name for webhook in settings.webhooks]
    if revived is not None:
        require_webhook(revived, names)
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
        count = 0
        if revived is not None:
            count = await written_down(
                settings,
                store,
                "webhooks --retry",
                {"webhook": revived},
                store.revive_notices(revived),
                told=lambda count: f"{count} are told again",
            )
        return {**await webhooks_view(store, names), "told_again": count}


COMMANDS = (webhooks,)
