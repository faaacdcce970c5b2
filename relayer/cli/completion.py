"""`relayer completion`: what makes a shell complete commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class
from rich.text import Text

from relayer.cli.invocation import Invocation, common, with_invocation

SHELLS = ("bash", "zsh", "fish")
HOW = {
    "bash": 'eval "$(relayer completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(relayer completion zsh)" in ~/.zshrc',
    "fish": "relayer completion fish > ~/.config/fish/completions/relayer.fish",
}


@click.command(
    epilog="To have it in every shell: "
    + "; ".join(f"{shell}: {how}" for shell, how in HOW.items())
)
@click.argument("shell", type=click.Choice(SHELLS))
@common
@with_invocation
def completion(asked: Invocation, shell: str) -> None:
    """Print a script for a shell, after which Tab completes what may follow."""
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    main = click.get_current_context().find_root().command
    script = kind(main, {}, "relayer", "_RELAYER_COMPLETE").source()
    asked.show({"shell": shell, "script": script}, Text(script))


COMMANDS = (completion,)
