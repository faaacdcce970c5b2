"""Alerts and dashboards ask for what the relayer exports, under the names and labels it uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relayer.message import Reason, Route, Status
from relayer.ops.api import ApiMetrics
from relayer.ops.api.limits import MONITORING
from relayer.ops.api.metering import CLASSES, NOTICE_OUTCOMES
from relayer.ops.metric_labels import (
    LEASE_ROLES,
    RELOADS,
    RPC_METHODS,
    RPC_OUTCOMES,
    STAGES,
    STORE_ERRORS,
    TX_OUTCOMES,
)
from relayer.ops.metrics import Metrics
from tests.deploy.files import DASHBOARDS, Query, alerts, all_queries, dashboard

EXPECTED_DASHBOARDS = {"overview", "route", "chain", "money", "internals"}

LABEL_VALUES: dict[str, frozenset[str]] = {
    "status": frozenset(Status) | frozenset(CLASSES),
    "path": MONITORING,
    "reason": frozenset(Reason),
    "stage": frozenset(STAGES),
    "role": frozenset(LEASE_ROLES),
    "outcome": frozenset(TX_OUTCOMES) | RPC_OUTCOMES | {*NOTICE_OUTCOMES, *RELOADS},
    "method": RPC_METHODS | {"other"},
    "kind": RPC_OUTCOMES | frozenset(STORE_ERRORS) | {"crash"},
    "route": frozenset({"$route"}),
    "chain": frozenset({"$chain"}),
    "alertstate": frozenset({"firing"}),
    "alertname": frozenset({"Relayer.*"}),
}
"""What may stand in a matcher; labels without a closed list are not matched on."""


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """Every series name a relayer shows once everything it counts has happened."""
    metrics = Metrics(version="1")
    metrics.declare_chain("alpha", endpoints=["rpc"], signers=["0xabc"])
    metrics.declare_route(Route.parse("b:1>2"))
    metrics.declare_tree("b")
    metrics.balance("alpha", "0xabc", 1)
    metrics.undecodable("alpha", "b")
    metrics.agent_failed("prover", "crash")
    metrics.paused([("lane", "10")])
    api = ApiMetrics(metrics.registry)
    api.declare_paths(["/v1/messages"])
    api.declare_webhooks(["shop"])
    text = metrics.render().decode()
    return {
        sample.name
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("query", all_queries(), ids=lambda query: query.where)
def test_every_metric_asked_for_is_exported(query: Query, exported: set[str]) -> None:
    """A renamed metric would leave an empty panel, or an alert that never comes."""
    assert query.metrics <= exported


@pytest.mark.parametrize("query", all_queries(), ids=lambda query: query.where)
def test_every_label_value_asked_for_exists(query: Query) -> None:
    """A misspelt status or reason matches nothing, in silence."""
    for label, value in query.matchers:
        assert value in LABEL_VALUES[label], f"{label}={value}"


def test_every_exported_metric_is_on_a_dashboard_or_in_an_alert(exported: set[str]) -> None:
    """What nobody can see need not be counted."""
    families = {name.removesuffix("_bucket") for name in exported}
    families -= {name for name in families if name.endswith(("_count", "_sum"))}
    seen = {name.removesuffix("_bucket") for query in all_queries() for name in query.metrics}
    assert families <= seen


def test_every_promised_dashboard_is_there() -> None:
    """One for each of the operator's subjects."""
    assert {path.stem for path in DASHBOARDS} == EXPECTED_DASHBOARDS


def test_dashboards_have_names_and_uids_of_their_own() -> None:
    """Grafana drops one of two that share a uid."""
    loaded = [dashboard(path) for path in DASHBOARDS]
    assert len({one["uid"] for one in loaded}) == len(loaded)
    assert len({one["title"] for one in loaded}) == len(loaded)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_can_be_provisioned(path: Path) -> None:
    """Own ids, on the grid, over nobody else, with a source that a variable names."""
    loaded = dashboard(path)
    variables = {variable["name"] for variable in loaded["templating"]["list"]}
    assert "datasource" in variables
    ids = [panel["id"] for panel in loaded["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in loaded["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
            for name in ("route", "chain"):
                assert f"${name}" not in target["expr"] or name in variables, panel["title"]


def test_alerts_have_names_of_their_own_and_say_how_bad_it_is() -> None:
    """Two severities: a person now, or a person today."""
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
