"""Dockerfile and compose file, as far as can be judged without an engine to run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from relayer.cli import main
from relayer.devnet.service import STOP_TIMEOUT_S
from relayer.settings import load_settings
from tests.deploy.dockerfile import DOCKERFILE, instructions, words
from tests.deploy.files import DEPLOY, ROOT

PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")


def _compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))


def test_hadolint_finds_nothing() -> None:
    """The linter of Dockerfiles parses it and knows of no mistake."""
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--no-color", str(DOCKERFILE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_base_is_pinned_and_every_stage_is_there() -> None:
    """A base that moves would make two builds of one commit differ."""
    stages = {"scratch"}
    for rest in words("FROM"):
        base, _, stage = rest.partition(" AS ")
        assert base in stages or PINNED.fullmatch(base), base
        stages.add(stage)
    assert {"build", "sbom", "service"} <= stages


def test_the_last_stage_is_the_service_without_what_built_it() -> None:
    """Without --target the service is built; the tools' environment stays behind."""
    assert instructions()[-1].stage == "service"
    assert words("COPY", "service") == ["--from=build /opt/relayer /opt/relayer"]


def test_everything_installed_is_pinned_by_hash() -> None:
    """Each pip that may reach an index demands hashes and takes no source to build."""
    installs = [
        step
        for run in words("RUN")
        for step in run.split("&&")
        if re.search(r"pip (install|wheel)", step)
    ]
    assert len(installs) == 4
    for step in installs:
        assert "--no-index" in step or {"--require-hashes", "--only-binary=:all:"} <= set(
            step.split()
        ), step
    lock = (DEPLOY / "build-tools.lock").read_text("utf-8")
    assert {"cyclonedx-bom", "hatchling"} <= set(re.findall(r"^([\w.-]+)==", lock, re.MULTILINE))


def test_it_runs_as_a_numeric_user_with_a_check_of_its_own() -> None:
    """Kubernetes can prove that a number is not root; the check needs no shell."""
    assert words("USER", "service") == ["10001:10001"]
    (check,) = words("HEALTHCHECK", "service")
    assert check.endswith('CMD ["relayer", "health"]')
    assert "health" in main.commands
    assert words("ENTRYPOINT", "service") == ['["relayer"]']
    assert words("CMD", "service") == ['["run"]']


def test_what_is_copied_exists_and_is_let_through() -> None:
    """.dockerignore lets in what the image is built from and nothing else."""
    ignored, *admitted = (
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert ignored == "*"
    wanted = {
        source.rstrip("/")
        for rest in words("COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in wanted)
    assert {line.removeprefix("!") for line in admitted if line.startswith("!")} == wanted


def test_compose_pins_its_images_and_publishes_on_loopback() -> None:
    """Nothing of it can be reached from another machine unless it is asked for."""
    services = _compose()["services"]
    assert set(services) == {"redis", "relayer", "prometheus", "grafana"}
    for name, service in services.items():
        assert "build" in service or PINNED.fullmatch(service["image"]), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        for port in service.get("ports", ()):
            assert port.startswith("${BIND:-127.0.0.1}:"), name


def test_compose_runs_two_relayers_that_may_drain_on_a_redis_that_forgets_nothing() -> None:
    """AOF and noeviction are what the relayer demands at its start."""
    services = _compose()["services"]
    relayer, redis = services["relayer"], services["redis"]
    assert relayer["deploy"]["replicas"] == 2
    assert int(relayer["stop_grace_period"].removesuffix("s")) > STOP_TIMEOUT_S
    command = " ".join(redis["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert redis["volumes"] == ["redis:/data"]
    stages = {one.stage for one in instructions()}
    assert relayer["build"]["target"] in stages
    arguments = {rest.partition("=")[0] for rest in words("ARG")}
    assert set(relayer["build"]["args"]) <= arguments


def test_compose_mounts_what_is_there() -> None:
    """Folders of ours exist; what the operator brings is named at the head of the file."""
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    brought = {"./relayer.yaml", "./secrets"}
    head = text.partition("name: relayer")[0]
    assert "relayer.yaml" in head
    assert "./secrets" in head
    for service in _compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./") and source not in brought:
                assert (DEPLOY / source).exists(), source


def test_grafana_is_given_its_dashboards_and_its_source() -> None:
    """The provider's path is where compose mounts them, the source is Prometheus by its name."""
    services = _compose()["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    provisioning = DEPLOY / "grafana" / "provisioning"
    provider = yaml.safe_load((provisioning / "dashboards" / "relayer.yaml").read_text("utf-8"))
    assert provider["providers"][0]["options"]["path"] == mounts["./grafana/dashboards"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{mounts['./grafana/dashboards']}/overview.json"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in services


def test_the_clusters_configuration_is_one_we_accept(tmp_path: Path) -> None:
    """The example that pods start with, its secrets in files as they will be."""
    text = (DEPLOY / "kubernetes" / "relayer.yaml").read_text("utf-8")
    secrets = {
        "redis-url": "redis://127.0.0.1:6379/0",
        "ethereum-rpc": "https://rpc.example",
        "signer-key": "11" * 32,
    }
    for name, value in secrets.items():
        (tmp_path / name).write_text(value)
    config = tmp_path / "relayer.yaml"
    config.write_text(text.replace("/run/secrets/relayer", str(tmp_path)))
    settings = load_settings(config, {})
    assert settings.http.host == "0.0.0.0"
    assert settings.redis.url is not None


@pytest.mark.parametrize("example", ["secret.example.yaml", "external-secret.example.yaml"])
def test_examples_hold_no_real_secret(example: str) -> None:
    """Nothing that looks like a key."""
    text = (DEPLOY / "kubernetes" / example).read_text("utf-8")
    assert not re.search(r"[0-9a-fA-F]{40,}", text)
