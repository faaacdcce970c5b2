"""Where a listener is in the events of all chains: one opaque word, good on every replica."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from relayer.message import ChainId

Places = Mapping[ChainId, int]
"""Chain -> number of the last event told."""

_PART = re.compile(r"([1-9][0-9]{0,18})-(0|[1-9][0-9]{0,15})")


def place_text(places: Places) -> str:
    """The places as an event's id."""
    text = ".".join(f"{chain}-{number}" for chain, number in sorted(places.items()))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode() or "-"


def places_in(text: str) -> dict[ChainId, int]:
    """The places in an event's id; ValueError when we did not make it."""
    if text == "-":
        return {}
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts = [_PART.fullmatch(part) for part in raw.decode("ascii").split(".")]
    except ValueError:
        parts = [None]
    found = {ChainId(int(part[1])): int(part[2]) for part in parts if part is not None}
    if len(found) != len(parts):
        raise ValueError("is no event's id")
    return found
