"""What an operator may do: the words of the operator API, the command line and the audit log.

Pure. Names of verbs, kinds and outcomes are stored and shown: add, never rename.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from relayer.errors import UnknownRecord
from relayer.message import (
    Address,
    ChainId,
    Reason,
    Record,
    Route,
    Status,
    Timestamp,
    is_same_account,
)

LONGEST_WHY = 200
"""Characters of the reason that a pause is given."""
LONGEST_TEXT = 2000
"""Characters of the arguments, and of the outcome, that the audit log keeps of one act."""


class Verb(StrEnum):
    """A transition that a person asks for."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    DROP = "drop"


STARTS: Mapping[Verb, frozenset[Status]] = {
    Verb.RETRY: frozenset({Status.DEAD, Status.WAITING, Status.READY}),
    Verb.HOLD: frozenset({Status.WAITING, Status.READY}),
    Verb.RELEASE: frozenset({Status.HELD}),
    Verb.DROP: frozenset({Status.WAITING, Status.READY, Status.SUBMITTED, Status.HELD}),
}
"""Where each verb may be applied; the store's script is given these rows."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages are meant: every field that is given must agree."""

    status: Status | None = None
    reason: Reason | None = None
    route: Route | None = None
    bridge: str | None = None
    origin: ChainId | None = None
    destination: ChainId | None = None
    sender: str | None = None
    recipient: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it would mean every message."""
        return self == Selection()

    def admits(self, record: Record) -> bool:
        """Whether the message is meant, its status aside."""
        route, message = record.route, record.message
        return (
            (self.reason is None or self.reason is record.reason)
            and (self.route is None or self.route == route)
            and (self.bridge is None or self.bridge == route.bridge)
            and (self.origin is None or self.origin == route.origin)
            and (self.destination is None or self.destination == route.destination)
            and (self.sender is None or is_same_account(self.sender, message.sender))
            and (self.recipient is None or is_same_account(self.recipient, message.recipient))
        )


class PauseKind(StrEnum):
    """What can be paused."""

    CHAIN = "chain"
    """Its follower stops, and no message from or to it is carried."""
    LANE = "lane"
    """No message to the chain is carried; the chain is followed."""
    ROUTE = "route"
    SIGNER = "signer"
    """It sends nothing new on any chain; what it has in flight is looked after."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One thing that can be paused: a chain id, a route or an address under its kind."""

    kind: PauseKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read the form that `str(target)` writes; ValueError when it is not that form."""
        word, _, name = text.partition(" ")
        kind = PauseKind(word)
        if kind in (PauseKind.CHAIN, PauseKind.LANE):
            name = str(int(name))
        return cls(kind, name)

    @classmethod
    def chain(cls, chain: ChainId) -> Target:
        return cls(PauseKind.CHAIN, str(chain))

    @classmethod
    def lane(cls, chain: ChainId) -> Target:
        return cls(PauseKind.LANE, str(chain))

    @classmethod
    def route(cls, route: Route) -> Target:
        return cls(PauseKind.ROUTE, str(route))

    @classmethod
    def signer(cls, address: Address) -> Target:
        return cls(PauseKind.SIGNER, address.lower())


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused what, why and since when."""

    target: Target
    who: str
    why: str
    since: Timestamp


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the audit log."""

    at: Timestamp
    who: str
    """A token's name, `cli:<user>@<host>`, `signal`, `nobody` for a stranger, or `relayer` for
    what a reload came to whose asker was cut off."""
    remote: str
    """The address that the request came from, or `local`."""
    what: str
    arguments: str
    outcome: str
    """`ok`, `refused` or `failed`."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Nameable:
    """What there is that a person can name."""

    chains: Mapping[str, ChainId]
    routes: Collection[Route] = ()
    signers: Collection[Address] = ()
    unread: Collection[str] = ()
    """Where signers stand whose address nobody could tell: one of them may be the one meant."""

    def is_unsure_of(self, target: Target) -> bool:
        """Whether a signer was taken at its word because not all of ours are known."""
        return target.kind is PauseKind.SIGNER and target.name not in self.signers


def target_of(kind: PauseKind, text: str, known: Nameable) -> Target:
    """What a person names by a chain's name or id, a route or an address.

    `UnknownRecord` names what there is, and what may have been meant.
    """
    match kind:
        case PauseKind.CHAIN | PauseKind.LANE:
            return Target(kind, str(chain_id_of(kind.value, text, known.chains)))
        case PauseKind.ROUTE:
            routes = sorted(str(route) for route in known.routes)
            if text not in routes:
                raise UnknownRecord(f"route: {text[:80]!r} is not carried; {_near(text, routes)}")
            return Target(kind, text)
        case PauseKind.SIGNER:
            if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
                raise UnknownRecord(f"signer: {text[:80]!r} is not 0x and 40 hex digits")
            address = text.lower()
            if address not in known.signers and not known.unread:
                near = _near(address, sorted(known.signers))
                raise UnknownRecord(f"signer: {text} is none of ours; {near}")
            return Target(kind, address)


def target_to_resume(
    kind: PauseKind, text: str, known: Nameable, paused: Collection[Target]
) -> Target:
    """What a person names that may be paused; also what is configured no more, if it is paused.

    `UnknownRecord` names what is paused when it is neither.
    """
    try:
        found = target_of(kind, text, known)
    except UnknownRecord as unknown:
        names = sorted(one.name for one in paused if one.kind is kind)
        wanted = text.lower() if kind is PauseKind.SIGNER else text
        if wanted in names:
            return Target(kind, wanted)
        by_id = (
            " (a chain that is configured no more is resumed by its id)"
            if names and kind in (PauseKind.CHAIN, PauseKind.LANE)
            else ""
        )
        raise UnknownRecord(f"{unknown}; paused: {_some(names)}{by_id}") from None
    return found


def unknown_bridge(selection: Selection, bridges: Collection[str]) -> str | None:
    """What is said of a bridge that is none of ours: it may be a typo, and is no mistake."""
    bridge = selection.bridge or (selection.route.bridge if selection.route else None)
    if bridge is None or bridge in bridges:
        return None
    return f"bridge {bridge!r} is not configured; known: {_some(sorted(bridges))}"


def chain_id_of(field: str, text: str, chains: Mapping[str, ChainId]) -> ChainId:
    """The configured chain of this name or id; `UnknownRecord` names those that there are."""
    return chains[chain_name_of(field, text, chains)]


def chain_name_of(field: str, text: str, chains: Mapping[str, ChainId]) -> str:
    """The name of the configured chain of this name or id; `UnknownRecord` as above."""
    if text in chains:
        return text
    found = next((name for name, one in chains.items() if str(one) == text), None)
    if found is None:
        near = _near(text, sorted(chains))
        raise UnknownRecord(f"{field}: {text[:80]!r} is no configured chain; {near}")
    return found


def _near(text: str, names: list[str]) -> str:
    """What may have been meant, and what there is."""
    close = difflib.get_close_matches(text[:200], names, n=1, cutoff=0.6)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}known: {_some(names)}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:20]) or "none"
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
