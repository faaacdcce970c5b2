"""Pauses and lines of the audit log as JSON, for the API and the command line alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relayer.acts import LONGEST_TEXT, Act, Nameable, Pause, PauseKind
from relayer.message import ChainId
from relayer.ops.views import iso, printable


def pause_view(pause: Pause, names: Mapping[ChainId, str]) -> dict[str, Any]:
    """A pause; a chain is also told by its name in the configuration."""
    target = pause.target
    is_chain = target.kind in (PauseKind.CHAIN, PauseKind.LANE)
    return {
        "kind": target.kind.value,
        "name": printable(target.name, 200),
        "chain": names.get(ChainId(int(target.name))) if is_chain else None,
        "who": printable(pause.who, 200),
        "why": printable(pause.why),
        "since": iso(pause.since),
    }


def unsure(known: Nameable) -> str:
    """What is said of a signer that was taken at its word."""
    return (
        "not checked: whether this signer is one of ours is not known, as the address of "
        f"{', '.join(sorted(known.unread)[:5])} cannot be read now"
    )


def act_view(act: Act) -> dict[str, Any]:
    """One line of the audit log."""
    return {
        "at": iso(act.at),
        "who": printable(act.who, 200),
        "remote": printable(act.remote, 64),
        "what": printable(act.what, 200),
        "arguments": printable(act.arguments, LONGEST_TEXT),
        "outcome": printable(act.outcome, 20),
        "detail": printable(act.detail, LONGEST_TEXT),
    }
