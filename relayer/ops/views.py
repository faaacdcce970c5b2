"""Turns stored records into what people and programs read: the one shape of the API and the CLI.

Names here are a contract: add, never rename. Times are ISO 8601 in UTC; amounts of wei are strings,
because JSON numbers are exact only to 2^53.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from relayer.message import Event, Message, Moment, Reason, Record, Status, Timestamp

UNKNOWN = "unknown"
"""Said of a wake-up that nobody can foretell."""

MAX_TEXT = 1000
"""Characters shown of any one text that a chain or a contract chose."""
MAX_TIMELINE = 200
MAX_EVIDENCE = 32

SENTENCES: Mapping[Reason, str] = {
    Reason.NEW: "Seen on its origin chain; nothing has been asked about it yet.",
    Reason.AWAITING_FINALITY: "Waiting until its origin block is final.",
    Reason.AWAITING_ROOT: "Waiting until the destination knows a root that covers the message.",
    Reason.AWAITING_QUORUM: "Waiting until enough validators have signed.",
    Reason.AWAITING_TIME: "Waiting until a delay that the bridge imposes is over.",
    Reason.AWAITING_LEAF: "Waiting until every leaf before it in the outbox tree is stored.",
    Reason.AWAITING_TARGET: "Waiting until there is a contract at its recipient's address.",
    Reason.AWAITING_PAYMENT: "Waiting until its delivery pays enough for what it costs.",
    Reason.BUDGET_SPENT: "Waiting because a budget of `policy.fee` is spent for today.",
    Reason.PAUSED: "Waiting because the bridge is paused.",
    Reason.RATE_LIMITED: "Waiting because the bridge limits how much may pass.",
    Reason.SOURCE_UNREACHABLE: "Waiting because something it depends on does not answer.",
    Reason.ROOT_MISMATCH: "Waiting because our root is not the chain's: a person should look.",
    Reason.DRY_RUN: "Would be delivered now, but the relayer runs dry and sends nothing.",
    Reason.PROVED: "Proved; waiting for its place in a transaction.",
    Reason.BROADCAST: "In a transaction that is sent and not mined yet.",
    Reason.MINED: "In a mined transaction; waiting until that block is final.",
    Reason.DELIVERED_BY_US: "Delivered by this relayer.",
    Reason.DELIVERED_BY_OTHER: "Delivered by somebody else.",
    Reason.TARGET_FAILED: "The recipient contract refused it; it is tried again.",
    Reason.CALL_REVERTED: "The delivery reverted; it is tried again.",
    Reason.REBUILD_PROOF: "The proof was out of date; it is built anew.",
    Reason.OUT_OF_GAS: "The delivery ran out of gas; it is tried again.",
    Reason.GAS_CAP_EXCEEDED: "The delivery needs more gas than the lane's gas_cap allows.",
    Reason.FEE_CAP_EXCEEDED: "Gas costs more than the chain's max_fee_gwei allows.",
    Reason.INSUFFICIENT_BALANCE: "No signer has enough money for the delivery: top one up.",
    Reason.REPLACED: "Its transaction was replaced by another; it is sent again.",
    Reason.REORGED: "A block that held it was replaced; it is followed anew.",
    Reason.HELD_BY_OPERATOR: "Held by an operator: `relayer release` lets it go on.",
    Reason.DENIED_BY_POLICY: "Held by the policy: change the policy, then `relayer release`.",
    Reason.UNSUPPORTED: "Not carried because this bridge set-up is not supported.",
    Reason.DROPPED_BY_OPERATOR: "Dropped by an operator: `relayer retry` takes it up again.",
    Reason.RETRIES_EXHAUSTED: "Given up after too many tries: `relayer retry` starts over.",
    Reason.INVALID_MESSAGE: "Given up because the message is not valid.",
    Reason.UNDELIVERABLE: "Given up because the destination can never accept it.",
    Reason.RETRIED_BY_OPERATOR: "Taken up again by an operator.",
    Reason.RELEASED_BY_OPERATOR: "Released by an operator.",
    Reason.INTERNAL_ERROR: "Put off by a bug of the relayer: see its log.",
}
"""Every reason in words that need no knowledge of this program."""

PAUSED_HERE = "Waiting because an operator paused it here."
"""Said in place of what is said of a bridge that is paused."""

_OWN_GATE = "~"
"""What no bridge's name begins with: gates of pauses, which tell a reader nothing."""

_AGAIN = "; it is tried again."
GIVEN_UP = "; given up: `relayer retry` starts over."

_FINISHED = frozenset({Status.DELIVERED, Status.HELD, Status.DEAD, Status.ORPHANED})
"""Statuses that no clock ends."""

# Line breaks, control characters and the marks that reorder text could fake lines in a terminal.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of a configuration check."""

    subject: str
    """What was looked at, for example `chains.base.endpoints[0]`."""
    ok: bool
    text: str
    """What was found, and the way out when it is not well."""
    warns: bool = False
    """It works, and a person should change it all the same."""
    is_known: bool = True
    """Whether anybody answered; what is not known may be well."""


def finding_view(finding: Finding) -> dict[str, Any]:
    """A check's answer as JSON."""
    return {
        "subject": printable(finding.subject),
        "ok": finding.ok,
        "warning": finding.warns,
        "text": printable(finding.text),
    }


def counted(count: int, thing: str) -> str:
    """A number of things in words."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def record_view(record: Record) -> dict[str, Any]:
    """A message and its walk as JSON."""
    return {
        **_message_view(record.message),
        "status": record.status.value,
        "reason": record.reason.value,
        "explanation": explanation(record),
        "since": iso(record.since),
        "seen_at": iso(record.seen_at),
        "next_wake_up": next_wake_up(record),
        "waits_for": _gate_view(record),
        "attempts": record.attempts,
        "tx": record.tx,
        "payment": {
            "gas": str(record.payment.gas),
            "amount_wei": str(record.payment.amount),
            "count": record.payment.count,
        },
        "timeline": [_moment_view(moment) for moment in record.timeline[-MAX_TIMELINE:]],
        "evidence": {
            printable(key, 64): printable(value)
            for key, value in list(record.evidence.items())[:MAX_EVIDENCE]
        },
    }


def event_view(event: Event) -> dict[str, Any]:
    """What is told of an event."""
    return {
        "at": iso(event.at),
        "id": event.id,
        "route": str(event.route),
        "status": event.status.value,
        "reason": event.reason.value,
        "origin_tx": event.origin_tx,
        "tx": event.tx,
    }


def explanation(
    record: Record,
    *,
    sentences: Mapping[Reason, str] = SENTENCES,
    given_up: str = GIVEN_UP,
) -> str:
    """One or two sentences: why the message is where it is, and what the engine adds to that."""
    sentence = sentences[record.reason]
    if record.reason is Reason.PAUSED and _is_at_own_gate(record):
        sentence = PAUSED_HERE
    if record.status is Status.DEAD:
        sentence = sentence.replace(_AGAIN, given_up)
    if record.status is Status.ORPHANED:
        sentence = "Its origin block was replaced; it comes back if it is included again."
    detail = printable(record.detail)
    return f"{sentence} ({detail})" if detail else sentence


def next_wake_up(record: Record) -> str | None:
    """ISO time of the next look by the clock, `unknown`, or None when none is due."""
    if record.status in _FINISHED:
        return None
    return UNKNOWN if record.wake_at is None else iso(record.wake_at)


def iso(at: Timestamp) -> str:
    """Unix seconds as ISO 8601 in UTC with milliseconds; `unknown` when it is no date."""
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return UNKNOWN
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """`text` on one line without control or reordering characters, at most `limit` long."""
    cut = text[: limit + 1]
    clean = _UNPRINTABLE.sub(" ", cut).encode("utf-8", "replace").decode("utf-8")
    return clean if len(cut) <= limit else clean[: limit - 3] + "..."


def _message_view(message: Message) -> dict[str, Any]:
    route, at = message.route, message.at
    return {
        "id": message.id,
        "route": str(route),
        "bridge": route.bridge,
        "origin": route.origin,
        "destination": route.destination,
        "sender": printable(message.sender, 80),
        "recipient": printable(message.recipient, 80),
        "nonce": str(message.nonce),
        "leaf_index": message.leaf_index,
        "body_bytes": len(message.body),
        "origin_tx": at.tx,
        "origin_block": at.block,
        "origin_block_hash": at.block_hash,
    }


def _gate_view(record: Record) -> dict[str, Any] | None:
    if record.gate is None or record.status in _FINISHED or _is_at_own_gate(record):
        return None
    return {"gate": printable(record.gate, 200), "value": str(record.gate_value or 0)}


def _is_at_own_gate(record: Record) -> bool:
    return record.gate is not None and record.gate.startswith(_OWN_GATE)


def _moment_view(moment: Moment) -> dict[str, Any]:
    return {
        "at": iso(moment.at),
        "status": moment.status.value,
        "reason": moment.reason.value,
        "detail": printable(moment.detail),
    }
