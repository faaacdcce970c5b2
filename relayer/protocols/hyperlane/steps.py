"""Puts a message's metadata together from what was found for each part of its ISM. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relayer.adapter import Refuse, Wait
from relayer.message import Address, Reason
from relayer.protocols.hyperlane.isms import (
    Aggregation,
    CcipRead,
    Ism,
    Multisig,
    Null,
    Unread,
    Unsupported,
)
from relayer.protocols.hyperlane.metadata import aggregation_metadata


@dataclass(frozen=True, slots=True)
class Proved:
    """Metadata that satisfies an ISM, as far as we can check it."""

    metadata: bytes
    sender: Address | None = None
    """The ISM takes a delivery by this account only."""
    evidence: Mapping[str, str] = field(default_factory=dict)


Part = Proved | Wait | Refuse
Parts = Mapping[Multisig | CcipRead, Part]
"""What was found for one message, by the part of its ISM that wants it."""

UNREAD_RECHECK_S = 15.0
MISSING = Wait(Reason.SOURCE_UNREACHABLE, "nothing was read for a part of the ISM", recheck_s=5.0)


def assemble(ism: Ism, parts: Parts) -> Part:
    """The metadata of the whole ISM, or what stands in its way."""
    match ism:
        case Multisig() | CcipRead():
            return parts.get(ism, MISSING)
        case Null(paused=True):
            return Wait(Reason.PAUSED, "the recipient's ISM is paused", recheck_s=30.0)
        case Null(trusted_relayer=relayer):
            return Proved(b"", sender=relayer)
        case Unsupported(why):
            return Refuse(Reason.UNSUPPORTED, why)
        case Unread(why):
            return Wait(Reason.SOURCE_UNREACHABLE, why, recheck_s=UNREAD_RECHECK_S)
        case Aggregation():
            return _aggregate(ism, parts)


def _aggregate(ism: Aggregation, parts: Parts) -> Part:
    """Exactly `threshold` modules, those satisfied first in order; more would be refused."""
    if not 0 < ism.threshold <= len(ism.modules):
        text = f"AGGREGATION ISM wants {ism.threshold} of {len(ism.modules)} modules"
        return Refuse(Reason.UNSUPPORTED, text)
    found = [assemble(module, parts) for module in ism.modules]
    able = [place for place, part in enumerate(found) if isinstance(part, Proved)]
    able.sort(key=lambda place: _cost(found[place]))
    chosen = set(able[: ism.threshold])
    if len(chosen) < ism.threshold:
        return _obstacle(ism, found, ready=len(chosen))
    blobs: list[bytes | None] = []
    evidence: dict[str, str] = {}
    senders: set[Address] = set()
    for place, part in enumerate(found):
        if place not in chosen or not isinstance(part, Proved):
            blobs.append(None)
            continue
        blobs.append(part.metadata)
        if part.sender is not None:
            senders.add(part.sender)
        evidence |= part.evidence
    if len(senders) > 1:
        return Refuse(Reason.UNSUPPORTED, f"AGGREGATION ISM trusts {' and '.join(sorted(senders))}")
    return Proved(aggregation_metadata(blobs), next(iter(senders), None), evidence)


def _cost(part: Part) -> tuple[bool, int]:
    """Prefer what may share a transaction, then what is short."""
    return (part.sender is not None, len(part.metadata)) if isinstance(part, Proved) else (True, 0)


def _obstacle(ism: Aggregation, found: list[Part], *, ready: int) -> Wait | Refuse:
    """Wait while waiting can help; refuse when too few modules could ever be satisfied."""
    waits = [part for part in found if isinstance(part, Wait)]
    refusals = [part for part in found if isinstance(part, Refuse)]
    if ready + len(waits) < ism.threshold:
        return refusals[0]
    first = waits[0]
    detail = f"{ready} of {ism.threshold} modules ready; " + "; ".join(w.detail for w in waits)
    return Wait(
        first.reason,
        detail[:600],
        recheck_s=min(wait.recheck_s for wait in waits),
        disproved=any(wait.disproved for wait in waits),
    )
