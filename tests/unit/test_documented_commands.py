"""Every `relayer ...` that a page tells somebody to type is one that the program understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from relayer.cli import main

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md", *ROOT.glob("docs/**/*.md")]
)
HASH, ADDRESS = "0x" + "1" * 64, "0x" + "2" * 40
STANDS_FOR = {
    "ID": HASH,
    "$ID": HASH,
    "ID...": HASH,
    "HASH": HASH,
    "A": "1",
    "B": "2",
    "ADDRESS": ADDRESS,
    "ROUTE": "b:1>2",
    "VERB": "retry",
    "bash|zsh|fish": "bash",
}
"""What a reader puts in the place of a word; other such words may be anything."""

_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_TYPED = re.compile(r"(?:.*(?<!-n)[\s/])?relayer +([a-z-].*)")
"""The last `relayer` of a line: before it may stand a service, and `-n relayer` is a namespace."""
_NAMES_A_REQUEST = re.compile(r"^\| `(?:GET|POST|PUT)\b.*$", re.MULTILINE)
"""A row about the API names the command that does the same, which is no line to type."""


def _commands(text: str) -> Iterator[str]:
    """What follows `relayer` in spans that begin with it, and in lines of blocks of code."""
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            for part in re.split(r"\s[|>]\s|&&", line.partition(" #")[0]):
                if found := _TYPED.match(part):
                    yield found.group(1).strip()
    for span in _SPAN.findall(_NAMES_A_REQUEST.sub("", _BLOCK.sub("", text))):
        whole = " ".join(span.split())
        if whole.startswith("relayer "):
            yield whole.removeprefix("relayer ")


def _typed() -> list[tuple[str, str]]:
    return [
        (str(page.relative_to(ROOT)), command)
        for page in PAGES
        for command in dict.fromkeys(_commands(page.read_text("utf-8")))
    ]


def _understand(line: str) -> None:
    """Have click read it as the program would, without doing it; UsageError where it would not."""
    words = [STANDS_FOR.get(word, word) for word in shlex.split(line) if word != "..."]
    if words == ["--help"]:
        return
    command: click.Command = main
    context = click.Context(main, info_name="relayer")
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(context).parse_args(words)
        name, found, words = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.make_context(context.info_name, words, parent=context.parent)


@pytest.mark.parametrize(("page", "line"), _typed())
def test_every_command_of_the_pages_is_understood(page: str, line: str) -> None:
    """The command is there, its options too, and none that it cannot do without is missing."""
    try:
        _understand(line)
    except click.UsageError as error:
        pytest.fail(f"{page}: `relayer {line}`: {error.format_message()}")


@pytest.mark.parametrize(
    "line",
    [
        "message",
        "backfill",
        "backfill --chain NAME --since 3",
        "list --limit 5000",
        "show",
        "keys x",
    ],
)
def test_a_wrong_one_is_noticed(line: str) -> None:
    """A command, an option or a value that is not there, and one that is wanted."""
    with pytest.raises(click.UsageError):
        _understand(line)


def test_the_pages_are_read() -> None:
    """The search finds what is known to be there: in spans, over the ends of lines, in blocks."""
    lines = {line for _, line in _typed()}
    assert {
        "audit --strangers",
        "retry --status dead --reason target_failed --dry-run",
        "reload",
        "backfill --chain NAME --tx HASH",
        "keys create --out FILE --password-file FILE",
    } <= lines
    assert len(lines) > 40
