"""The operator's rules: which messages may be carried, and which have paid enough.

Fail closed: a rule that cannot be evaluated refuses. Rules look only at fields that the origin
chain authenticated (route, sender, recipient, id, body), never at free text.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from fractions import Fraction

from relayer.adapter import Refuse, Wait
from relayer.message import Gas, Reason, Record, Wei, account_word, is_same_account
from relayer.settings import FeeRule, MatchRule, PolicySettings, body_pattern

RECHECK_PAYMENT_S = 60.0


@dataclass(frozen=True, slots=True)
class Offer:
    """What one delivery would take and bring, at this moment's price."""

    gas: Gas
    cost: Wei
    """Of the destination, its share of the chain's data fee included."""
    income: Wei
    """What the inbox pays whoever delivers."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A daily limit in wei, under a name that says which."""

    name: str
    limit: int


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

    def unpaid(self, record: Record, offer: Offer | None = None) -> Wait | None:
        """Wait while the message has not paid, or does not pay, what its fee rule asks.

        Without an `offer` (before a simulation) only rules that need none are checked.
        """
        found = self._fee_rule(record)
        if found is None:
            return None
        name, rule = found
        match rule.kind:
            case "minimum":
                return _minimum(rule, record)
            case "quote_fraction" if offer is not None:
                return _quoted(rule, record, offer)
            case "profit" if offer is not None:
                return _profit(rule, record, offer)
            case "sponsor" if offer is not None:
                return _affordable(name, rule, record=record, offer=offer)
        return None

    def weighs(self, record: Record) -> bool:
        """Whether what the message's delivery costs decides if it is sent."""
        found = self._fee_rule(record)
        if found is None:
            return False
        rule = found[1]
        has_limit = rule.max_per_message is not None or bool(self.budgets(record))
        return rule.kind in ("quote_fraction", "profit") or has_limit

    def budgets(self, record: Record) -> tuple[Budget, ...]:
        """The daily budgets that the message's delivery is taken out of."""
        found = self._fee_rule(record)
        if found is None:
            return ()
        name, rule = found
        budgets = []
        if rule.max_per_day is not None:
            budgets.append(Budget(f"{name}.max_per_day", rule.max_per_day))
        if rule.max_per_sender is not None:
            whose = f"{name}.max_per_sender {account_word(record.message.sender)}"
            budgets.append(Budget(whose, rule.max_per_sender))
        return tuple(budgets)

    def _fee_rule(self, record: Record) -> tuple[str, FeeRule] | None:
        """The first rule that matches, with its place in the configuration."""
        for number, rule in enumerate(self._settings.fee):
            if rule.match is None or matches(rule.match, record):
                return f"policy.fee[{number}]", rule
        return None


def _minimum(rule: FeeRule, record: Record) -> Wait | None:
    paid = record.payment
    if paid.count and paid.amount >= rule.minimum:
        return None
    return _awaiting_payment(f"paid {paid.amount} wei of at least {rule.minimum}")


def _quoted(rule: FeeRule, record: Record, offer: Offer) -> Wait | None:
    paid = record.payment
    needed = int(Fraction(rule.fraction) * offer.gas * _tries(record))
    if paid.count and paid.gas >= needed:
        return None
    return _awaiting_payment(f"paid for {paid.gas} gas of at least {needed}{_spent(record)}")


def _profit(rule: FeeRule, record: Record, offer: Offer) -> Wait | None:
    needed = math.ceil(offer.cost * _tries(record) * (1 + Fraction(rule.margin)))
    if offer.income >= needed:
        return None
    return _awaiting_payment(
        f"earns {offer.income} wei, at today's gas price {needed} are needed{_spent(record)}"
    )


def _affordable(name: str, rule: FeeRule, *, record: Record, offer: Offer) -> Wait | None:
    limit, cost = rule.max_per_message, offer.cost * _tries(record)
    if limit is None or cost <= limit:
        return None
    detail = f"costs about {cost} wei, {name}.max_per_message is {limit}{_spent(record)}"
    return Wait(Reason.BUDGET_SPENT, detail, recheck_s=RECHECK_PAYMENT_S)


def _tries(record: Record) -> int:
    """One delivery must also pay for the transactions that the message has wasted before."""
    return 1 + record.wasted


def _spent(record: Record) -> str:
    return f", {record.wasted} wasted transactions included" if record.wasted else ""


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
        rule.sender is None or is_same_account(rule.sender, message.sender),
        rule.recipient is None or is_same_account(rule.recipient, message.recipient),
        rule.message_id is None or rule.message_id.lower() == message.id,
        rule.max_body is None or len(message.body) <= rule.max_body,
        rule.min_body is None or len(message.body) >= rule.min_body,
        rule.body_regex is None or _is_in_body(rule.body_regex, message.body),
    )
    return all(checks)


def _is_in_body(regex: str, body: bytes) -> bool:
    return body_pattern(regex).search(body.hex()) is not None
