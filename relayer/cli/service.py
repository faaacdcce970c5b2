"""Commands that run the engine: the service itself, the demo, a backfill, one proof."""

from __future__ import annotations

import os

import click
from rich.text import Text

from relayer.acts import chain_name_of
from relayer.adapter import Call, Done, Refuse, Step, Wait
from relayer.cli.acting import written_down
from relayer.cli.invocation import Invocation, common, with_invocation
from relayer.cli.messages import opened_store
from relayer.cli.naming import chains_of
from relayer.cli.types import CHAIN_BLOCK, MESSAGE_ID, TX_HASH, WholeNumber
from relayer.hangup import Hangup
from relayer.message import BlockNumber, ChainId, MessageId, TxHash
from relayer.ops.views import counted, printable
from relayer.self_relay import step_view
from relayer.settings import Settings, load_settings

MAX_DEMO_MESSAGES = 100_000
MAX_DEMO_KILLS = 20


@click.command()
@click.option("--dry-run", is_flag=True, help="Prove and simulate everything, send nothing.")
@common
@with_invocation
def run(asked: Invocation, dry_run: bool) -> None:
    """Relay until SIGTERM or Ctrl-C; SIGHUP takes up a changed configuration."""
    hangup = Hangup()  # before the file is read: it may change from then on
    settings = asked.settings()
    from relayer import app

    def reread() -> Settings:
        return _with(load_settings(asked.config, os.environ), dry_run=dry_run)

    level = "debug" if asked.debug else settings.log.level
    logging = asked.log_with(level=level, style=settings.log.format, of=settings)
    settings = _with(settings, dry_run=dry_run)
    asked.run(app.run(settings, reread=reread, logging=logging, hangup=hangup))


@click.command()
@click.option(
    "--messages",
    type=WholeNumber(1, MAX_DEMO_MESSAGES),
    envvar="DEMO_MESSAGES",
    show_envvar=True,
    help="How many messages to send per protocol (default: 300, or 100 per route of several).",
)
@click.option(
    "--protocols",
    default="",
    envvar="DEMO_PROTOCOLS",
    show_envvar=True,
    help="Protocols to show, separated by commas, or `all` (default: one of them).",
)
@click.option(
    "--kills",
    type=WholeNumber(0, MAX_DEMO_KILLS),
    default=0,
    envvar="DEMO_KILLS",
    show_envvar=True,
    help="How often to kill (-9) the relayer on the way.",
)
@click.option("--keep", is_flag=True, help="Leave the chains and the relayer up until Ctrl-C.")
@common
@with_invocation
def demo(asked: Invocation, messages: int | None, protocols: str, kills: int, keep: bool) -> None:
    """Start local chains with the real contracts and relay between them."""
    from relayer.devnet import demo as local_chains

    names = tuple(name.strip() for name in protocols.split(",") if name.strip())
    plan = local_chains.DemoPlan(names or local_chains.USUAL, messages, kills, keep)
    raise SystemExit(local_chains.main(plan, as_json=asked.as_json))


@click.command()
@click.option("--chain", required=True, help="A configured chain, by name or id.")
@click.option("--from", "first", type=CHAIN_BLOCK, help="First block.")
@click.option("--to", "last", type=CHAIN_BLOCK, help="Last block, included.")
@click.option("--tx", type=TX_HASH, help="Read the block of this transaction instead.")
@click.option("--cancel", is_flag=True, help="Take a range back that was asked for before.")
@common
@with_invocation
def backfill(
    asked: Invocation,
    chain: str,
    first: int | None,
    last: int | None,
    tx: TxHash | None,
    cancel: bool,
) -> None:
    """Read blocks of a chain again; what is stored already stays as it is."""
    _one_range(first, last, tx)
    if cancel and tx is not None:
        raise click.UsageError("--cancel takes back a range: give its --from and --to")
    settings = asked.settings()
    chain = chain_name_of("--chain", chain, chains_of(settings))
    from relayer import app

    asked_for = BlockNumber(int(first or 0)), BlockNumber(int(last or 0))
    if cancel:
        _cancel(asked, settings, chain=chain, first=asked_for[0], last=asked_for[1])
        return
    blocks = tx or asked_for
    with asked.progress() as bar:
        task = bar.add_task(f"blocks of {chain}", total=None)
        told = ""

        def progress(done: int, total: int, failure: str) -> None:
            nonlocal told
            bar.update(task, completed=done, total=total)
            if failure and failure != told:
                click.echo(f"not read yet, tried again: {printable(failure)}", err=True)
            told = failure

        async def work() -> tuple[BlockNumber, BlockNumber]:
            async with opened_store(settings) as store:
                return await written_down(
                    settings,
                    store,
                    "backfill",
                    {"chain": chain, "blocks": blocks},
                    app.backfill(settings, chain, blocks, progress),
                    told=lambda read: f"blocks {read[0]} to {read[1]} read again",
                )

        start, end = asked.run(work())
    read = end - start + 1
    asked.show(
        {"chain": chain, "first": start, "last": end, "blocks": read},
        f"{chain}: blocks {start} to {end} read again ({counted(read, 'block')}).",
    )


def _cancel(
    asked: Invocation, settings: Settings, *, chain: str, first: BlockNumber, last: BlockNumber
) -> None:
    from relayer.rereading import take_back

    async def act() -> None:
        async with opened_store(settings) as store:
            await written_down(
                settings,
                store,
                "backfill --cancel",
                {"chain": chain, "first": first, "last": last},
                take_back(store, ChainId(settings.chains[chain].id), chain, (first, last)),
                told=lambda _: f"blocks {first} to {last} are not read again",
            )

    asked.run(act())
    asked.show(
        {"chain": chain, "first": first, "last": last, "cancelled": True},
        f"{chain}: blocks {first} to {last} are not read again.",
    )


@click.command()
@click.argument("message_id", type=MESSAGE_ID)
@common
@with_invocation
def prove(asked: Invocation, message_id: MessageId) -> None:
    """Print what a message needs now: the call that delivers it, which anyone may send."""
    settings = asked.settings()
    from relayer import app

    step = asked.run(app.prove(settings, message_id))
    asked.show({"id": message_id, **step_view(step)}, Text(_step_text(step)))


COMMANDS = (run, demo, backfill, prove)


def _step_text(step: Step) -> str:
    match step:
        case Wait():
            return f"wait ({step.reason.value}): {printable(step.detail) or 'no more is known'}"
        case Refuse():
            return f"refused ({step.reason.value}): {printable(step.detail)}"
        case Done():
            return f"delivered already: {printable(step.detail) or 'the inbox says so'}"
        case Call():
            lines = [f"{step.what}: anyone may send this call now", f"to     {step.to}"]
            lines += [f"value  {step.value}", f"data   0x{step.data.hex()}"]
            lines += [f"{key}: {printable(value, 20_000)}" for key, value in step.evidence.items()]
            return "\n".join(lines)


def _one_range(first: int | None, last: int | None, tx: TxHash | None) -> None:
    if tx is not None and (first is not None or last is not None):
        raise click.UsageError("give --tx, or --from and --to, not both")
    if tx is None and (first is None or last is None):
        raise click.UsageError("give --from and --to, or --tx")
    if first is not None and last is not None and first > last:
        raise click.UsageError(f"--from {first} is after --to {last}: swap them")


def _with(settings: Settings, *, dry_run: bool) -> Settings:
    return settings.model_copy(update={"dry_run": True}) if dry_run else settings
