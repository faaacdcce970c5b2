"""Whose token a request carries, found in the same time whether it is right or wrong."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token it is, or why none was accepted; exactly one of the two is given."""

    name: str = ""
    why_not: str = ""
    """`no_token`, `wrong_token` or `many_tokens`."""


class Tokens:
    """The tokens that are valid now, by the names that the audit log tells them by."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._digests = _digests(tokens)

    def replace(self, tokens: Mapping[str, str]) -> None:
        """From now on these are valid and no others."""
        self._digests = _digests(tokens)

    def caller(self, headers: Sequence[str]) -> Caller:
        """Who sent a request with these `Authorization` headers; exactly one must be there."""
        if len(headers) > 1:
            return Caller(why_not="many_tokens")
        if not headers:
            return Caller(why_not="no_token")
        (header,) = headers
        if header[: len(_SCHEME)].lower() != _SCHEME:
            return Caller(why_not="no_token")
        shown = _digest(header[len(_SCHEME) :].strip())
        # All are compared, and digests of one length: time tells neither which nor how far.
        matches = [name for name, one in self._digests.items() if hmac.compare_digest(one, shown)]
        return Caller(name=matches[0]) if matches else Caller(why_not="wrong_token")


def _digests(tokens: Mapping[str, str]) -> dict[str, bytes]:
    return {name: _digest(token) for name, token in tokens.items()}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
