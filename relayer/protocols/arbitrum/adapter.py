"""One configured Arbitrum bridge: what to follow, and what each message needs now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from relayer.protocols.arbitrum import contracts
from relayer.protocols.arbitrum.cross_check import CrossCheck
from relayer.protocols.arbitrum.delays import Confirmation
from relayer.protocols.arbitrum.delivery import Delivery
from relayer.protocols.arbitrum.events import CHILD_TOPICS, PARENT_TOPICS, Ends, decode_logs
from relayer.protocols.arbitrum.missed import MissedRoots
from relayer.protocols.arbitrum.reverts import classify_outcome
from relayer.protocols.arbitrum.roots import Roots
from relayer.protocols.arbitrum.settings import ArbitrumSettings
from relayer.protocols.arbitrum.states import SendStates

SHAPE = TreeShape(empty=EmptyRule.ZERO, depth=None)
"""`arbos/merkleAccumulator/merkleAccumulator.go` of OffchainLabs/nitro."""


def build(name: BridgeName, settings: ArbitrumSettings, context: AdapterContext) -> Adapter:
    """Build the adapter; `ConfigInvalid` when it names a chain the configuration does not have."""
    require_chains(
        context, name, {"child.chain": settings.child.chain, "parent.chain": settings.parent.chain}
    )
    return ArbitrumAdapter(name, settings, context)


class ArbitrumAdapter:
    """`adapter.Adapter` for one child chain and its outbox."""

    def __init__(
        self, name: BridgeName, settings: ArbitrumSettings, context: AdapterContext
    ) -> None:
        child = context.chains[settings.child.chain]
        parent = context.chains[settings.parent.chain]
        self._name = name
        self._settings = settings
        self._child = child
        self._ends = Ends(
            bridge=name,
            child=child.chain_id,
            parent=parent.chain_id,
            outbox=settings.parent.outbox,
            tree=TreeId(name),
        )
        self._states = SendStates(child, context.now)
        missed = MissedRoots(self._ends.outbox, self._ends.tree, parent, context)
        self._confirmation = Confirmation(parent, self._ends.outbox, context.now)
        self._roots = Roots(self._ends, context, self._states, missed)
        self._delivery = Delivery(
            self._ends,
            parent,
            context,
            self._roots,
            CrossCheck(child) if settings.cross_check else None,
        )

    @property
    def name(self) -> BridgeName:
        return self._name

    def routes(self) -> Sequence[Route]:
        return [self._ends.route]

    def sources(self) -> Sequence[LogSource]:
        ends, child, parent = self._ends, self._settings.child, self._settings.parent
        return [
            LogSource(
                ends.child, (contracts.ARB_SYS,), CHILD_TOPICS, BlockNumber(child.start_block)
            ),
            LogSource(ends.parent, (ends.outbox,), PARENT_TOPICS, BlockNumber(parent.start_block)),
        ]

    def trees(self) -> Sequence[TreeSpec]:
        return [TreeSpec(self._ends.tree, self._ends.child, SHAPE)]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        return decode_logs(self._ends, logs)

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        return await self._delivery.next_steps(records)

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        """Leaves that accepted roots cover, and those that can be proved; none when unknown."""
        standing = await self._roots.standing()
        levels = {
            self._ends.accepted: standing.reach,
            self._ends.provable: standing.usable.size,
        }
        return {gate: levels[gate] for gate in gates if gate in levels}

    def classify(self, record: Record, call: Call, outcome: Outcome) -> Verdict:
        return classify_outcome(record, call, outcome)

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        if chain != self._ends.child:
            return []
        try:
            header = await self._child.final_header()
            state = await self._states.of(header)
        except Transient:
            return []
        return [TreeTruth(self._ends.tree, header.number, state.count, state.root)]

    def expectations(self) -> Sequence[Expectation]:
        ends, tree = self._ends, ("sendMerkleTreeState()",)
        return [
            Expectation("child.chain", None, ends.child, contracts.ARB_SYS, tree),
            Expectation("parent.outbox", None, ends.parent, ends.outbox, ("bridge()",)),
            Expectation("parent.outbox", None, ends.parent, ends.outbox, ("rollup()",)),
        ]

    async def delays(self) -> Mapping[Route, Delay]:
        delay = await self._confirmation.delay()
        return {} if delay is None else {self._ends.route: delay}

    async def aclose(self) -> None:
        """Nothing is held."""
