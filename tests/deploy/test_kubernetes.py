"""The Kubernetes manifests: valid by the schemas, hardened, and patient when a pod must go."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from relayer.app import DRAIN_S
from relayer.devnet.service import STOP_TIMEOUT_S
from tests.deploy.files import DEPLOY

FOLDER = DEPLOY / "kubernetes"
VERSIONS = ("1.29", "1.32", kubernetes_validate.latest_version())
"""The oldest we promise, one between, the newest the library knows."""
OURS = "relayer.yaml"
"""Configuration of the relayer itself, no manifest."""
FOREIGN = "external-secret.example.yaml"
"""For an operator that the cluster may have; Kubernetes has no schema of it."""
RESOURCES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
NATIVE = [name for name in RESOURCES if name not in (OURS, FOREIGN)]


def _load(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _load("deployment.yaml")["spec"]["template"]["spec"]
    return pod


def _relayer() -> dict[str, Any]:
    (container,) = _pod()["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NATIVE)
def test_every_manifest_is_valid(name: str, version: str) -> None:
    """By the schemas of Kubernetes, unknown fields refused."""
    kubernetes_validate.validate(_load(name), version, strict=True)


def test_the_schemas_refuse_a_misspelt_field() -> None:
    """The check itself works: strict means strict."""
    manifest = _load("deployment.yaml")
    manifest["spec"]["template"]["spec"]["terminationGraceSeconds"] = 45
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_kustomize_names_every_manifest_but_the_examples() -> None:
    """A file that nobody applies is a trap."""
    named = set(_load("kustomization.yaml")["resources"])
    assert named == {name for name in RESOURCES if not name.endswith(".example.yaml")} - {OURS}


def test_kustomize_builds_a_valid_whole() -> None:
    """With kubectl where there is one: selectors match labels, the configuration is mounted."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on PATH to build the kustomization with")
    built = subprocess.run(
        [kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60, check=True
    )
    objects = {one["kind"]: one for one in yaml.safe_load_all(built.stdout)}
    for one in objects.values():
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert objects["Service"]["spec"]["selector"].items() <= labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    volumes = objects["Deployment"]["spec"]["template"]["spec"]["volumes"]
    config = next(one["configMap"]["name"] for one in volumes if one["name"] == "config")
    assert config == objects["ConfigMap"]["metadata"]["name"]


def test_pods_meet_the_restricted_standard() -> None:
    """No root, no privileges, nothing to write to but /tmp, no token of the cluster."""
    pod, container = _pod(), _relayer()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert writable == {"/tmp"}


def test_a_pod_that_must_go_is_given_longer_than_it_takes() -> None:
    """SIGTERM drains; SIGKILL must not come in between."""
    assert _pod()["terminationGracePeriodSeconds"] > max(STOP_TIMEOUT_S, DRAIN_S)


def test_liveness_does_not_depend_on_chains_or_redis() -> None:
    """Restarting every replica because Redis is away would only add to the trouble."""
    container = _relayer()
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_replicas_keep_apart_and_are_not_evicted_together() -> None:
    """A machine or a zone that dies, and a drained node, leave a replica to take over."""
    spec = _load("deployment.yaml")["spec"]
    assert spec["replicas"] >= 2
    terms = _pod()["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    keys = {term["podAffinityTerm"]["topologyKey"] for term in terms}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert _load("disruption-budget.yaml")["spec"]["maxUnavailable"] < spec["replicas"]


def test_the_network_policy_closes_both_ways() -> None:
    """What is not named is refused, the metadata address of clouds above all."""
    spec = _load("network-policy.yaml")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in spec["ingress"] for port in rule["ports"]] == [8080]
    blocks = [
        to["ipBlock"] for rule in spec["egress"] for to in rule.get("to", ()) if "ipBlock" in to
    ]
    assert "169.254.0.0/16" in blocks[0]["except"]


def test_both_examples_hold_the_secrets_that_the_configuration_names() -> None:
    """A file that is missing at start is found here instead."""
    text = (FOLDER / "relayer.yaml").read_text("utf-8")
    mount = "/run/secrets/relayer/"
    wanted = {word.removeprefix(mount) for word in text.split() if word.startswith(mount)}
    assert len(wanted) == 3
    external = _load("external-secret.example.yaml")
    assert {one["secretKey"] for one in external["spec"]["data"]} == wanted
    assert set(_load("secret.example.yaml")["stringData"]) == wanted
    names = {external["spec"]["target"]["name"], _load("secret.example.yaml")["metadata"]["name"]}
    assert names == {one["secret"]["secretName"] for one in _pod()["volumes"] if "secret" in one}
