"""What is deployed, read the way the tests need it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules" / "relayer.yml"
RULE_TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))

_METRIC = re.compile(r"\brelayer_[a-z0-9_]+")
_MATCHER = re.compile(r'\b([a-z_]+)(=~|!~|!=|=)"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression, and where it stands."""

    where: str
    expr: str

    @property
    def metrics(self) -> set[str]:
        """Names of our metrics in it."""
        return set(_METRIC.findall(self.expr))

    @property
    def matchers(self) -> set[tuple[str, str]]:
        """Label and value of each matcher, alternatives one by one."""
        found = _MATCHER.findall(self.expr)
        return {(label, one) for label, _, values in found for one in values.split("|")}


def alerts() -> list[dict[str, Any]]:
    """Every alert rule."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard(path: Path) -> dict[str, Any]:
    """One dashboard as Grafana reads it."""
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def panel_queries(path: Path) -> list[Query]:
    """Every query of a dashboard's panels."""
    return [
        Query(f"{path.name}: {panel['title']}", target["expr"])
        for panel in dashboard(path)["panels"]
        for target in panel.get("targets", ())
    ]


def all_queries() -> list[Query]:
    """Every expression of alerts, panels and their variables."""
    found = [Query(rule["alert"], rule["expr"]) for rule in alerts()]
    for path in DASHBOARDS:
        found += panel_queries(path)
        for variable in dashboard(path)["templating"]["list"]:
            found.append(Query(f"{path.name}: ${variable['name']}", variable.get("definition", "")))
    return found
