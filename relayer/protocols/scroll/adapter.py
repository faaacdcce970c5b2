"""One configured Scroll bridge: what to follow, and what each message needs now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from relayer.adapter import (
    Adapter,
    AdapterContext,
    Call,
    Delay,
    EmptyRule,
    Expectation,
    Log,
    LogSource,
    Outcome,
    Step,
    TreeShape,
    TreeSpec,
    TreeTruth,
    Verdict,
    View,
    require_chains,
)
from relayer.errors import Transient
from relayer.message import (
    BlockNumber,
    BridgeName,
    ChainId,
    Fact,
    Gate,
    MessageId,
    Record,
    Route,
    TreeId,
)
from relayer.protocols.scroll import contracts
from relayer.protocols.scroll.delivery import Deliveries, Outpost
from relayer.protocols.scroll.events import (
    DESTINATION_TOPICS,
    ORIGIN_TOPICS,
    Inbox,
    Outbox,
    decode_destination,
    decode_origin,
)
from relayer.protocols.scroll.missed import MissedRoots
from relayer.protocols.scroll.reverts import classify_outcome
from relayer.protocols.scroll.roots import AcceptedRoots
from relayer.protocols.scroll.settings import ScrollSettings
from relayer.protocols.scroll.trials import Trials

SHAPE = TreeShape(empty=EmptyRule.LADDER, depth=None, max_depth=40)
"""`src/libraries/common/AppendOnlyMerkleTree.sol` of scroll-tech/scroll-contracts."""


def build(name: BridgeName, settings: ScrollSettings, context: AdapterContext) -> Adapter:
    """Build the adapter; `ConfigInvalid` when it names a chain the configuration does not have."""
    require_chains(context, name, {"l2.chain": settings.l2.chain, "l1.chain": settings.l1.chain})
    return ScrollAdapter(name, settings, context)


class ScrollAdapter:
    """`adapter.Adapter` for one rollup and its layer 1."""

    def __init__(self, name: BridgeName, settings: ScrollSettings, context: AdapterContext) -> None:
        l2, l1 = settings.l2, settings.l1
        self._name = name
        self._log = structlog.get_logger("relayer").bind(bridge=name)
        self._settings = settings
        self._l2 = context.chains[l2.chain]
        l1_reader = context.chains[l1.chain]
        self._route = Route(name, self._l2.chain_id, l1_reader.chain_id)
        self._tree = TreeId(f"{name}/{self._l2.chain_id}")
        self._leaves = Gate(name, "provable_leaves")
        batches = Gate(name, "finalized_batches")
        self._outbox = Outbox(self._route, l2.messenger, l2.message_queue, self._tree)
        self._inbox = Inbox(l1_reader.chain_id, l1.messenger, l1.scroll_chain, batches)
        self._roots = AcceptedRoots(
            chain=l1_reader.chain_id,
            gate=batches,
            tree=self._tree,
            trees=lambda: context.trees,
            roots=lambda: context.roots,
            missed=MissedRoots(name, l1_reader, scroll_chain=l1.scroll_chain, now=context.now),
            now=context.now,
        )
        outpost = Outpost(
            route=self._route,
            tree=self._tree,
            leaves=self._leaves,
            l1=l1_reader,
            l1_messenger=l1.messenger,
            scroll_chain=l1.scroll_chain,
            l2=self._l2,
            queue=l2.message_queue,
            trees=lambda: context.trees,
            now=context.now,
        )
        trials = Trials(l1_reader, l1.messenger, target_gas=settings.target_gas)
        self._deliveries = Deliveries(outpost, self._roots, trials)

    @property
    def name(self) -> BridgeName:
        return self._name

    def routes(self) -> Sequence[Route]:
        return [self._route]

    def sources(self) -> Sequence[LogSource]:
        l2, l1 = self._settings.l2, self._settings.l1
        return [
            LogSource(
                self._route.origin,
                (l2.messenger, l2.message_queue),
                ORIGIN_TOPICS,
                BlockNumber(l2.start_block),
            ),
            LogSource(
                self._route.destination,
                (l1.messenger, l1.scroll_chain),
                DESTINATION_TOPICS,
                BlockNumber(l1.start_block),
            ),
        ]

    def trees(self) -> Sequence[TreeSpec]:
        return [TreeSpec(self._tree, self._route.origin, SHAPE)]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        if not logs:
            return []
        if logs[0].at.chain == self._route.origin:
            return decode_origin(self._outbox, logs)
        return decode_destination(self._inbox, logs)

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        return await self._deliveries.next_steps(records)

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        if self._leaves not in gates:
            return {}
        accepted, _ = await self._roots.newest()
        return {self._leaves: 0 if accepted is None else accepted.size}

    def classify(self, record: Record, call: Call | None, outcome: Outcome) -> Verdict:
        return classify_outcome(outcome)

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        if chain != self._route.origin:
            return []
        queue = self._outbox.queue
        views = [View(queue, contracts.NEXT_MESSAGE_INDEX), View(queue, contracts.MESSAGE_ROOT)]
        try:
            block = (await self._l2.final_header()).number
            count, root = await self._l2.read(views, block=block)
        except Transient as error:
            self._log.warning("truth_unknown", chain=self._route.origin, error=str(error)[:300])
            return []
        size = int.from_bytes(contracts.answer_word(count, "L2MessageQueue"), "big")
        return [TreeTruth(self._tree, block, size, contracts.answer_word(root, "L2MessageQueue"))]

    def expectations(self) -> Sequence[Expectation]:
        l2, l1 = self._settings.l2, self._settings.l1
        on_l2, on_l1 = self._route.origin, self._route.destination
        other = ("counterpart()",)
        return [
            Expectation("l1.scroll_chain", on_l2, on_l1, l1.scroll_chain, ("layer2ChainId()",)),
            Expectation("l1.scroll_chain", l1.scroll_chain, on_l1, l1.messenger, ("rollup()",)),
            Expectation("l1.messenger", l1.messenger, on_l2, l2.messenger, other),
            Expectation("l2.messenger", l2.messenger, on_l1, l1.messenger, other),
            Expectation("l2.messenger", l2.messenger, on_l2, l2.message_queue, ("messenger()",)),
            Expectation(
                "l2.message_queue", l2.message_queue, on_l2, l2.messenger, ("messageQueue()",)
            ),
        ]

    async def delays(self) -> Mapping[Route, Delay]:
        expected = self._settings.expected_delay
        said = "finalization of a bundle on layer 1 (expected_delay)"
        return {self._route: Delay(expected.earliest_s, expected.latest_s, said)}

    async def aclose(self) -> None:
        """Nothing is held."""
