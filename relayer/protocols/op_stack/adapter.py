"""One configured rollup and its layer 1: what to follow, and what each withdrawal needs now."""

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
    View,
    require_chains,
)
from relayer.errors import Permanent, Transient
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
from relayer.protocols.op_stack.claims import Claims
from relayer.protocols.op_stack.contracts import MESSAGE_NONCE, NONCE_BITS, read_number
from relayer.protocols.op_stack.delays import delay_of
from relayer.protocols.op_stack.delivery import Deliveries, Ends
from relayer.protocols.op_stack.doubts import Doubts
from relayer.protocols.op_stack.events import (
    DESTINATION_TOPICS,
    ORIGIN_TOPICS,
    Inbox,
    Outbox,
    decode_destination,
    decode_origin,
)
from relayer.protocols.op_stack.expected import expectations_of
from relayer.protocols.op_stack.finishing import Finishing
from relayer.protocols.op_stack.outcomes import Outcomes
from relayer.protocols.op_stack.portal import Generation, Misfit, Portal, Rules
from relayer.protocols.op_stack.proving import Proving
from relayer.protocols.op_stack.reverts import classify_outcome
from relayer.protocols.op_stack.settings import OpStackSettings
from relayer.protocols.op_stack.snapshots import Snapshots
from relayer.protocols.op_stack.trials import Trials

SHAPE = TreeShape(empty=EmptyRule.LADDER, depth=None)
"""Of the tree in which we keep every withdrawal by its number; the OP Stack itself has no such
tree, so the shape is of no matter and no root is ever compared."""


def build(name: BridgeName, settings: OpStackSettings, context: AdapterContext) -> Adapter:
    """Build the adapter; `ConfigInvalid` when it names a chain the configuration does not have."""
    require_chains(context, name, {"l2.chain": settings.l2.chain, "l1.chain": settings.l1.chain})
    return OpStackAdapter(name, settings, context)


class OpStackAdapter:
    """`adapter.Adapter` for one rollup and its layer 1."""

    def __init__(
        self, name: BridgeName, settings: OpStackSettings, context: AdapterContext
    ) -> None:
        l2, l1 = settings.l2, settings.l1
        self._name = name
        self._settings = settings
        self._l2, self._l1 = context.chains[l2.chain], context.chains[l1.chain]
        self._route = Route(name, self._l2.chain_id, self._l1.chain_id)
        self._provable = Gate(name, "provable_block")
        self._clock = Gate(name, "l1_time")
        messengers = (l2.messenger, l1.messenger)
        first_nonce = l2.counted_from
        tree = None if first_nonce is None else TreeId(f"{name}/{self._l2.chain_id}")
        self._outbox = Outbox(self._route, l2.message_passer, messengers, tree, first_nonce or 0)
        self._inbox = Inbox(
            chain=self._l1.chain_id,
            portal=l1.portal,
            messenger=l1.messenger,
            oracle=l1.oracle,
            factory=l1.dispute_game_factory,
            outputs=Gate(name, "outputs"),
            games=Gate(name, "games"),
        )
        self._context = context
        self._portal = Portal(
            self._l1,
            l1.portal,
            messenger=l1.messenger,
            oracle=l1.oracle,
            factory=l1.dispute_game_factory,
            now=context.now,
        )
        snapshots = Snapshots(name, self._l2, l2.message_passer, lambda: context.proofs)
        self._proving = Proving(
            name=name,
            rollup=self._l2,
            claims=Claims(self._l1, self._l2.chain_id, news=self._news, now=context.now),
            snapshots=snapshots,
            gate=self._provable,
        )
        self._deliveries = Deliveries(
            Ends(self._route, messengers, self._l1),
            self._portal,
            Outcomes(self._l1, l1.portal, BlockNumber(l1.start_block)),
            doubts=Doubts(self._l2, snapshots),
            proving=self._proving,
            finishing=Finishing(
                Trials(self._l1), messenger=l1.messenger, clock=self._clock, now=context.now
            ),
        )

    async def _news(self, rules: Rules) -> object:
        """The newest root that events told of; the final block where none is followed."""
        is_old = rules.generation is Generation.OUTPUTS
        if (self._inbox.oracle if is_old else self._inbox.factory) is None:
            return (await self._l1.final_header()).hash
        gate = self._inbox.outputs if is_old else self._inbox.games
        return await self._context.roots.best_root(self._l1.chain_id, gate)

    @property
    def name(self) -> BridgeName:
        return self._name

    def routes(self) -> Sequence[Route]:
        return [self._route]

    def sources(self) -> Sequence[LogSource]:
        l2, l1 = self._settings.l2, self._settings.l1
        told_by = (l1.portal, l1.messenger, l1.oracle, l1.dispute_game_factory)
        return [
            LogSource(
                self._route.origin,
                (l2.message_passer,),
                ORIGIN_TOPICS,
                BlockNumber(l2.start_block),
            ),
            LogSource(
                self._route.destination,
                tuple(at for at in told_by if at is not None),
                DESTINATION_TOPICS,
                BlockNumber(l1.start_block),
            ),
        ]

    def trees(self) -> Sequence[TreeSpec]:
        tree = self._outbox.tree
        return [] if tree is None else [TreeSpec(tree, self._route.origin, SHAPE)]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        if not logs:
            return []
        if logs[0].at.chain == self._route.origin:
            return decode_origin(self._outbox, logs)
        return decode_destination(self._inbox, logs)

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        return await self._deliveries.next_steps(records)

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        levels: dict[Gate, int] = {}
        if self._clock in gates:
            levels[self._clock] = int((await self._l1.header("latest")).timestamp)
        if self._provable in gates:
            rules = await self._portal.rules()
            if not isinstance(rules, Misfit):
                levels[self._provable] = await self._level(rules)
        return levels

    async def _level(self, rules: Rules) -> int:
        """A rollup that cannot be read opens no gate, and holds up none that is layer 1's."""
        try:
            return await self._proving.level(rules)
        except (Transient, Permanent):
            return -1

    def classify(self, record: Record, call: Call, outcome: Outcome) -> Verdict:
        return classify_outcome(outcome)

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        """How many withdrawals the rollup has sent."""
        tree = self._outbox.tree
        if tree is None or chain != self._route.origin:
            return []
        block = (await self._l2.final_header()).number
        (answer,) = await self._l2.read([View(self._outbox.passer, MESSAGE_NONCE)], block=block)
        nonce = read_number(answer, "L2ToL1MessagePasser.messageNonce")
        count = nonce % 2**NONCE_BITS - self._outbox.first_nonce
        return [TreeTruth(tree, block, max(0, count), None)]

    def expectations(self) -> Sequence[Expectation]:
        return expectations_of(self._settings, self._route)

    async def delays(self) -> Mapping[Route, Delay]:
        rules = await self._portal.rules()
        return {} if isinstance(rules, Misfit) else {self._route: delay_of(rules)}

    async def aclose(self) -> None:
        """Nothing is held."""
