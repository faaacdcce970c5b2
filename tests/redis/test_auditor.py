"""Audits fail apart: one bridge, tree or origin in trouble does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from relayer.adapter import Adapter, EmptyRule, LogSource, TreeShape, TreeSpec, TreeTruth
from relayer.errors import EndpointDown, LeaseLost
from relayer.message import BlockNumber, BridgeName, ChainId, LeafAdded, TreeId
from relayer.ops.metrics import Metrics
from relayer.pipeline.auditor import Auditor
from relayer.pipeline.follower import Follower
from relayer.pipeline.forest import Forest
from relayer.pipeline.sweep import Sweep
from relayer.store import Store
from tests.redis.conftest import Leases
from tests.redis.sample_facts import ONE, TEN, at, cursor
from tests.redis.servers import Server
from tests.unit.chain_node import Node, client_of

pytestmark = pytest.mark.redis

HERE, FAR, UNKNOWN = TreeId("hyper/one"), TreeId("hyper/ten"), TreeId("hyper/none")
LEAF = b"\x05" * 32
LIE = b"\x06" * 32


class Bridge:
    """`adapter.Adapter` as far as an auditor asks it."""

    def __init__(self, name: str, *truths: TreeTruth, failure: Exception | None = None) -> None:
        self.name = BridgeName(name)
        self.failure = failure
        self._truths = truths

    def sources(self) -> Sequence[LogSource]:
        return []

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        if self.failure is not None:
            raise self.failure
        return self._truths


def truth_of(tree: TreeId) -> TreeTruth:
    """A truth whose root is not ours, so that an audit of it is seen."""
    return TreeTruth(tree, BlockNumber(90), 1, LIE)


@pytest.fixture
def server(redis_server: Server) -> Server:
    """One server is enough here."""
    return redis_server


@pytest.fixture
async def forest(store: Store, leases: Leases) -> Forest:
    """One leaf in the tree of chain 1, read up to block 100."""
    shape = TreeShape(EmptyRule.LADDER, 32)
    made = Forest(store, [TreeSpec(HERE, ONE, shape), TreeSpec(FAR, TEN, shape)])
    await made.grow(leases.follower, [LeafAdded(HERE, 0, LEAF, at(1, 80))])
    await store.advance(leases.follower, cursor(100))
    return made


async def audit(
    bridges: Sequence[Bridge], *, store: Store, forest: Forest, leases: Leases
) -> tuple[Metrics, list[Any]]:
    """One tick of chain 1's auditor: what it counted and what it told."""
    metrics = Metrics()
    adapters: list[Adapter] = list(bridges)  # type: ignore[arg-type]
    async with client_of(Node(), start=False) as chain:
        follower = Follower(
            chain=chain,
            adapters=adapters,
            store=store,
            forest=forest,
            lease=leases.follower,
            metrics=metrics,
            on_facts=lambda facts: None,
            now=store.now,
        )
        auditor = Auditor(
            chain=ONE,
            adapters=adapters,
            store=store,
            forest=forest,
            follower=follower,
            sweep=Sweep(
                chain=chain, store=store, follower=follower, metrics=metrics, now=store.now
            ),
            metrics=metrics,
            now=store.now,
        )
        with structlog.testing.capture_logs() as lines:
            assert await auditor.tick() is False
    return metrics, lines


def mismatches(metrics: Metrics) -> float | None:
    labels = {"tree": HERE}
    return metrics.registry.get_sample_value("relayer_audit_root_mismatches_total", labels)


@pytest.mark.parametrize(
    ("failure", "kind"), [(EndpointDown("rpc", "gone"), "endpoint_down"), (KeyError("x"), "crash")]
)
async def test_a_bridge_in_trouble_does_not_stop_the_others(
    store: Store, forest: Forest, leases: Leases, failure: Exception, kind: str
) -> None:
    """Its failure is told and counted, and the next bridge's tree is audited all the same."""
    bridges = [Bridge("sick", failure=failure), Bridge("hyper", truth_of(HERE))]
    metrics, lines = await audit(bridges, store=store, forest=forest, leases=leases)
    assert mismatches(metrics) == 1
    labels = {"agent": "auditor:1", "kind": kind}
    assert metrics.registry.get_sample_value("relayer_agent_failures_total", labels) == 1
    (failed,) = [line for line in lines if line["event"] == "audit_failed"]
    assert (failed["of"], failed["kind"]) == ("sick", kind)


async def test_a_tree_in_trouble_does_not_stop_the_others(
    store: Store, forest: Forest, leases: Leases
) -> None:
    """Trees of other chains are not ours to audit; an unknown one is told of."""
    bridge = Bridge("hyper", truth_of(UNKNOWN), truth_of(FAR), truth_of(HERE))
    metrics, lines = await audit([bridge], store=store, forest=forest, leases=leases)
    assert mismatches(metrics) == 1
    assert [line["of"] for line in lines if line["event"] == "audit_failed"] == [UNKNOWN]


async def test_a_lost_lease_ends_the_audit(store: Store, forest: Forest, leases: Leases) -> None:
    """What ends the tenure is its owner's to act on."""
    bridge = Bridge("hyper", failure=LeaseLost("taken over"))
    with pytest.raises(LeaseLost):
        await audit([bridge], store=store, forest=forest, leases=leases)
