"""Alert rules, judged by the real promtool; each has a rule test and a section in the runbook."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import Tools
from tests.deploy.files import DEPLOY, ROOT, RULE_TESTS, RULES, alerts
from tests.deploy.mutants import UNITS_S, mutants

pytestmark = pytest.mark.timeout(300)  # the package may have to be fetched first

PROMTOOL_WITHIN_S = 240.0
"""It is done in a few seconds where nobody else works."""


@dataclass(frozen=True, slots=True)
class RuleTest:
    """What the series of an alert are, and what is to be seen when."""

    content: dict[str, Any]
    every: str

    def write(self, folder: Path, rule: dict[str, Any]) -> None:
        """Make a file for promtool out of it, which knows this one rule: the others cost time."""
        folder.mkdir()
        groups = [{"name": "alone", "rules": [rule]}]
        (folder / "rules.yml").write_text(json.dumps({"groups": groups}))
        alone = {"rule_files": ["rules.yml"], "evaluation_interval": self.every}
        (folder / "test.yml").write_text(json.dumps({**alone, "tests": [self.content]}))


def _rule_tests() -> dict[str, RuleTest]:
    found: dict[str, RuleTest] = {}
    for file in RULE_TESTS:
        loaded = yaml.safe_load(file.read_text("utf-8"))
        assert loaded["rule_files"] == [f"../rules/{RULES.name}"]
        for content in loaded["tests"]:
            assert content["name"] not in found
            found[content["name"]] = RuleTest(content, loaded["evaluation_interval"])
    return found


def _promtool(tools: Tools, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tools.promtool, *arguments],
        capture_output=True,
        text=True,
        timeout=PROMTOOL_WITHIN_S,
        check=False,
    )


def _that_pass(tools: Tools, folder: Path) -> tuple[set[str], str]:
    """Names of the folders in it whose test passes, and what is said of the others; in one go, as
    promtool takes longer to start than to judge a rule."""
    done = _promtool(tools, "test", "rules", *sorted(folder.glob("*/test.yml")))
    judged = re.findall(r"^Unit Testing: +.*?([^/\s]+)/test.yml(\n +SUCCESS)?", done.stdout, re.M)
    assert {name for name, _ in judged} == {path.name for path in folder.iterdir()}
    return {name for name, passed in judged if passed}, done.stderr


def test_rules_and_configuration_are_well_formed(tools: Tools) -> None:
    """`promtool check rules` and `promtool check config`."""
    rules = _promtool(tools, "check", "rules", RULES)
    assert rules.returncode == 0, rules.stdout + rules.stderr
    assert f"{len(alerts())} rules found" in rules.stdout
    config = _promtool(tools, "check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    assert config.returncode == 0, config.stdout + config.stderr


def test_every_rule_does_what_its_test_says(tools: Tools, tmp_path: Path) -> None:
    """`promtool test rules`: silent until the moment before, firing from then on, and for no one
    else."""
    tests = _rule_tests()
    for rule in alerts():
        tests[rule["alert"]].write(tmp_path / rule["alert"], rule)
    passing, said = _that_pass(tools, tmp_path)
    assert passing == tests.keys(), said


def test_every_rule_is_held_to_its_numbers(tools: Tools, tmp_path: Path) -> None:
    """Another `for` or another threshold, and the rule's test fails."""
    tests = _rule_tests()
    what = {}
    for rule in alerts():
        for number, mutant in enumerate(mutants(rule)):
            name = f"{rule['alert']}-{number}"
            what[name] = f"{rule['alert']}, {mutant.what}"
            tests[rule["alert"]].write(tmp_path / name, mutant.rule)
    assert len(what) > 3 * len(alerts())
    surviving, said = _that_pass(tools, tmp_path)
    assert "rules.yml" not in said, "promtool could not read a rule"
    assert sorted(what[name] for name in surviving) == []


def test_every_alert_has_a_rule_test_that_sees_it_quiet_and_firing() -> None:
    """The last quiet moment and the first firing one, with no evaluation between them."""
    tests = _rule_tests()
    assert sorted(tests) == sorted(rule["alert"] for rule in alerts())
    for name, test in tests.items():
        *quiet, firing = test.content["promql_expr_test"]
        assert f'alertname="{name}"' in firing["expr"]
        assert {one["expr"] for one in quiet} == {firing["expr"]}
        assert all(one["exp_samples"] == [] for one in quiet), name
        assert firing["exp_samples"], name
        last, first = _seconds(quiet[-1]["eval_time"]), _seconds(firing["eval_time"])
        assert first - last == _seconds(test.every), name


def _seconds(duration: str) -> int:
    return sum(int(n) * UNITS_S[unit] for n, unit in re.findall(r"(\d+)([smhd])", duration))


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
