"""A message as strangers are told of it: not which endpoints, signers and operators are behind it.

Operators read the same records in full through the operator API and the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from relayer.message import Reason, Record
from relayer.ops.views import SENTENCES, explanation, printable, record_view

PUBLIC_SENTENCES: Mapping[Reason, str] = {
    **SENTENCES,
    Reason.BUDGET_SPENT: "Waiting because what the relayer may spend is spent for today.",
    Reason.GAS_CAP_EXCEEDED: "The delivery needs more gas than the relayer allows.",
    Reason.FEE_CAP_EXCEEDED: "Gas costs more than the relayer allows.",
    Reason.INSUFFICIENT_BALANCE: "Waiting until an operator tops up who pays for the delivery.",
    Reason.HELD_BY_OPERATOR: "Held by an operator, who can let it go on.",
    Reason.DENIED_BY_POLICY: "Held by the relayer's rules; an operator can let it go on.",
    Reason.DROPPED_BY_OPERATOR: "Dropped by an operator, who can take it up again.",
    Reason.RETRIES_EXHAUSTED: "Given up after too many tries; an operator can start it over.",
    Reason.INTERNAL_ERROR: "Put off by a bug of the relayer.",
}
"""What strangers can do nothing about is said without commands and settings."""
GIVEN_UP = "; given up: an operator can start it over."

_PAUSED = re.compile(
    r"((?:chain|lane|route|signer) .{1,100}?) is paused by .*? since (unknown|[0-9][0-9T:.-]+Z).*",
    re.DOTALL,
)
_FAILED = re.compile(r"(?<!no )\b(endpoint|signer) \S.*?: .*", re.DOTALL)
_URL = r"\b[a-z][a-z0-9+.-]{1,20}://[^\s'\"<>]+"
_LABEL = r"[a-z0-9-]{1,63}"
_HOST = (
    rf"(?<![a-z0-9.-])(?:(?:{_LABEL}\.){{1,8}}{_LABEL}:[0-9]{{2,5}}\b"
    rf"|(?!0x){_LABEL}:[0-9]{{4,5}}\b(?![->]))"
)
_ADDRESS = re.compile(f"{_URL}|{_HOST}", re.IGNORECASE)
"""A name without dots is a host when its number is long, and a log (`0x..:5`) or route is none."""


def public_view(record: Record) -> dict[str, Any]:
    """The message and its walk as JSON for everybody."""
    shown = replace(
        record,
        detail=discreet(record.detail),
        timeline=tuple(replace(one, detail=discreet(one.detail)) for one in record.timeline),
        evidence={key: without_hosts(printable(text)) for key, text in record.evidence.items()},
    )
    told = explanation(shown, sentences=PUBLIC_SENTENCES, given_up=GIVEN_UP)
    return {**record_view(shown), "explanation": told}


def discreet(detail: str) -> str:
    """A detail without who paused something and why, which endpoint or signer failed, and hosts."""
    clean = printable(detail)
    paused = _PAUSED.fullmatch(clean)
    if paused is not None:
        return f"{paused[1]} is paused by an operator since {paused[2]}"
    return without_hosts(_FAILED.sub(r"one \1 failed", clean))


def without_hosts(text: str) -> str:
    """`text` without URLs and addresses with ports."""
    return _ADDRESS.sub("[hidden]", text)
