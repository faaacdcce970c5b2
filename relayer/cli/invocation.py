"""What every command shares: its options, its two kinds of output, its errors and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import json
import os
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.exceptions import NoArgsIsHelpError
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from relayer.errors import (
    ChainMismatch,
    ConfigInvalid,
    IllegalTransition,
    RelayerError,
    SchemaMismatch,
    StoreUnsafe,
    Transient,
    UnknownRecord,
)
from relayer.ops import logs
from relayer.ops.views import printable
from relayer.settings import Settings, load_settings, secrets_in

OK, FAILURE, USAGE, NOT_FOUND, ILLEGAL, UNREACHABLE = range(6)
"""The exit codes."""

DEFAULT_CONFIG = "config/relayer.yaml"

MAX_LINE = 1000
MAX_LINES = 40
"""How much of an error is told."""

PLAIN_WIDTH = 240
"""Columns when the output is no terminal: wide enough that no row is broken for `grep`."""

FOLDED = 40
"""Columns that a long cell of a listing may be folded to."""

_CODES: tuple[tuple[type[RelayerError], int], ...] = (
    (ConfigInvalid, USAGE),
    (ChainMismatch, USAGE),
    (SchemaMismatch, USAGE),
    (StoreUnsafe, USAGE),
    (UnknownRecord, NOT_FOUND),
    (IllegalTransition, ILLEGAL),
    (Transient, UNREACHABLE),
)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """The common options of this call, and the output they ask for."""

    config: Path = Path(DEFAULT_CONFIG)
    as_json: bool = False
    debug: bool = False
    redactor: logs.Redactor = field(default_factory=logs.Redactor)

    def settings(self) -> Settings:
        """Load the configuration; from here on its secrets are hidden in every log line."""
        if not self.config.exists():
            raise ConfigInvalid(
                f"{self.config}: no such file; give --config FILE or set RELAYER_CONFIG"
            )
        settings = load_settings(self.config, os.environ)
        self.redactor = logs.Redactor(secrets_in(settings))
        self.log_with(level="debug" if self.debug else "warning", style="console", of=settings)
        return settings

    def log_with(self, *, level: str, style: str, of: Settings) -> logs.Logging:
        """Log to standard error, without the secrets of the configuration."""
        return logs.configure(
            level=level,
            style=style,
            secrets=secrets_in(of),
            colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run one coroutine to its end."""
        return asyncio.run(work, debug=False)

    def show(self, value: Any, shown: RenderableType) -> None:
        """Print `value` as JSON, or `shown` for people."""
        with written():
            if self.as_json:
                click.echo(json.dumps(value, indent=2))
            else:
                # Not cropped: what must stay whole is wider than some terminals, and they wrap it.
                output().print(shown, soft_wrap=isinstance(shown, str | Text), crop=False)
            sys.stdout.flush()

    def progress(self) -> Progress:
        """A progress bar on standard error, silent where nobody watches."""
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=self.as_json or not sys.stderr.isatty(),
        )


class CommonGroup(click.Group):
    """Turns every error into one clear line and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line, also where a standard stream is closed."""
        _open_streams()
        return super().main(*args, **extra)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the options before the command's name; `--json` counts wherever it stands."""
        asked = Invocation(as_json="--json" in args)
        try:
            with written():  # `--version`
                return super().make_context(info_name, args, parent, obj=asked, **extra)
        except click.UsageError as wrong:
            _refuse_usage(asked, wrong)
        except RelayerError as error:
            _fail(asked, error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command; `--debug` shows the traceback instead of hiding it."""
        try:
            return super().invoke(ctx)
        except click.UsageError as wrong:
            _refuse_usage(ctx.ensure_object(Invocation), wrong)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # the edge: nobody is left to decide
            asked = ctx.ensure_object(Invocation)
            if asked.debug:
                raise
            _fail(asked, _told(error))


def _told(error: Exception) -> RelayerError:
    """The error of our tree that tells most; a bug becomes one that says how to see more."""
    if isinstance(error, RelayerError):
        return error
    if isinstance(error, ExceptionGroup):
        ours, others = error.split(RelayerError)
        if ours is not None and others is None:
            return _told(ours.exceptions[0])
    return RelayerError(
        f"internal error: {type(error).__name__}: {error}; --debug shows where it comes from"
    )


def common(command: F) -> F:
    """Give a command the options `--config`, `--json` and `--debug`; also after its name.

    And a `--help` that cannot be written is told as any other output that cannot.
    """
    for option in (
        click.option("-h", "--help", is_flag=True, is_eager=True, expose_value=False,
                     callback=_show_help, help="Show this message and exit."),
        click.option("--debug", is_flag=True, expose_value=False, callback=_note_debug,
                     help="Show tracebacks and debug logs."),
        click.option("--json", "as_json", is_flag=True, expose_value=False,
                     callback=_note_json, help="Print JSON for programs."),
        click.option("--config", type=click.Path(path_type=Path), envvar="RELAYER_CONFIG",
                     show_envvar=True, expose_value=False, callback=_note_config,
                     help=f"Configuration file (default {DEFAULT_CONFIG})."),
    ):  # fmt: skip
        command = option(command)
    return command


def with_invocation(function: Callable[..., T]) -> Callable[..., T]:
    """Pass the `Invocation` as the first argument."""

    @click.pass_context
    @functools.wraps(function)
    def wrapped(ctx: click.Context, /, *args: Any, **kwargs: Any) -> T:
        return ctx.invoke(function, ctx.ensure_object(Invocation), *args, **kwargs)

    return wrapped


@contextlib.contextmanager
def written() -> Iterator[None]:
    """Around what writes to standard output: one that takes nothing is one plain error.

    Whoever closed the pipe (`| head`) wants no more, and is told nothing.
    """
    try:
        yield
    except OSError as error:
        with open(os.devnull, "wb") as nothing:  # or the interpreter's last flush fails once more
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            sys.exit(FAILURE)
        raise RelayerError(f"cannot write the output: {error.strerror}") from None


def output() -> Console:
    """Where tables go: standard output, without markup, so that hostile text stays text."""
    return Console(
        markup=False,
        highlight=False,
        emoji=False,
        width=None if sys.stdout.isatty() else PLAIN_WIDTH,
    )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", *, whole: str = ""
) -> Table:
    """A table whose cells are plain text, folded where there is no room; not the column `whole`."""
    made = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column == whole)
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


class Listing:
    """Rows that begin with an id, which stays whole on one line, to be copied.

    A table; on a terminal that is too narrow for one, a block for each row.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._columns = columns
        self._rows = [[printable(cell) for cell in row] for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if console.is_terminal and self._needs() > options.max_width:
            for whole, *cells in self._rows:
                yield Text(whole, no_wrap=True, overflow="ignore")
                named = zip(self._columns[1:], cells, strict=True)
                yield Padding("\n".join(f"{name}: {cell}" for name, cell in named), (0, 0, 0, 2))
            return
        yield table(self._columns, self._rows, whole=self._columns[0])

    def _needs(self) -> int:
        """Columns of a terminal in which no cell is folded to a sliver."""
        first, *others = zip(self._columns, *self._rows, strict=True)
        widths = [max(map(len, first)), *(min(FOLDED, max(map(len, one))) for one in others)]
        return sum(widths) + 3 * len(widths) + 1


def way_on(after: str) -> Text:
    """How the next page is asked for, ready to be pasted."""
    return Text(f"More: --after {shlex.quote(after)}", no_wrap=True, overflow="ignore")


def exit_code(error: RelayerError) -> int:
    """The documented exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILURE)


def _fail(asked: Invocation, error: RelayerError) -> NoReturn:
    lines = [asked.redactor.text(line, MAX_LINE) for line in str(error).splitlines()[:MAX_LINES]]
    _say_and_exit(asked, error.label, lines or [error.label], exit_code(error))


def _refuse_usage(asked: Invocation, wrong: click.UsageError) -> NoReturn:
    """One line in place of click's three; `relayer` alone still shows its help."""
    if isinstance(wrong, NoArgsIsHelpError):
        raise wrong
    text = wrong.format_message().removesuffix(".")
    line = f"{text}; see `{wrong.ctx.command_path if wrong.ctx else 'relayer'} --help`"
    _say_and_exit(asked, "usage", [line], wrong.exit_code)


def _say_and_exit(asked: Invocation, label: str, lines: Sequence[str], code: int) -> NoReturn:
    """One line a mistake on standard error, or one JSON object that holds them all."""
    said = [printable(line, MAX_LINE) for line in lines]
    if asked.as_json:
        body = {"code": label, "text": "\n".join(said), "lines": said, "exit": code}
        click.echo(json.dumps({"error": body}), err=True)
    else:
        for line in said:
            click.echo(f"error: {line}", err=True)
    sys.exit(code)


def _open_streams() -> None:
    """Put something in the place of standard streams that are closed (`>&-`), which are None here.

    Otherwise the next file or socket would take their numbers. What is written to this output
    fails, as it would have.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - until the process ends
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _show_help(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        with written():
            click.echo(ctx.get_help(), color=ctx.color)
            sys.stdout.flush()
        ctx.exit()


def _note_config(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    source = ctx.get_parameter_source("config")
    asked = ctx.ensure_object(Invocation)
    # the variable must not win over an option given before the command's name
    if value is not None and (
        ctx.parent is None or source is click.core.ParameterSource.COMMANDLINE
    ):
        asked.config = value


def _note_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    asked = ctx.ensure_object(Invocation)
    asked.as_json = asked.as_json or value


def _note_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    asked = ctx.ensure_object(Invocation)
    asked.debug = asked.debug or value
