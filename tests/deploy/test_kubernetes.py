"""The Kubernetes manifests: valid by the schemas, hardened, and patient when a pod must go."""

from __future__ import annotations

import re
import shutil
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from relayer.app import DRAIN_S
from relayer.devnet.service import STOP_TIMEOUT_S
from tests.deploy.files import DEPLOY
from tests.deploy.shipped import RELAYER_YAML, SECRETS_AT, named_secrets

FOLDER = DEPLOY / "kubernetes"
VERSIONS = ("1.29", "1.32", kubernetes_validate.latest_version())
"""The oldest we promise, one between, the newest the library knows."""
FOREIGN = {"external-secret.example.yaml", "pod-monitor.example.yaml"}
"""For operators that the cluster may have; Kubernetes has no schema of them."""
RESOURCES = sorted(
    str(path.relative_to(FOLDER))
    for path in FOLDER.rglob("*.yaml")
    if path.name != "kustomization.yaml"
)
NATIVE = [name for name in RESOURCES if name not in FOREIGN]
COMPONENTS = sorted(path.name for path in (FOLDER / "components").iterdir())


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


@pytest.mark.parametrize("name", ["kustomization.yaml", "secret.example.yaml"])
def test_the_steps_make_the_namespace_before_its_secret(name: str) -> None:
    """Nothing can be put into a namespace that is not there."""
    head = (FOLDER / name).read_text("utf-8").partition("apiVersion:")[0]
    namespace = head.index("kubectl apply -f deploy/kubernetes/namespace.yaml")
    assert namespace < head.index("relayer-secrets")


def test_kustomize_names_every_manifest_but_the_examples() -> None:
    """A file that nobody applies is a trap."""
    named = set(_load("kustomization.yaml")["resources"])
    own = {name for name in RESOURCES if "/" not in name and not name.endswith(".example.yaml")}
    assert named == own | {"../config"}
    offered = re.findall(
        r"^  # - components/(.*)$", (FOLDER / "kustomization.yaml").read_text("utf-8"), re.M
    )
    assert offered == COMPONENTS


def test_kustomize_builds_a_valid_whole() -> None:
    """With kubectl where there is one: selectors match labels, the configuration is mounted."""
    built = _kustomize(FOLDER)
    objects = {one["kind"]: one for one in built}
    assert len(objects) == len(built)
    for one in built:
        kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert objects["Service"]["spec"]["selector"].items() <= labels
    assert objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    # kustomize may put labels into selectors of peers, too, and then no name server is reached
    assert objects["NetworkPolicy"]["spec"] == _load("network-policy.yaml")["spec"]
    volumes = objects["Deployment"]["spec"]["template"]["spec"]["volumes"]
    config = next(one["configMap"]["name"] for one in volumes if one["name"] == "config")
    assert config == objects["ConfigMap"]["metadata"]["name"]
    assert objects["ConfigMap"]["data"] == {"relayer.yaml": RELAYER_YAML.read_text("utf-8")}


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_adds_one_policy_for_the_same_pods(component: str, tmp_path: Path) -> None:
    """Taken out of its comment it builds, and leaves all else as it was."""
    shutil.copytree(DEPLOY / "config", tmp_path / "config")
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    file = tmp_path / "kubernetes" / "kustomization.yaml"
    text = file.read_text("utf-8")
    file.write_text(text.replace(f"  # - components/{component}", f"  - components/{component}"))
    base, built = _kustomize(FOLDER), _kustomize(tmp_path / "kubernetes")
    (added,) = (one for one in built if one not in base)
    assert [one for one in built if one != added] == base
    own = _load("network-policy.yaml")["spec"]["podSelector"]
    assert (added["kind"], added["metadata"]["namespace"]) == ("NetworkPolicy", "relayer")
    assert added["metadata"]["name"] == f"relayer-{component}"
    assert added["spec"]["podSelector"] == own
    assert added["spec"]["policyTypes"] == ["Egress"]
    for rule in added["spec"]["egress"]:
        assert rule["to"]
        assert rule["ports"]


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
    """What is not named is refused; every way out names both who and on which port."""
    spec = _load("network-policy.yaml")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in spec["ingress"] for port in rule["ports"]] == [8080]
    for rule in spec["egress"]:
        assert rule["to"]
        assert rule["ports"]


def test_of_all_pods_only_name_servers_and_redis_are_reached() -> None:
    """Redis by its label and in this namespace alone: a peer without a namespace is of this one."""
    peers = [
        (peer, [port["port"] for port in rule["ports"]])
        for rule in _load("network-policy.yaml")["spec"]["egress"]
        for peer in rule["to"]
        if "ipBlock" not in peer
    ]
    system = {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
    assert peers == [
        ({"namespaceSelector": system, "podSelector": _labelled("k8s-app", "kube-dns")}, [53, 53]),
        ({"podSelector": _labelled("app.kubernetes.io/name", "redis")}, [6379]),
    ]


@pytest.mark.parametrize(
    ("address", "port", "open_"),
    [
        ("1.1.1.1", 443, True),
        ("1.1.1.1", 80, False),
        ("1.1.1.1", 6379, False),
        ("9.255.255.255", 443, True),
        ("10.0.0.0", 443, False),
        ("10.255.255.255", 443, False),
        ("11.0.0.0", 443, True),
        ("100.63.255.255", 443, True),
        ("100.64.0.0", 443, False),
        ("100.127.255.255", 443, False),
        ("100.128.0.0", 443, True),
        ("169.254.169.254", 443, False),
        ("169.254.169.254", 80, False),
        ("172.15.255.255", 443, True),
        ("172.16.0.0", 443, False),
        ("172.31.255.255", 443, False),
        ("172.32.0.0", 443, True),
        ("192.167.255.255", 443, True),
        ("192.168.0.0", 443, False),
        ("192.168.255.255", 443, False),
        ("192.169.0.0", 443, True),
        ("2606:4700::1111", 443, True),
        ("2606:4700::1111", 80, False),
        ("::1", 443, False),
        ("::ffff:10.0.0.1", 443, False),
        ("64:ff9b::a00:1", 443, False),
        ("fd00:ec2::254", 443, False),
        ("fe80::1", 443, False),
    ],
)
def test_of_all_addresses_only_public_ones_are_reached(
    address: str, port: int, open_: bool
) -> None:
    """By https alone: neither the cluster's own machines nor a cloud's metadata."""
    assert _reaches(_load("network-policy.yaml"), address, port) is open_


@pytest.mark.parametrize(
    ("component", "address", "port"),
    [
        ("redis-outside", "192.0.2.7", 6379),
        ("workload-identity", "169.254.169.254", 80),
        ("workload-identity", "169.254.170.23", 80),
        ("workload-identity", "169.254.169.252", 988),
    ],
)
def test_a_component_opens_what_its_head_says(component: str, address: str, port: int) -> None:
    """And the way is closed without it."""
    assert not _reaches(_load("network-policy.yaml"), address, port)
    assert _reaches(_load(f"components/{component}/network-policy.yaml"), address, port)


def _reaches(policy: dict[str, Any], address: str, port: int) -> bool:
    """Whether a rule for blocks of addresses lets the pods out to there."""
    wanted = ip_address(address)
    return any(
        wanted in ip_network(block["cidr"])
        and not any(wanted in ip_network(but) for but in block.get("except", ()))
        for rule in policy["spec"]["egress"]
        if port in [one["port"] for one in rule["ports"]]
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer)
    )


def _labelled(name: str, value: str) -> dict[str, Any]:
    return {"matchLabels": {name: value}}


def test_both_examples_hold_the_secrets_that_the_configuration_names() -> None:
    """A file that is missing at start is found here instead."""
    wanted = named_secrets()
    assert {"redis-url", "operator-token", "webhook-secret", "keystore.json"} <= wanted
    external = _load("external-secret.example.yaml")
    assert {one["secretKey"] for one in external["spec"]["data"]} == wanted
    assert set(_load("secret.example.yaml")["stringData"]) == wanted
    names = {external["spec"]["target"]["name"], _load("secret.example.yaml")["metadata"]["name"]}
    assert names == {one["secret"]["secretName"] for one in _pod()["volumes"] if "secret" in one}
    (mount,) = (one for one in _relayer()["volumeMounts"] if one["name"] == "secrets")
    assert mount["mountPath"] == SECRETS_AT


def test_prometheus_finds_the_pods_either_way() -> None:
    """By annotations or by the operator's PodMonitor: the port that the container names."""
    monitor, template = (
        _load("pod-monitor.example.yaml"),
        _load("deployment.yaml")["spec"]["template"],
    )
    labels, marks = template["metadata"]["labels"], template["metadata"]["annotations"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    (port,) = _relayer()["ports"]
    assert endpoint["port"] == port["name"]
    assert endpoint["path"] == marks["prometheus.io/path"] == "/metrics"
    assert (marks["prometheus.io/scrape"], marks["prometheus.io/port"]) == (
        "true",
        str(port["containerPort"]),
    )


def _kustomize(folder: Path) -> list[dict[str, Any]]:
    """What would be applied; a skip without kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on PATH to build the kustomization with")
    built = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    return list(yaml.safe_load_all(built.stdout))
