"""Dockerfile and compose file, as far as can be judged without an engine to run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from relayer.cli import main
from relayer.devnet.service import STOP_TIMEOUT_S
from tests.deploy import shipped
from tests.deploy.dockerfile import DOCKERFILE, bases, instructions, words
from tests.deploy.files import DEPLOY, ROOT
from tests.deploy.shipped import compose

PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*")


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
    """A base that moves from version to version would make two builds of one commit differ."""
    stages = {"scratch"}
    for base, stage in bases():
        assert base in stages or PINNED.fullmatch(base), base
        stages.add(stage)
    assert {"build", "sbom", "service"} <= stages


def test_the_base_can_be_named_by_digest() -> None:
    """Both stages that run Python take it from one argument; `make image` hands it on."""
    assert {rest.partition(" AS ")[0] for rest in words("FROM")} == {
        "${PYTHON_IMAGE}",
        "build",
        "scratch",
    }
    digest = "python@sha256:" + "0" * 64
    for arguments, told in (
        ([], "docker build --tag relayer ."),
        (
            [f"PYTHON_IMAGE={digest}"],
            f"docker build --tag relayer --build-arg PYTHON_IMAGE={digest} .",
        ),
    ):
        shown = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", "image", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert shown.strip() == told


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
    services = compose()["services"]
    assert set(services) == {"redis", "relayer", "prometheus", "grafana"}
    for name, service in services.items():
        if "build" not in service:
            image = re.fullmatch(rf"\$\{{{name.upper()}_IMAGE:-(.*)\}}", service["image"])
            assert image, name
            assert PINNED.fullmatch(image.group(1)), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"] > 0, name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        for port in service.get("ports", ()):
            assert port.startswith("${BIND:-127.0.0.1}:"), name


def test_redis_of_compose_has_no_way_out_and_no_port() -> None:
    """Only who is on its own network reaches it: the relayers."""
    loaded = compose()
    assert loaded["networks"]["store"] == {"internal": True}
    assert {
        name for name, service in loaded["services"].items() if "store" in service["networks"]
    } == {"redis", "relayer"}
    assert loaded["services"]["redis"]["networks"] == ["store"]
    assert "ports" not in loaded["services"]["redis"]


def test_who_depends_on_another_waits_until_it_is_well() -> None:
    """Started is not ready; each that is waited for says when it is."""
    services = compose()["services"]
    for service in services.values():
        for other, when in service.get("depends_on", {}).items():
            assert when == {"condition": "service_healthy"}
            assert "healthcheck" in services[other]
    assert all("healthcheck" in one or "build" in one for one in services.values())


def test_compose_runs_two_relayers_that_may_drain_on_a_redis_that_forgets_nothing() -> None:
    """AOF and noeviction are what the relayer demands at its start."""
    services = compose()["services"]
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
    """What is not there yet is made by the script that the head of the file names."""
    head = (DEPLOY / "compose.yaml").read_text("utf-8").partition("name: relayer")[0]
    assert "./make-secrets.sh" in head
    loaded = compose()
    sources = [
        volume.partition(":")[0]
        for service in loaded["services"].values()
        for volume in service.get("volumes", ())
    ]
    sources += [secret["file"] for secret in loaded["secrets"].values()]
    for source in sources:
        if source.startswith("./") and not source.startswith("./secrets/"):
            assert (DEPLOY / source).exists(), source
    (kept,) = {source for source in sources if source.startswith("./secrets/relayer")}
    assert f"{kept}:{shipped.SECRETS_AT}:ro" in loaded["services"]["relayer"]["volumes"]


def test_grafana_is_given_its_dashboards_and_its_source() -> None:
    """The provider's path is where compose mounts them, the source is Prometheus by its name."""
    services = compose()["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    provisioning = DEPLOY / "grafana" / "provisioning"
    provider = yaml.safe_load((provisioning / "dashboards" / "relayer.yaml").read_text("utf-8"))
    assert provider["providers"][0]["options"]["path"] == mounts["./grafana/dashboards"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{mounts['./grafana/dashboards']}/overview.json"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))
    assert sources["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in services


@pytest.mark.parametrize("example", ["secret.example.yaml", "external-secret.example.yaml"])
def test_examples_hold_no_real_secret(example: str) -> None:
    """Nothing that looks like a key."""
    text = (DEPLOY / "kubernetes" / example).read_text("utf-8")
    assert not re.search(r"[0-9a-fA-F]{40,}", text)
