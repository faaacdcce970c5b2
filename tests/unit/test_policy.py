"""The operator's rules: lists, fee rules and their fail-closed defaults."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from relayer.message import Gas, Payment, Reason, Wei
from relayer.pipeline.log_range import LogRange
from relayer.pipeline.policy import Offer, Policy, matches
from relayer.pipeline.retry import LONGEST_S, SCHEDULE_S, RetryPolicy
from relayer.settings import FeeRule, MatchRule, PolicySettings
from tests.unit.sample_records import record_of as record


def rule(**fields: Any) -> MatchRule:
    return MatchRule.model_validate(fields)


def test_an_address_rule_matches_its_padded_form() -> None:
    """A 20-byte address in a rule equals the 32-byte word a protocol states."""
    word = "0x" + "00" * 12 + "ab" * 20
    message = replace(record().message, sender=word)
    assert matches(rule(sender="0x" + "ab" * 20), replace(record(), message=message))
    assert not matches(rule(sender="0x" + "ac" * 20), replace(record(), message=message))


def test_every_given_field_must_match() -> None:
    """AND within a rule: one wrong field is enough to miss."""
    one = record()
    right = rule(bridge=one.route.bridge, destination=one.route.destination)
    wrong = rule(bridge=one.route.bridge, destination=one.route.destination + 1)
    assert matches(right, one)
    assert not matches(wrong, one)


def test_no_body_can_make_a_regex_slow() -> None:
    """Matching is linear: what makes a backtracking engine run for years takes no time here."""
    message = replace(record().message, body=b"\xaa" * 200_000)
    before = time.process_time()
    assert not matches(rule(body_regex="^(a+)+b$"), replace(record(), message=message))
    assert matches(rule(body_regex="^(a|aa)+$"), replace(record(), message=message))
    assert time.process_time() - before < 2


def test_a_regex_may_match_anywhere_in_the_body() -> None:
    """On the body as lower-case hex; anchors say where."""
    message = replace(record().message, body=b"\x00\xde\xad\x01")
    one = replace(record(), message=message)
    assert matches(rule(body_regex="dead"), one)
    assert not matches(rule(body_regex="^dead"), one)


def test_a_denied_message_is_held_with_the_rule_that_did_it() -> None:
    """`deny` wins and the detail names the rule."""
    policy = Policy(PolicySettings(deny=[rule(min_body=10**6), rule(bridge=record().route.bridge)]))
    refused = policy.admit(record())
    assert refused is not None
    assert refused.reason is Reason.DENIED_BY_POLICY
    assert "deny[1]" in refused.detail
    assert not refused.dead


def test_no_matching_fee_rule_refuses() -> None:
    """Fail closed: a message that no fee rule covers is not carried for free."""
    policy = Policy(PolicySettings(fee=[FeeRule(match=rule(bridge="another"))]))
    assert policy.admit(record()) is not None


@pytest.mark.parametrize(
    ("payment", "waits"),
    [
        (Payment(), True),
        (Payment(amount=Wei(99), count=1), True),
        (Payment(amount=Wei(100), count=1), False),
    ],
)
def test_minimum_waits_until_enough_is_paid(payment: Payment, waits: bool) -> None:
    """`minimum` counts wei of the origin chain; nothing paid is never enough."""
    policy = Policy(PolicySettings(fee=[FeeRule(kind="minimum", minimum=100)]))
    wait = policy.unpaid(replace(record(), payment=payment))
    assert (wait is not None) is waits
    if wait is not None:
        assert wait.reason is Reason.AWAITING_PAYMENT


def test_quote_fraction_compares_gas_bought_with_gas_needed() -> None:
    """Half of the simulated gas must be bought; before a simulation it does not decide."""
    policy = Policy(PolicySettings(fee=[FeeRule(kind="quote_fraction", fraction="1/2")]))
    paid = replace(record(), payment=Payment(gas=Gas(50_000), amount=Wei(1), count=1))
    assert policy.unpaid(paid) is None
    assert policy.unpaid(paid, offer(gas=100_000)) is None
    assert policy.unpaid(paid, offer(gas=100_002)) is not None


def offer(gas: int = 1, cost: int = 0, income: int = 0) -> Offer:
    return Offer(Gas(gas), Wei(cost), Wei(income))


def test_profit_wants_the_cost_and_a_margin_from_the_inbox() -> None:
    """An unprofitable message waits, with both sums, and is looked at again."""
    policy = Policy(PolicySettings(fee=[FeeRule(kind="profit", margin="1/10")]))
    assert policy.unpaid(record()) is None
    assert policy.unpaid(record(), offer(cost=100, income=110)) is None
    wait = policy.unpaid(record(), offer(cost=100, income=109))
    assert wait is not None
    assert wait.reason is Reason.AWAITING_PAYMENT
    assert "earns 109 wei" in wait.detail
    assert "110 are needed" in wait.detail
    assert 0 < wait.recheck_s <= 60


def test_a_sponsor_pays_up_to_what_one_message_may_cost() -> None:
    """`max_per_message` is a limit on the delivery's cost, not on what it earns."""
    policy = Policy(PolicySettings(fee=[FeeRule(max_per_message=1000)]))
    assert policy.unpaid(record(), offer(cost=1000)) is None
    wait = policy.unpaid(record(), offer(cost=1001))
    assert wait is not None
    assert wait.reason is Reason.BUDGET_SPENT
    assert "policy.fee[0].max_per_message is 1000" in wait.detail


def test_budgets_are_named_by_rule_and_sender() -> None:
    """One sender cannot spend another's part."""
    policy = Policy(PolicySettings(fee=[FeeRule(max_per_day=10**9, max_per_sender=5)]))
    whole, own = policy.budgets(record())
    assert (whole.name, whole.limit) == ("policy.fee[0].max_per_day", 10**9)
    assert own.limit == 5
    assert record().message.sender.removeprefix("0x") in own.name


def test_budgets_belong_to_sponsors_alone() -> None:
    """A budget beside another kind would be silently without effect."""
    with pytest.raises(ValueError, match="max_per_day goes with kind: sponsor, not profit"):
        FeeRule(kind="profit", max_per_day=1)


def test_retries_follow_the_schedule_and_end() -> None:
    """Delays grow with jitter of a tenth, stay under an hour (and a tenth), and then stop."""
    policy, rng = RetryPolicy(max_attempts=30), random.Random(7)
    for failures in range(1, 30):
        delay = policy.delay_s(failures, rng)
        assert delay is not None
        assert delay <= LONGEST_S * 1.1
        if failures <= len(SCHEDULE_S):
            assert delay == pytest.approx(SCHEDULE_S[failures - 1], rel=0.101)
    assert policy.delay_s(30, rng) is None


def test_log_range_halves_on_refusal_and_grows_back() -> None:
    """A provider's limit is found by halving, and the range recovers after good answers."""
    blocks = LogRange(1000)
    blocks.refused()
    blocks.refused()
    assert blocks.size == 250
    for _ in range(16):
        blocks.accepted()
    assert blocks.size == 1000
    for _ in range(20):
        blocks.refused()
    assert blocks.size == 1
