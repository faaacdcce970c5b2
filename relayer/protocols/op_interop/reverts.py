"""What a refused relay means: words of nodes and filters, errors of the predeploys. Pure.

The messenger hands on whatever a target reverts with, so a target can say anything that the
predeploys say. Only data-less refusals are judged by their words: those are the node's own.
"""

from __future__ import annotations

import re

from relayer.abi import revert_text
from relayer.adapter import Action, Outcome, Verdict
from relayer.message import Address, Reason, Record
from relayer.protocols.op_interop import contracts

_WORDS: tuple[tuple[str, Action, Reason], ...] = (
    (r"failsafe", Action.WAIT, Reason.PAUSED),
    (r"not enough time has passed", Action.WAIT, Reason.AWAITING_TIME),
    (
        r"not in dependency set|no chain found|unknown chain|unsupported chain",
        Action.HOLD,
        Reason.UNSUPPORTED,
    ),
    (r"expired", Action.HOLD, Reason.UNDELIVERABLE),
    (
        r"future data|executing message block|in the future|ahead of|uninitialized|out of scope"
        r"|not (yet )?(cross|safe|available|synced)|awaiting|interop .{0,20}not (active|enabled)",
        Action.WAIT,
        Reason.AWAITING_FINALITY,
    ),
    (
        r"conflict|initiating message|block timestamp|identifier|checksum|access.?list"
        r"|fields are not equal|supervisor|interop",
        Action.RETRY,
        Reason.REBUILD_PROOF,
    ),
    (r"out of gas|gas required exceeds", Action.RETRY, Reason.OUT_OF_GAS),
)
"""supersim's `opsimulator`, op-geth's and op-reth's transaction pools, op-interop-filter."""


def classify_outcome(record: Record, outcome: Outcome) -> Verdict:
    """Say what a failed relay means."""
    if outcome.revert:
        return _by_selector(record, outcome.revert)
    found = classify_words(outcome.text)
    if found is not None:
        return found
    detail = outcome.text[:300] or "reverted without a reason"
    return Verdict(Action.RETRY, Reason.CALL_REVERTED, detail)


def classify_words(text: str) -> Verdict | None:
    """What a node's or filter's refusal means; None when it is in words that we do not know."""
    for wording, action, reason in _WORDS:
        if re.search(wording, text, re.IGNORECASE):
            return Verdict(action, reason, text[:300])
    return None


def _by_selector(record: Record, revert: bytes) -> Verdict:
    selector = revert[:4]
    if selector == contracts.MESSAGE_ALREADY_RELAYED:
        return _already_relayed(record)
    if selector == contracts.NOT_IN_ACCESS_LIST:
        detail = "the inbox does not find the message in the access list (NotInAccessList)"
        return Verdict(Action.RETRY, Reason.REBUILD_PROOF, detail)
    if selector == contracts.DESTINATION_NOT_RELAY_CHAIN:
        detail = "the messenger's chain id is another: MessageDestinationNotRelayChain"
        return Verdict(Action.HOLD, Reason.UNSUPPORTED, detail)
    if selector in contracts.MALFORMED:
        detail = f"the contracts refuse the form of our call: {contracts.MALFORMED[selector]}"
        return Verdict(Action.HOLD, Reason.INTERNAL_ERROR, detail)
    if selector in contracts.TARGET_UNSAFE and _is_unsafe(record):
        detail = f"no message may call {record.message.recipient} (MessageTargetUnsafe)"
        return Verdict(Action.DEAD, Reason.UNDELIVERABLE, detail)
    return Verdict(Action.RETRY, Reason.TARGET_FAILED, f"the target reverts: {revert_text(revert)}")


def _already_relayed(record: Record) -> Verdict:
    """Believed until the chain shows no delivery: then it was the target that said so."""
    if any(moment.reason is Reason.REORGED for moment in record.timeline):
        detail = "the target reverts with MessageAlreadyRelayed, and no delivery is seen"
        return Verdict(Action.RETRY, Reason.TARGET_FAILED, detail)
    detail = "the messenger has it: MessageAlreadyRelayed"
    return Verdict(Action.DONE, Reason.DELIVERED_BY_OTHER, detail)


def _is_unsafe(record: Record) -> bool:
    return Address(record.message.recipient.lower()) in contracts.UNSAFE_TARGETS
