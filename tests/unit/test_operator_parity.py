"""What the operator API can do the command line can, the other way round, and both are told of."""

from __future__ import annotations

import re
from pathlib import Path

import click

from relayer.cli import main
from relayer.ops.metrics import Metrics
from relayer.ops.operator.door import Door
from relayer.ops.operator.pages import build_app
from relayer.ops.operator.tokens import Tokens
from tests.redis.operator_world import Process

AT = "/v1/operator/"
VERBS = ("retry", "hold", "release", "drop")
PAIRS: dict[tuple[str, str], tuple[str, ...]] = {
    ("POST", "messages/{id}/{verb}"): VERBS,
    ("POST", "messages/{verb}"): tuple(f"{verb} --status" for verb in VERBS),
    ("GET", "dead"): ("dead",),
    ("GET", "pauses"): ("paused",),
    ("POST", "pause"): ("pause",),
    ("POST", "resume"): ("resume",),
    ("GET", "backfills"): ("backfills",),
    ("POST", "backfill"): ("backfill",),
    ("POST", "backfill/cancel"): ("backfill --cancel",),
    ("GET", "webhooks"): ("webhooks",),
    ("POST", "webhooks/{name}/retry"): ("webhooks --retry",),
    ("GET", "config"): ("config show --running",),
    ("GET", "log-level"): ("log-level",),
    ("PUT", "log-level"): ("log-level",),
    ("POST", "reload"): ("reload",),
    ("GET", "audit"): ("audit",),
}
"""Each request of the operator API, and the commands that do the same."""

ELSEWHERE = {
    "run": "is the process itself",
    "demo": "starts processes",
    "list": "GET /v1/messages",
    "show": "GET /v1/messages/ID",
    "prove": "GET /v1/messages/ID/proof",
    "routes": "GET /v1/routes",
    "health": "GET /readyz",
    "check-config": "of the file here",
    "doctor": "of the file here",
    "protocols": "of this program",
    "schema": "of this program",
    "version": "of this program",
    "completion": "of this shell",
    "keys create": "of the files here",
    "keys address": "of the files here",
    "keys show": "of the files here",
}
"""Commands that need nothing of the operator API, and why."""


def requests() -> set[tuple[str, str]]:
    door = Door(Tokens({}), None, Metrics(), now=lambda: 0.0)  # type: ignore[arg-type, return-value]
    app = build_app(store=None, running=Process(), door=door, now=lambda: 0.0)  # type: ignore[arg-type, return-value]
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        found.add((route.method, route.resource.canonical.removeprefix(AT)))
    return {one for one in found if one[0] != "HEAD"}


def commands() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {child}": one for child, one in command.commands.items()}
        else:
            found[name] = command
    return found


def test_both_lists_are_the_same() -> None:
    """A request without its command, or a command without its request, is a gap."""
    assert requests() == set(PAIRS)
    paired = {re.sub(r" --.*", "", command) for there in PAIRS.values() for command in there}
    assert set(commands()) == paired | set(ELSEWHERE)
    assert not paired & set(ELSEWHERE)


def test_the_options_named_are_there() -> None:
    """A command is named with the option that makes it the same."""
    known = commands()
    for text in (command for there in PAIRS.values() for command in there):
        name, _, option = text.partition(" --")
        options = {one for parameter in known[name].params for one in parameter.opts}
        assert not option or f"--{option}" in options, text


def test_every_command_answers_programs() -> None:
    """`--json` is on each of them."""
    for name, command in commands().items():
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_every_request_is_in_the_documentation() -> None:
    """With a command beside it."""
    text = Path("docs/operations.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 4]
    for method, path in PAIRS:
        shown = path.replace("{id}", "ID").replace("{verb}", "VERB").replace("{name}", "NAME")
        tail = rf"(/v1/operator)?/{re.escape(shown)}`"
        assert any(
            method in row and re.search(tail, row) and "`relayer " in row.rsplit("|", 2)[1]
            for row in rows
        ), (method, shown)
