"""The options that choose messages, alike for what lists them and for what acts on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import click

from relayer.acts import Selection, chain_id_of, unknown_bridge
from relayer.cli.naming import chains_of
from relayer.cli.types import ACCOUNT, ROUTE
from relayer.message import Reason, Status
from relayer.ops.views import printable
from relayer.settings import Settings

C = TypeVar("C", click.Command, Any)


def words_of(kind: type[Status] | type[Reason]) -> click.Choice[str]:
    """The values of an enumeration as a choice, without the status that is never stored."""
    return click.Choice([word.value for word in kind if word is not Status.SEEN])


STATUS = click.option("--status", type=words_of(Status), help="Only messages with this status.")
REASON = click.option(
    "--reason", type=words_of(Reason), metavar="REASON", help="Only with this reason."
)
OF_ROUTE = click.option("--route", type=ROUTE, help="Only messages of this route.")

FILTERS = (
    STATUS,
    REASON,
    OF_ROUTE,
    click.option("--bridge", help="Only messages of this bridge."),
    click.option("--origin", help="Only messages from this chain (name or id)."),
    click.option("--destination", help="Only messages to this chain (name or id)."),
    click.option("--sender", type=ACCOUNT, help="Only messages of this sender."),
    click.option("--recipient", type=ACCOUNT, help="Only messages to this recipient."),
)


def filtered(command: C) -> C:
    """Give a command all of these options; `selection` reads what they say."""
    for option in reversed(FILTERS):
        command = option(command)
    return command


def selection(settings: Settings, given: Mapping[str, Any]) -> Selection:
    """Which messages the options mean; `UnknownRecord` when a chain is none of ours."""
    chains = chains_of(settings)
    ends = {
        end: None if given[end] is None else chain_id_of(f"--{end}", given[end], chains)
        for end in ("origin", "destination")
    }
    status, reason = given["status"], given["reason"]
    return Selection(
        status=Status(status) if status else None,
        reason=Reason(reason) if reason else None,
        route=given["route"],
        bridge=given["bridge"],
        origin=ends["origin"],
        destination=ends["destination"],
        sender=given["sender"],
        recipient=given["recipient"],
    )


def mind_the_unknown(settings: Settings, chosen: Selection, *, matched: int) -> None:
    """Nothing matched, and the bridge is none of ours."""
    told = None if matched else unknown_bridge(chosen, settings.bridges)
    if told is not None:
        click.echo(f"warning: {printable(told, 500)}", err=True)
