"""Which local deployments a list of protocols stands for, and what is left out with a word."""

from __future__ import annotations

import pytest

from relayer.devnet.bridges import BRIDGES, left_out, make_bridges
from relayer.errors import ConfigInvalid

NOWHERE = {"op_stack_games": lambda: "no root", "op_interop": lambda: "no root"}
"""A machine on which supersim cannot run."""


def names(*protocols: str, hindered: bool = False) -> list[str]:
    obstacles = NOWHERE if hindered else {}
    return [bridge.name for bridge in make_bridges(protocols, obstacles)]


def test_a_protocol_of_two_generations_has_two_deployments() -> None:
    """Each with a name of its own; a name that is given twice counts once."""
    assert names("op_stack", "scroll", "op_stack") == ["op_stack", "op_stack_games", "scroll"]


def test_what_cannot_run_here_is_left_out_beside_what_can() -> None:
    """Of one protocol as of all; the reason is told."""
    assert names("op_stack", hindered=True) == ["op_stack"]
    assert left_out(["op_stack"], NOWHERE) == {"op_stack_games": "no root"}
    assert not {"op_stack_games", "op_interop"} & set(names("all", hindered=True))
    assert left_out(["all"], NOWHERE).keys() == NOWHERE.keys()


def test_what_was_asked_for_alone_is_not_left_out() -> None:
    """Its own start says why it cannot run; nothing else would be shown."""
    assert names("op_interop", hindered=True) == ["op_interop"]
    assert left_out(["op_interop"], NOWHERE) == {}


def test_all_means_every_protocol() -> None:
    assert len(names("all")) == sum(len(makers) for makers in BRIDGES.values())


@pytest.mark.parametrize("protocols", [[], ["op-stack"]])
def test_an_unknown_protocol_is_refused(protocols: list[str]) -> None:
    """With the known ones."""
    with pytest.raises(ConfigInvalid, match="is not one of hyperlane"):
        make_bridges(protocols)
