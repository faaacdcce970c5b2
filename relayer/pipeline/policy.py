"""The operator's rules: which messages may be carried, and which have paid enough.

Fail closed: a rule that cannot be evaluated refuses. Rules look only at fields that the origin
chain authenticated (route, sender, recipient, id, body), never at free text.
"""

from __future__ import annotations

import fnmatch
import re
from fractions import Fraction

from relayer.adapter import Refuse, Wait
from relayer.message import Gas, Reason, Record
from relayer.settings import FeeRule, MatchRule, PolicySettings

RECHECK_PAYMENT_S = 60.0


class Policy:
    """Evaluates allow and deny lists, fee rules and body limits; first matching fee rule wins."""

    def __init__(self, settings: PolicySettings) -> None:
        self._settings = settings

    def admit(self, record: Record) -> Refuse | None:
        """Refuse (held) a message that the lists do not let through, else None."""
        for number, rule in enumerate(self._settings.deny):
            if matches(rule, record):
                return Refuse(Reason.DENIED_BY_POLICY, f"policy.deny[{number}] matches")
        allow = self._settings.allow
        if allow and not any(matches(rule, record) for rule in allow):
            return Refuse(Reason.DENIED_BY_POLICY, "no rule of policy.allow matches")
        if self._fee_rule(record) is None:
            return Refuse(Reason.DENIED_BY_POLICY, "no rule of policy.fee matches")
        return None

    def unpaid(self, record: Record, gas: Gas | None = None) -> Wait | None:
        """Wait while the message has not paid what its fee rule asks.

        `gas` is the simulated cost in destination gas units; without it only rules that need no
        simulation are checked.
        """
        rule = self._fee_rule(record)
        if rule is None or rule.kind == "sponsor":
            return None
        paid = record.payment
        if rule.kind == "minimum":
            if paid.count and paid.amount >= rule.minimum:
                return None
            return _awaiting_payment(f"paid {paid.amount} wei of at least {rule.minimum}")
        if gas is None:
            return None
        needed = int(Fraction(rule.fraction) * gas)
        if paid.count and paid.gas >= needed:
            return None
        return _awaiting_payment(f"paid for {paid.gas} gas of at least {needed}")

    def _fee_rule(self, record: Record) -> FeeRule | None:
        for rule in self._settings.fee:
            if rule.match is None or matches(rule.match, record):
                return rule
        return None


def _awaiting_payment(detail: str) -> Wait:
    return Wait(Reason.AWAITING_PAYMENT, detail, recheck_s=RECHECK_PAYMENT_S)


def matches(rule: MatchRule, record: Record) -> bool:
    """True when every field that the rule gives agrees with the message."""
    message, route = record.message, record.route
    checks = (
        rule.route is None or fnmatch.fnmatchcase(str(route), rule.route),
        rule.bridge is None or rule.bridge == route.bridge,
        rule.origin is None or rule.origin == route.origin,
        rule.destination is None or rule.destination == route.destination,
        rule.sender is None or _same_account(rule.sender, message.sender),
        rule.recipient is None or _same_account(rule.recipient, message.recipient),
        rule.message_id is None or rule.message_id.lower() == message.id,
        rule.max_body is None or len(message.body) <= rule.max_body,
        rule.min_body is None or len(message.body) >= rule.min_body,
        rule.body_regex is None or re.search(rule.body_regex, message.body.hex()) is not None,
    )
    return all(checks)


def _same_account(one: str, other: str) -> bool:
    """Equal as 32-byte words: a 20-byte address equals its left-padded form."""
    return _word(one) == _word(other)


def _word(text: str) -> str:
    return text.lower().removeprefix("0x").rjust(64, "0")
