"""Prometheus metrics, grouped by the question an operator asks; labels are bounded by the config.

A message id, a hash or free text is never a label (an address only of our own signers), and every
series of a configured chain and route exists from the start, so that `rate()` sees the first one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from relayer.message import Reason, Route, Status
from relayer.ops.metric_labels import (
    ACT_OUTCOMES,
    LEASE_ROLES,
    REFUSALS,
    RELOADS,
    RPC_BUCKETS,
    RPC_METHODS,
    RPC_OUTCOMES,
    SIGNING_BUCKETS,
    SIGNING_ERRORS,
    STAGE_BUCKETS,
    STAGES,
    STORE_BUCKETS,
    STORE_ERRORS,
    TX_OUTCOMES,
)


class CountKey(Protocol):
    """What messages are counted by."""

    @property
    def route(self) -> Route: ...

    @property
    def status(self) -> Status: ...

    @property
    def reason(self) -> Reason: ...


K = TypeVar("K", bound=CountKey)


class Metrics:
    """Everything the relayer counts, on a registry of its own."""

    def __init__(self, *, version: str = "", clock: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._clock = clock
        self._statuses: set[tuple[str, str]] = set()
        self._why: set[tuple[str, str]] = set()
        self._is_it_active(version)
        self._are_messages_arriving()
        self._why_not()
        self._what_does_it_cost()
        self._is_it_about_to_break()
        self._who_does_what_to_it()

    def render(self) -> bytes:
        """All series in the Prometheus text format."""
        return generate_latest(self.registry)

    # --- definitions, by question ------------------------------------------------------------

    def _is_it_active(self, version: str) -> None:
        self._build = self._gauge("build_info", "Always 1; the version is a label.", "version")
        self._build.labels(version).set(1)
        self._started = self._gauge("start_time_seconds", "Unix time this process started.")
        self._started.set(self._clock())
        self._lease = self._gauge(
            "lease_held", "1 while this process holds the lease of the role.", "chain", "role"
        )
        self._head = self._gauge("chain_head_block", "Newest block of the chain.", "chain")
        self._final = self._gauge(
            "chain_final_block", "Newest block its finality rule accepts.", "chain"
        )
        self._cursor = self._gauge("chain_cursor_block", "Everything up to it is stored.", "chain")
        self._lag = self._gauge(
            "chain_lag_blocks", "Final blocks that are not stored yet.", "chain"
        )
        self._polled = self._gauge(
            "chain_polled_time_seconds", "Unix time the chain last answered its follower.", "chain"
        )

    def _are_messages_arriving(self) -> None:
        self._messages = self._gauge("messages", "Messages by status.", "route", "status")
        self._stage = Histogram(
            "relayer_stage_seconds",
            "Seconds messages spent in a part of their walk.",
            ("stage", "route"),
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self._oldest = self._gauge(
            "oldest_pending_seconds",
            "Age of the oldest message not delivered, held or dead.",
            "chain",
        )

    def _why_not(self) -> None:
        self._reasons = self._counter(
            "reasons", "Times a message was put off or failed, by reason.", "route", "reason"
        )
        self._held_up = self._gauge(
            "messages_by_reason", "Undelivered messages by present reason.", "route", "reason"
        )
        self._undecodable = self._counter(
            "undecodable_logs", "Transactions whose logs had a wrong shape.", "chain", "bridge"
        )
        self._reorgs = self._counter(
            "reorgs", "Blocks replaced after the finality rule had accepted them.", "chain"
        )
        self._paused = self._gauge("paused", "1 for what operators have paused.", "kind", "what")
        self._lost = self._counter(
            "records_lost", "Times records were missing and were read from the chain anew.", "chain"
        )
        self._crashes = self._counter("agent_failures", "Failed ticks of agents.", "agent", "kind")

    def _what_does_it_cost(self) -> None:
        self._rpc = self._counter(
            "rpc_requests",
            "JSON-RPC requests, a batch as one of the method `batch`.",
            "chain",
            "endpoint",
            "method",
            "outcome",
        )
        self._rpc_calls = self._counter(
            "rpc_calls",
            "Calls in JSON-RPC requests, those in batches one by one.",
            "chain",
            "method",
        )
        self._rpc_seconds = Histogram(
            "relayer_rpc_seconds",
            "Seconds JSON-RPC requests took.",
            ("chain", "endpoint"),
            buckets=RPC_BUCKETS,
            registry=self.registry,
        )
        self._transactions = self._counter(
            "transactions", "Transactions by what became of them.", "chain", "outcome"
        )
        self._gas = self._counter("gas_spent", "Gas used by mined transactions.", "route")
        self._wei = self._counter(
            "wei_spent", "Destination wei paid for mined transactions.", "route"
        )

        self._income = self._counter(
            "wei_earned", "Destination wei that inboxes paid for deliveries.", "route"
        )
        self._wasted = self._counter(
            "wasted_calls", "Calls that were mined and delivered nothing.", "route"
        )

    def _is_it_about_to_break(self) -> None:
        self._endpoint = self._gauge(
            "endpoint_healthy", "1 while the endpoint is used.", "chain", "endpoint"
        )
        self._endpoint_lag = self._gauge(
            "endpoint_lag_blocks",
            "Blocks behind the chain's best endpoint.",
            "chain",
            "endpoint",
        )
        self._balance = self._gauge(
            "signer_balance_wei", "Balance of a configured signer.", "chain", "signer"
        )
        self._in_flight = self._gauge(
            "signer_nonces_in_flight", "Nonces used and not yet settled.", "chain", "signer"
        )
        self._signing = Histogram(
            "relayer_signing_seconds",
            "Seconds a signature took.",
            ("chain", "signer"),
            buckets=SIGNING_BUCKETS,
            registry=self.registry,
        )
        self._signing_errors = self._counter(
            "signing_errors", "Signatures that were not to be had.", "chain", "signer", "kind"
        )
        self._tree = self._gauge("tree_leaves", "Contiguous leaves stored.", "tree")
        self._gaps = self._gauge(
            "audit_missing_leaves", "Leaves the chain has and we lack.", "tree"
        )
        self._mismatches = self._counter(
            "audit_root_mismatches", "Audits that found another root.", "tree"
        )
        self._replaced = self._counter(
            "leaves_replaced", "Times a leaf was read with another value than before.", "tree"
        )
        self._store = self._gauge("store_up", "1 while Redis answers.")
        self._store_seconds = Histogram(
            "relayer_store_seconds",
            "Seconds Redis took to answer when asked how it is.",
            buckets=STORE_BUCKETS,
            registry=self.registry,
        )
        self._store_errors = self._counter(
            "store_errors", "Times Redis did not answer when asked how it is.", "kind"
        )
        for kind in STORE_ERRORS:
            self._store_errors.labels(kind)
        self._memory = self._gauge("store_memory_bytes", "Memory Redis uses.")

    def _who_does_what_to_it(self) -> None:
        self._refusals = self._counter(
            "operator_refusals", "Requests that the operator API refused, by why.", "why"
        )
        for why in REFUSALS:
            self._refusals.labels(why)
        self._reloads = self._counter(
            "reloads", "Times the configuration was to be taken up, by what came of it.", "outcome"
        )
        for outcome in RELOADS:
            self._reloads.labels(outcome)
        self._reload_successful = self._gauge(
            "config_last_reload_successful",
            "0 while the newest configuration that was to be taken up is a refused one.",
        )
        self._reload_successful.set(1)
        self._acts = self._counter("operator_acts", "Acts of operators by outcome.", "outcome")
        for outcome in ACT_OUTCOMES:
            self._acts.labels(outcome)

    # --- series that must exist from the start -----------------------------------------------

    def declare_chain(
        self, chain: str, *, endpoints: Iterable[str] = (), signers: Iterable[str] = ()
    ) -> None:
        """Create the series of a configured chain at zero; endpoints by their redacted names.

        A signer's balance is left out until it is known: zero would look like an empty wallet.
        """
        for gauge in (self._head, self._final, self._cursor, self._lag, self._polled, self._oldest):
            gauge.labels(chain)
        self._reorgs.labels(chain)
        self._lost.labels(chain)
        for method in ("eth_call", "eth_getLogs", "eth_sendRawTransaction"):
            self._rpc_calls.labels(chain, method)
        for role in LEASE_ROLES:
            self._lease.labels(chain, role)
        for outcome in TX_OUTCOMES:
            self._transactions.labels(chain, outcome)
        for endpoint in endpoints:
            self._endpoint.labels(chain, endpoint)
            self._endpoint_lag.labels(chain, endpoint)
            self._rpc_seconds.labels(chain, endpoint)
            for method in ("eth_call", "eth_getLogs", "eth_sendRawTransaction"):
                self._rpc.labels(chain, endpoint, method, "ok")
        for signer in signers:
            self.declare_signer(chain, signer)

    def declare_signer(self, chain: str, signer: str) -> None:
        """Create the series of a signer at zero."""
        self._in_flight.labels(chain, signer)
        self._signing.labels(chain, signer)
        for kind in SIGNING_ERRORS:
            self._signing_errors.labels(chain, signer, kind)

    def declare_route(self, route: Route) -> None:
        """Create the series of a configured route at zero."""
        name = str(route)
        for status in Status:
            self._messages.labels(name, status.value)
        for stage in STAGES:
            self._stage.labels(stage, name)
        for reason in Reason:
            self._reasons.labels(name, reason.value)
            self._held_up.labels(name, reason.value)
        self._gas.labels(name)
        self._wei.labels(name)
        self._income.labels(name)
        self._wasted.labels(name)

    def declare_tree(self, tree: str) -> None:
        """Create the series of a configured tree at zero."""
        self._tree.labels(tree)
        self._gaps.labels(tree)
        self._mismatches.labels(tree)
        self._replaced.labels(tree)

    def forget(self, **labels: str) -> None:
        """Remove every series that has all these labels: what it told of is no more."""
        for found in vars(self).values():
            if isinstance(found, Counter | Gauge | Histogram):
                with contextlib.suppress(ValueError):  # it does not have all of these labels
                    found.remove_by_labels(labels)

    # --- is it active? -----------------------------------------------------------------------

    def chain(self, chain: str, head: int, final: int, cursor: int) -> None:
        """Where a chain and its follower are, as block numbers."""
        self._head.labels(chain).set(head)
        self._final.labels(chain).set(final)
        self._cursor.labels(chain).set(cursor)
        self._lag.labels(chain).set(max(0, final - cursor))
        self._polled.labels(chain).set(self._clock())

    def lease(self, chain: str, role: str, held: bool) -> None:
        """Whether this process holds the `follower` or `lane` lease of a chain."""
        self._lease.labels(chain, str(role)).set(int(held))

    # --- are messages arriving? --------------------------------------------------------------

    def messages(self, counts: Mapping[K, int]) -> None:
        """Replace the counts of messages by `store.counts()`; what is not in it becomes zero."""
        by_status: dict[tuple[str, str], int] = {}
        by_reason: dict[tuple[str, str], int] = {}
        for key, count in counts.items():
            route = str(key.route)
            status = route, key.status.value
            by_status[status] = by_status.get(status, 0) + count
            if key.status is not Status.DELIVERED:
                reason = route, key.reason.value
                by_reason[reason] = by_reason.get(reason, 0) + count
        _replace(self._messages, self._statuses, by_status)
        _replace(self._held_up, self._why, by_reason)

    def stage(self, route: Route, stage: str, seconds: float) -> None:
        """Time one message spent in one of `STAGES`; KeyError for any other stage."""
        if stage not in STAGES:
            raise KeyError(stage)
        self._stage.labels(stage, str(route)).observe(max(0.0, seconds))

    def oldest_pending(self, chain: str, age_s: float | None) -> None:
        """Age of the oldest undelivered message of a destination, None when there is none."""
        self._oldest.labels(chain).set(max(0.0, age_s or 0.0))

    # --- why not? ----------------------------------------------------------------------------

    def reason(self, route: Route, reason: Reason) -> None:
        """A message was put off, refused or failed."""
        self._reasons.labels(str(route), Reason(reason).value).inc()

    def undecodable(self, chain: str, bridge: str) -> None:
        """The logs of a transaction were not what the bridge's contracts emit."""
        self._undecodable.labels(chain, bridge).inc()

    def reorg(self, chain: str) -> None:
        """A block that the finality rule had accepted was replaced."""
        self._reorgs.labels(chain).inc()

    def paused(self, things: Iterable[tuple[str, str]]) -> None:
        """Everything that is paused, by kind and name, in place of what was."""
        self._paused.clear()
        for kind, what in things:
            self._paused.labels(kind, what).set(1)

    def records_lost(self, chain: str) -> None:
        """Records of messages from a chain were not in Redis any more and are read again."""
        self._lost.labels(chain).inc()

    def agent_failed(self, agent: str, kind: str) -> None:
        """An agent's tick failed; `kind` is an error label or `crash`."""
        self._crashes.labels(agent, kind).inc()

    # --- what does it cost? ------------------------------------------------------------------

    def rpc(
        self, chain: str, endpoint: str, methods: Sequence[str], outcome: str, seconds: float
    ) -> None:
        """One JSON-RPC request, a batch where it has several `methods`; `endpoint` is a redacted
        name, `outcome` `ok` or an error label."""
        known = [method if method in RPC_METHODS else "other" for method in methods]
        for method in known:
            self._rpc_calls.labels(chain, method).inc()
        known_method = known[0] if len(known) == 1 else "batch"
        known_outcome = outcome if outcome in RPC_OUTCOMES else "other"
        self._rpc.labels(chain, endpoint, known_method, known_outcome).inc()
        self._rpc_seconds.labels(chain, endpoint).observe(max(0.0, seconds))

    def transaction(self, chain: str, outcome: str) -> None:
        """A transaction reached one of `TX_OUTCOMES`."""
        known = outcome if outcome in TX_OUTCOMES else "other"
        self._transactions.labels(chain, known).inc()

    def cost(self, route: Route, gas: int, wei: int) -> None:
        """A route's share of a mined transaction."""
        self._gas.labels(str(route)).inc(gas)
        self._wei.labels(str(route)).inc(wei)

    def income(self, route: Route, wei: int) -> None:
        """What the inbox paid for a mined transaction's deliveries on a route."""
        self._income.labels(str(route)).inc(wei)

    def wasted(self, route: Route) -> None:
        """A mined call of ours delivered nothing (somebody was faster, or it failed)."""
        self._wasted.labels(str(route)).inc()

    # --- is it about to break? ---------------------------------------------------------------

    def endpoint(self, chain: str, endpoint: str, *, healthy: bool, lag_blocks: int) -> None:
        """Health of one endpoint, by its redacted name."""
        self._endpoint.labels(chain, endpoint).set(int(healthy))
        self._endpoint_lag.labels(chain, endpoint).set(lag_blocks)

    def balance(self, chain: str, signer: str, wei: int) -> None:
        """Native balance of a configured signer, by its address: the few the operator listed."""
        self._balance.labels(chain, signer).set(wei)

    def in_flight(self, chain: str, signer: str, nonces: int) -> None:
        """Nonces of a configured signer that are used and not yet settled."""
        self._in_flight.labels(chain, signer).set(nonces)

    def signing(self, chain: str, signer: str, outcome: str, seconds: float) -> None:
        """A signer was asked for a signature: `ok`, or one of `SIGNING_ERRORS`."""
        if outcome == "ok":
            self._signing.labels(chain, signer).observe(max(0.0, seconds))
        elif outcome in SIGNING_ERRORS:
            self._signing_errors.labels(chain, signer, outcome).inc()

    def tree(self, tree: str, leaves: int) -> None:
        """Number of contiguous leaves stored of an outbox tree."""
        self._tree.labels(tree).set(leaves)

    def audit_gap(self, tree: str, missing: int) -> None:
        """How many leaves the chain has and we lack, as the auditor found it."""
        self._gaps.labels(tree).set(max(0, missing))

    def audit_mismatch(self, tree: str) -> None:
        """The auditor computed another root than the chain's own."""
        self._mismatches.labels(tree).inc()

    def leaf_replaced(self, tree: str) -> None:
        """A block read again holds another leaf than the tree did."""
        self._replaced.labels(tree).inc()

    def store_answered(self, seconds: float, memory_bytes: int) -> None:
        """Redis said how it is, after so long."""
        self._store.set(1)
        self._store_seconds.observe(max(0.0, seconds))
        self._memory.set(memory_bytes)

    def store_failed(self, kind: str) -> None:
        """Redis was asked how it is and failed with one of `STORE_ERRORS`."""
        self._store.set(0)
        self._store_errors.labels(kind if kind in STORE_ERRORS else "other").inc()

    # --- who does what to it? ----------------------------------------------------------------

    def operator_refused(self, why: str) -> None:
        """The operator API turned a request away for one of `REFUSALS`."""
        self._refusals.labels(why).inc()

    def operator_act(self, outcome: str) -> None:
        """An operator's act came to one of `ACT_OUTCOMES`."""
        self._acts.labels(outcome).inc()

    def reloaded(self, outcome: str) -> None:
        """The configuration was read again, which came to one of `RELOADS`."""
        self._reloads.labels(outcome).inc()
        if outcome != "busy":
            self._reload_successful.set(outcome != "refused")

    # --- making them -------------------------------------------------------------------------

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"relayer_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"relayer_{name}", text, labels, registry=self.registry)


def _replace(
    gauge: Gauge, shown: set[tuple[str, str]], counts: Mapping[tuple[str, str], int]
) -> None:
    """Set the gauge to `counts` and to zero whatever it showed before and is gone."""
    for labels in shown - counts.keys():
        gauge.labels(*labels).set(0)
    for labels, count in counts.items():
        gauge.labels(*labels).set(count)
    shown.clear()
    shown.update(counts)
