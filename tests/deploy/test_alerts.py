"""Alert rules, judged by the real promtool; each has a rule test and a section in the runbook."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import Tools
from tests.deploy.files import DEPLOY, ROOT, RULE_TESTS, RULES, alerts

pytestmark = pytest.mark.timeout(300)  # the package may have to be fetched first


def _promtool(tools: Tools, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tools.promtool, *arguments],
        cwd=RULE_TESTS.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_rules_and_configuration_are_well_formed(tools: Tools) -> None:
    """`promtool check rules` and `promtool check config`."""
    rules = _promtool(tools, "check", "rules", str(RULES))
    assert rules.returncode == 0, rules.stdout + rules.stderr
    assert f"{len(alerts())} rules found" in rules.stdout
    config = _promtool(tools, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    assert config.returncode == 0, config.stdout + config.stderr


def test_every_rule_does_what_its_test_says(tools: Tools) -> None:
    """`promtool test rules`: each alert comes when it must, and neither earlier nor for others."""
    done = _promtool(tools, "test", "rules", str(RULE_TESTS))
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_rule_test_that_sees_it_quiet_and_firing() -> None:
    """A test without a firing moment would pass for a rule that never fires."""
    tests: dict[str, Any] = {
        test["name"]: test for test in yaml.safe_load(RULE_TESTS.read_text("utf-8"))["tests"]
    }
    assert list(tests) == [rule["alert"] for rule in alerts()]
    for name, test in tests.items():
        quiet, firing = test["promql_expr_test"]
        assert f'alertname="{name}"' in quiet["expr"]
        assert quiet["expr"] == firing["expr"]
        assert quiet["exp_samples"] == []
        assert firing["exp_samples"], name


def test_every_alert_leads_to_its_section_of_the_runbook_and_back() -> None:
    """The anchor is a heading of the runbook; no section is left of an alert that is gone."""
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    headings = re.findall(r"^### (Relayer\w+)$", runbook, re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_every_section_says_what_it_means_and_what_to_do() -> None:
    """A heading alone helps nobody at night."""
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    sections = re.findall(r"^### (Relayer\w+)\n(.*?)(?=^##|\Z)", runbook, re.M | re.S)
    assert len(sections) == len(alerts())
    for name, text in sections:
        assert "**Means.**" in text, name
        assert "**Do.**" in text, name


def test_the_operations_page_counts_them_right() -> None:
    """The number stood still while rules were added."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    (told,) = re.findall(r"`deploy/prometheus/rules/relayer.yml` has (\d+) rules", page)
    assert int(told) == len(alerts())


def test_a_section_says_each_thing_once() -> None:
    """Two accounts of one alert would differ sooner or later."""
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    for name, text in re.findall(r"^### (Relayer\w+)\n(.*?)(?=^##|\Z)", runbook, re.M | re.S):
        assert text.count("**Means.**") == text.count("**Do.**") == 1, name


def test_each_event_of_the_log_is_explained_once() -> None:
    """The same name may have another meaning for a protocol, which is then named beside it."""
    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    section = runbook.partition("## Events in the log")[2].partition("\n## ")[0]
    heads = re.findall(r"^\* (`.*?):", section, re.MULTILINE)
    assert len(heads) > 30
    assert sorted(set(heads)) == sorted(heads)
