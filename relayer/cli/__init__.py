"""The `relayer` command: run the service, and ask or tell it about messages.

Exit codes: 0 ok, 1 failure, 2 wrong usage or configuration, 3 not found, 4 illegal transition,
5 something needed cannot be reached.
"""

from __future__ import annotations

import click

from relayer import __version__
from relayer.cli import (
    checks,
    completion,
    doctor,
    health,
    keys,
    messages,
    operating,
    service,
    verbs,
    webhooks,
)
from relayer.cli.invocation import CommonGroup, common


@click.group(
    name="relayer",
    cls=CommonGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit codes: 0 ok, 1 failure, 2 wrong usage or configuration, 3 not found,"
        " 4 illegal transition, 5 unreachable."
    ),
)
@click.version_option(__version__, message="%(version)s")
@common
def main() -> None:
    """Carry messages between chains, and find out where they are."""


for _part in (
    service,
    messages,
    verbs,
    operating,
    webhooks,
    checks,
    doctor,
    keys,
    health,
    completion,
):
    for _command in _part.COMMANDS:
        main.add_command(_command)
