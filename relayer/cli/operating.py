"""Commands for operators: pauses, dead letters, the audit log, and the running process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.console import Group
from rich.text import Text

from relayer.acts import LONGEST_WHY, Pause, PauseKind, Target, target_of, target_to_resume
from relayer.cli.acting import ask_running, hider, whoami, written_down
from relayer.cli.invocation import Invocation, common, way_on, with_invocation
from relayer.cli.invocation import table as table_of
from relayer.cli.messages import opened_store
from relayer.cli.naming import chains_of, nameable, one_named
from relayer.cli.types import AUDIT_MARK, WholeNumber
from relayer.message import ChainId
from relayer.ops.logs import LEVELS
from relayer.ops.operator.views import act_view, pause_view, unsure
from relayer.ops.views import printable
from relayer.settings import Settings

if TYPE_CHECKING:
    from relayer.store import ActPage

MAX_LINES = 500


def _targets(command: click.Command) -> click.Command:
    """The four things that can be paused, of which one must be given."""
    helps = {
        PauseKind.CHAIN: "A chain, by name or id: nothing from or to it goes on.",
        PauseKind.LANE: "A chain, by name or id: nothing to it is carried.",
        PauseKind.ROUTE: "A route, as `relayer routes` lists it.",
        PauseKind.SIGNER: "An address: it sends nothing new on any chain.",
    }
    for kind in reversed(PauseKind):
        option = click.Option([f"--{kind}"], metavar=kind.upper(), help=helps[kind])
        command.params.insert(0, option)
    return command


@click.command()
@click.option("--why", default="", help="Shown with every message that waits for it.")
@common
@with_invocation
def pause(asked: Invocation, why: str, **named: str | None) -> None:
    """Pause a chain, lane, route or signer on every replica; what is in flight is looked after."""
    settings = asked.settings()
    if len(why) > LONGEST_WHY:
        raise click.UsageError(f"--why: at most {LONGEST_WHY} characters, these are {len(why)}")
    kind, text = one_named(named)
    known = nameable(asked, settings, kind)
    target = target_of(kind, text, known)

    async def act() -> Pause:
        async with opened_store(settings) as store:
            told = printable(hider(settings)(why), LONGEST_WHY)
            wanted = Pause(target, whoami(), told, store.now())
            return await written_down(
                settings,
                store,
                "pause",
                {"what": str(target), "why": why},
                store.pause(wanted),
                told=lambda holds: "paused" if holds == wanted else "was paused already",
            )

    holds = asked.run(act())
    view = pause_view(holds, _names(settings))
    if known.is_unsure_of(target):
        view["warning"] = unsure(known)
        click.echo(f"warning: {view['warning']}", err=True)
    spelt = _spelt(target, view["chain"])
    asked.show(view, Text(f"{spelt} is paused by {view['who']} since {view['since']}"))


@click.command()
@common
@with_invocation
def resume(asked: Invocation, **named: str | None) -> None:
    """Let what was paused go on; also what is configured no more."""
    settings = asked.settings()
    kind, text = one_named(named)
    known = nameable(asked, settings, kind)

    async def act() -> tuple[Target, bool]:
        async with opened_store(settings) as store:
            paused = {pause.target for pause in await store.pauses()}
            target = target_to_resume(kind, text, known, paused)
            changed = await written_down(
                settings,
                store,
                "resume",
                {"what": str(target)},
                store.resume(target),
                told=lambda changed: "resumed" if changed else "was not paused",
            )
            return target, changed

    target, changed = asked.run(act())
    view = {"kind": target.kind.value, "name": target.name, "changed": changed}
    is_chain = target.kind in (PauseKind.CHAIN, PauseKind.LANE)
    spelt = _spelt(target, _names(settings).get(ChainId(int(target.name))) if is_chain else None)
    asked.show(view, f"{spelt} {'goes on' if changed else 'was not paused'}")


@click.command()
@common
@with_invocation
def paused(asked: Invocation) -> None:
    """List what is paused, by whom, why and since when."""
    settings = asked.settings()

    async def read() -> list[Pause]:
        async with opened_store(settings) as store:
            return await store.pauses()

    views = [pause_view(one, _names(settings)) for one in asked.run(read())]
    columns = ("kind", "name", "chain", "since", "who", "why")
    rows = [tuple(str(view[key] or "-") for key in columns) for view in views]
    asked.show({"pauses": views}, table_of(columns, rows))


@click.command()
@common
@with_invocation
def backfills(asked: Invocation) -> None:
    """List the ranges of blocks that are still to be read again, and how far each is."""
    settings = asked.settings()
    from relayer.rereading import open_ranges

    async def read() -> list[dict[str, Any]]:
        async with opened_store(settings) as store:
            return await open_ranges(store, chains_of(settings))

    views = asked.run(read())
    columns = ("chain", "first", "last", "next", "failure")
    rows = [tuple(str(view[key]) for key in columns) for view in views]
    asked.show({"backfills": views}, table_of(columns, rows))


@click.command()
@click.option("--limit", type=WholeNumber(1, MAX_LINES), default=50, show_default=True)
@click.option(
    "--after", type=AUDIT_MARK, help="Go on behind the mark that the page before ended with."
)
@click.option("--strangers", is_flag=True, help="Requests that had no valid token instead.")
@common
@with_invocation
def audit(asked: Invocation, limit: int, after: str | None, strangers: bool) -> None:
    """Show what operators did, newest first, refused acts included."""
    settings = asked.settings()

    async def read() -> ActPage:
        async with opened_store(settings) as store:
            return await store.acts(limit=limit, after=after, strangers=strangers)

    page = asked.run(read())
    views = [act_view(act) for act in page.acts]
    columns = ("at", "who", "remote", "what", "arguments", "outcome", "detail")
    shown: Any = table_of(columns, [tuple(view[key] for key in columns) for view in views])
    if page.after is not None:
        shown = Group(shown, way_on(page.after))
    asked.show({"acts": views, "after": page.after}, shown)


@click.group()
@common
def config() -> None:
    """The configuration that is, or would be, in force."""


@config.command(name="show")
@click.option("--running", is_flag=True, help="Of the running relayer instead of the file.")
@common
@with_invocation
def config_show(asked: Invocation, running: bool) -> None:
    """Show the whole configuration, defaults included, secrets hidden."""
    settings = asked.settings()
    if running:
        view = ask_running(settings, "GET", "config")
    else:
        from relayer.sections import effective

        view = effective(settings)
    asked.show(view, Text(_yaml(view)))


@click.command(name="log-level")
@click.argument("level", type=click.Choice(LEVELS), required=False, metavar="[LEVEL]")
@common
@with_invocation
def log_level(asked: Invocation, level: str | None) -> None:
    """Show what the running relayer logs, or set it: debug, info, warning or error.

    It holds for that one process, until it ends or takes up another level.
    """
    settings = asked.settings()
    if level is None:
        view = ask_running(settings, "GET", "log-level")
    else:
        view = ask_running(settings, "PUT", "log-level", {"level": level})
    asked.show(view, f"{printable(str(view.get('level')), 20)}; {_by(view)}")


@click.command()
@common
@with_invocation
def reload(asked: Invocation) -> None:
    """Have the running relayer take up the configuration file; that one process."""
    settings = asked.settings()
    with asked.progress() as bar:
        bar.add_task("opening the new configuration", total=None)
        view = ask_running(settings, "POST", "reload")
    changes = [f"changed: {printable(str(one), 200)}" for one in view.get("changes", [])]
    for one in view.get("warnings", []):
        click.echo(f"warning: {printable(str(one))}", err=True)
    asked.show(
        view, "\n".join([*changes, _by(view)] if changes else [f"nothing changed; {_by(view)}"])
    )


pause, resume = _targets(pause), _targets(resume)

COMMANDS = (pause, resume, paused, backfills, audit, config, log_level, reload)


def _by(view: Mapping[str, Any]) -> str:
    """Which process answered: what it was asked holds for no other replica."""
    return f"said by replica {printable(str(view.get('replica', 'unknown')), 100)} for itself alone"


def _spelt(target: Target, chain: str | None) -> str:
    """A chain is told by its name too, where it has one."""
    return f"{target.kind} {chain} ({target.name})" if chain else str(target)


def _names(settings: Settings) -> dict[ChainId, str]:
    return {chain: name for name, chain in chains_of(settings).items()}


def _yaml(view: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(view), sort_keys=False, allow_unicode=True).rstrip()
