"""Cursors: where the next page of one list begins, opaque to clients and bound to the list."""

from __future__ import annotations

import base64
import hashlib
import re

from relayer.ops.api.models import MessagesAsked
from relayer.ops.web import Refused

_MARK = re.compile(r"[0-9]{1,12}\.[0-9]{3} 0x[0-9a-f]{64}")
_TAG_BYTES = 6


def cursor_of(mark: str, of: MessagesAsked) -> str:
    """The cursor that goes on behind the store's `mark` in the list `of`."""
    return base64.urlsafe_b64encode(_tag(of) + mark.encode()).rstrip(b"=").decode()


def mark_in(cursor: str, of: MessagesAsked) -> str:
    """The mark in a cursor; `Refused` when we did not make it, or made it for another list."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        mark = raw[_TAG_BYTES:].decode("ascii")
    except ValueError:
        mark, raw = "", b""
    if not _MARK.fullmatch(mark):
        raise Refused(400, "is not the `next` of a page", field="cursor", value=cursor)
    if raw[:_TAG_BYTES] != _tag(of):
        raise Refused(
            400,
            "belongs to a list with other filters; keep them, or begin without a cursor",
            field="cursor",
            value=cursor,
        )
    return mark


def _tag(of: MessagesAsked) -> bytes:
    """What tells lists apart; the size of pages may change on the way."""
    text = of.model_dump_json(exclude={"cursor", "limit"})
    return hashlib.blake2s(text.encode(), digest_size=_TAG_BYTES).digest()
