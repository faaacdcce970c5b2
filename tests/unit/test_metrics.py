"""Metrics: bounded labels, series from the start, and the numbers that were put in."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relayer.message import Reason, Route, Status
from relayer.ops.metric_labels import STAGES, TX_OUTCOMES
from relayer.ops.metrics import Metrics
from tests.unit.sample_records import ROUTE

R = str(ROUTE)
OTHER = Route.parse("hyper:10>1")


@dataclass(frozen=True)
class Count:
    """A key of the store's counts."""

    route: Route
    status: Status
    reason: Reason


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", clock=lambda: 1000.0)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of one series, None when it does not exist."""
    return metrics.registry.get_sample_value(f"relayer_{name}", labels)


def test_two_instances_share_nothing() -> None:
    """A fresh registry each: no global state between tests or engines."""
    one, two = Metrics(), Metrics()
    one.reorg("base")
    assert value(one, "reorgs_total", chain="base") == 1
    assert value(two, "reorgs_total", chain="base") is None


def test_declared_routes_start_at_zero(metrics: Metrics) -> None:
    """Every status, stage and reason of a configured route exists before anything happens."""
    metrics.declare_route(ROUTE)
    for status in Status:
        assert value(metrics, "messages", route=R, status=status) == 0
    for stage in STAGES:
        assert value(metrics, "stage_seconds_count", stage=stage, route=R) == 0
    for reason in Reason:
        assert value(metrics, "reasons_total", route=R, reason=reason) == 0
    assert value(metrics, "gas_spent_total", route=R) == 0
    assert value(metrics, "wei_spent_total", route=R) == 0


def test_declared_chains_and_trees_start_at_zero(metrics: Metrics) -> None:
    """All but the balance, which at zero would look like an empty wallet."""
    metrics.declare_chain("base", endpoints=["rpc.example"], signers=["0xabc"])
    metrics.declare_tree("hyper")
    for name in ("head_block", "final_block", "cursor_block", "lag_blocks"):
        assert value(metrics, f"chain_{name}", chain="base") == 0
    for role in ("follower", "lane"):
        assert value(metrics, "lease_held", chain="base", role=role) == 0
    for outcome in TX_OUTCOMES:
        assert value(metrics, "transactions_total", chain="base", outcome=outcome) == 0
    assert value(metrics, "oldest_pending_seconds", chain="base") == 0
    assert value(metrics, "endpoint_healthy", chain="base", endpoint="rpc.example") == 0
    assert value(metrics, "signer_nonces_in_flight", chain="base", signer="0xabc") == 0
    assert value(metrics, "signer_balance_wei", chain="base", signer="0xabc") is None
    assert value(metrics, "audit_missing_leaves", tree="hyper") == 0


def test_message_counts_replace_each_other(metrics: Metrics) -> None:
    """Counts of several reasons add up, and what is gone drops to zero."""
    metrics.messages(
        {
            Count(ROUTE, Status.WAITING, Reason.AWAITING_ROOT): 2,
            Count(ROUTE, Status.WAITING, Reason.PAUSED): 3,
            Count(OTHER, Status.DELIVERED, Reason.DELIVERED_BY_US): 5,
        }
    )
    assert value(metrics, "messages", route=R, status="waiting") == 5
    assert value(metrics, "messages_by_reason", route=R, reason="paused") == 3
    assert value(metrics, "messages", route=str(OTHER), status="delivered") == 5
    done = {"route": str(OTHER), "reason": "delivered_by_us"}
    assert value(metrics, "messages_by_reason", **done) is None
    metrics.messages({Count(ROUTE, Status.WAITING, Reason.PAUSED): 1})
    assert value(metrics, "messages", route=R, status="waiting") == 1
    assert value(metrics, "messages", route=str(OTHER), status="delivered") == 0
    assert value(metrics, "messages_by_reason", route=R, reason="awaiting_root") == 0


def test_stages_are_a_closed_set(metrics: Metrics) -> None:
    """A misspelt stage is a bug, not a new series; negative spans count as zero."""
    metrics.stage(ROUTE, "seen_to_ready", -5.0)
    metrics.stage(ROUTE, "seen_to_ready", 4.0)
    assert value(metrics, "stage_seconds_sum", stage="seen_to_ready", route=R) == 4.0
    assert value(metrics, "stage_seconds_count", stage="seen_to_ready", route=R) == 2
    with pytest.raises(KeyError, match="seen_to_redy"):
        metrics.stage(ROUTE, "seen_to_redy", 1.0)


def test_rpc_labels_are_bounded(metrics: Metrics) -> None:
    """What a caller makes up as method or outcome cannot make new series."""
    metrics.rpc("base", "rpc.example", ["eth_call"], "ok", 0.02)
    for made_up in ("evil_one", "evil_two"):
        metrics.rpc("base", "rpc.example", [made_up], made_up, 0.02)
    labels = {"chain": "base", "endpoint": "rpc.example"}
    good = value(metrics, "rpc_requests_total", method="eth_call", outcome="ok", **labels)
    other = value(metrics, "rpc_requests_total", method="other", outcome="other", **labels)
    assert (good, other) == (1, 2)
    assert value(metrics, "rpc_seconds_count", **labels) == 3
    assert b"evil" not in metrics.render()


def test_a_batch_is_one_request_of_many_calls(metrics: Metrics) -> None:
    """What a provider bills by the call is counted apart from round trips."""
    metrics.rpc("base", "e", ["eth_call", "eth_call", "eth_getLogs"], "ok", 0.1)
    labels = {"chain": "base", "endpoint": "e", "method": "batch", "outcome": "ok"}
    assert value(metrics, "rpc_requests_total", **labels) == 1
    assert value(metrics, "rpc_calls_total", chain="base", method="eth_call") == 2
    assert value(metrics, "rpc_calls_total", chain="base", method="eth_getLogs") == 1


@pytest.mark.parametrize("outcome", ["endpoint_down", "rpc_refused", "call_reverted"])
def test_error_labels_are_known_outcomes(metrics: Metrics, outcome: str) -> None:
    """Every label of the error tree may be an outcome of a request."""
    metrics.rpc("base", "e", ["eth_call"], outcome, 0.1)
    labels = {"chain": "base", "endpoint": "e", "method": "eth_call", "outcome": outcome}
    assert value(metrics, "rpc_requests_total", **labels) == 1


def test_chains_tell_their_lag(metrics: Metrics) -> None:
    """Lag counts final blocks not stored, and a cursor ahead of a lagging node is no debt."""
    metrics.chain("base", 120, 110, 100)
    assert value(metrics, "chain_lag_blocks", chain="base") == 10
    assert value(metrics, "chain_polled_time_seconds", chain="base") == 1000.0
    metrics.chain("base", 120, 99, 100)
    assert value(metrics, "chain_lag_blocks", chain="base") == 0


def test_money_adds_up(metrics: Metrics) -> None:
    """Gas and wei are sums per route; balances are the last known ones."""
    metrics.cost(ROUTE, 100_000, 3 * 10**15)
    metrics.cost(ROUTE, 50_000, 10**15)
    metrics.balance("base", "0xabc", 7)
    metrics.in_flight("base", "0xabc", 2)
    assert value(metrics, "gas_spent_total", route=R) == 150_000
    assert value(metrics, "wei_spent_total", route=R) == 4 * 10**15
    assert value(metrics, "signer_balance_wei", chain="base", signer="0xabc") == 7
    assert value(metrics, "signer_nonces_in_flight", chain="base", signer="0xabc") == 2


def test_transactions_by_outcome_are_bounded(metrics: Metrics) -> None:
    """Known outcomes have their own series, others share one."""
    metrics.transaction("base", "mined")
    metrics.transaction("base", "0xdeadbeef")
    assert value(metrics, "transactions_total", chain="base", outcome="mined") == 1
    assert value(metrics, "transactions_total", chain="base", outcome="other") == 1


def test_health_series_follow_what_is_said(metrics: Metrics) -> None:
    """Leases, endpoints, trees, audits and the store go up and down."""
    metrics.lease("base", "lane", True)
    metrics.lease("base", "follower", True)
    metrics.lease("base", "follower", False)
    assert value(metrics, "lease_held", chain="base", role="lane") == 1
    assert value(metrics, "lease_held", chain="base", role="follower") == 0
    metrics.endpoint("base", "e", healthy=True, lag_blocks=3)
    assert value(metrics, "endpoint_lag_blocks", chain="base", endpoint="e") == 3
    metrics.tree("hyper", 12)
    metrics.audit_gap("hyper", 4)
    metrics.audit_mismatch("hyper")
    assert value(metrics, "tree_leaves", tree="hyper") == 12
    assert value(metrics, "audit_missing_leaves", tree="hyper") == 4
    assert value(metrics, "audit_root_mismatches_total", tree="hyper") == 1
    metrics.oldest_pending("base", 12.5)
    metrics.undecodable("base", "hyper")
    metrics.agent_failed("prover:base", "crash")
    assert value(metrics, "oldest_pending_seconds", chain="base") == 12.5
    metrics.oldest_pending("base", None)
    assert value(metrics, "oldest_pending_seconds", chain="base") == 0


def test_the_store_tells_latency_errors_and_memory(metrics: Metrics) -> None:
    """Known kinds of failure exist from the start, others share one."""
    assert value(metrics, "store_errors_total", kind="timeout") == 0
    metrics.store_answered(0.002, 99)
    assert (value(metrics, "store_up"), value(metrics, "store_memory_bytes")) == (1, 99)
    metrics.store_failed("timeout")
    metrics.store_failed("anything")
    assert value(metrics, "store_up") == 0
    assert value(metrics, "store_errors_total", kind="timeout") == 1
    assert value(metrics, "store_errors_total", kind="other") == 1
    assert value(metrics, "store_seconds_sum") == 0.002


def test_the_page_is_valid_and_every_name_is_ours(metrics: Metrics) -> None:
    """Prometheus can parse the page, and all series carry our prefix and a help text."""
    metrics.declare_route(ROUTE)
    metrics.declare_chain("base", endpoints=["e"], signers=["0xabc"])
    families = list(text_string_to_metric_families(metrics.render().decode()))
    assert len(families) > 25
    assert all(family.name.startswith("relayer_") for family in families)
    assert all(family.documentation for family in families)
    assert value(metrics, "build_info", version="1.2.3") == 1
