"""One configured Linea bridge: what to follow, and what each message needs now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from relayer.adapter import (
    Adapter,
    AdapterContext,
    Call,
    ChainReader,
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
from relayer.protocols.linea.contracts import NEXT_NUMBER, read_number
from relayer.protocols.linea.events import L1_TOPICS, L2_TOPICS, Side, decode_logs
from relayer.protocols.linea.finalisations import Finalisations
from relayer.protocols.linea.parcels import Steps
from relayer.protocols.linea.reverts import classify_outcome
from relayer.protocols.linea.settings import LineaSettings
from relayer.protocols.linea.to_l1 import ToL1
from relayer.protocols.linea.to_l2 import ToL2

SHAPE = TreeShape(empty=EmptyRule.LADDER, depth=None)
"""Of the trees in which we keep every message by its number; Linea itself has no such tree, so the
shape is of no matter and no root is ever compared."""


def build(name: BridgeName, settings: LineaSettings, context: AdapterContext) -> Adapter:
    """Build the adapter; `ConfigInvalid` when it names a chain the configuration does not have."""
    require_chains(context, name, {"l1.chain": settings.l1.chain, "l2.chain": settings.l2.chain})
    return LineaAdapter(name, settings, context)


class LineaAdapter:
    """`adapter.Adapter` for one LineaRollup and its L2MessageService."""

    def __init__(self, name: BridgeName, settings: LineaSettings, context: AdapterContext) -> None:
        self._name = name
        self._fee_recipient = settings.fee_recipient
        self._expected = (settings.expected_to_l2, settings.expected_to_l1)
        self._log = structlog.get_logger("relayer").bind(bridge=name)
        on_l1, on_l2 = context.chains[settings.l1.chain], context.chains[settings.l2.chain]
        l1, l2 = on_l1.chain_id, on_l2.chain_id
        self._l1 = Side(
            chain=l1,
            contract=settings.l1.rollup,
            route=Route(name, l1, l2),
            tree=TreeId(f"{name}/l1"),
            gate=Gate(name, "anchored"),
            start_block=settings.l1.start_block,
        )
        self._l2 = Side(
            chain=l2,
            contract=settings.l2.message_service,
            route=Route(name, l2, l1),
            tree=TreeId(f"{name}/l2"),
            gate=Gate(name, "received"),
            start_block=settings.l2.start_block,
        )
        self._sides: dict[ChainId, tuple[Side, ChainReader]] = {
            l1: (self._l1, on_l1),
            l2: (self._l2, on_l2),
        }
        self._finalisations = Finalisations(self._l1, self._l2, context, readers=(on_l1, on_l2))
        self._to_l1 = ToL1(
            rollup=settings.l1.rollup,
            reader=on_l1,
            finalisations=self._finalisations,
            fee_recipient=self._fee_recipient,
            now=context.now,
        )
        self._to_l2 = ToL2(
            service=settings.l2.message_service,
            reader=on_l2,
            gate=self._l2.gate,
            fee_recipient=self._fee_recipient,
            now=context.now,
        )

    @property
    def name(self) -> BridgeName:
        return self._name

    def routes(self) -> Sequence[Route]:
        return [self._l1.route, self._l2.route]

    def sources(self) -> Sequence[LogSource]:
        return [
            LogSource(side.chain, (side.contract,), topics, BlockNumber(side.start_block))
            for side, topics in ((self._l1, L1_TOPICS), (self._l2, L2_TOPICS))
        ]

    def trees(self) -> Sequence[TreeSpec]:
        return [TreeSpec(side.tree, side.chain, SHAPE) for side in (self._l1, self._l2)]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        if not logs:
            return []
        side, _ = self._sides[logs[0].at.chain]
        facts, rootless = decode_logs(side, logs)
        for at in rootless:
            self._log.warning("finalisation_without_roots", chain=at.chain, tx=at.tx)
        return facts

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        to_l1 = [record for record in records if record.route == self._l2.route]
        to_l2 = [record for record in records if record.route == self._l1.route]
        steps: Steps = {}
        if to_l1:
            steps |= await self._to_l1.next_steps(to_l1)
        if to_l2:
            steps |= await self._to_l2.next_steps(to_l2)
        return steps

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        levels: dict[Gate, int] = {}
        if self._l1.gate in gates:
            levels[self._l1.gate] = await self._finalisations.level()
        if self._l2.gate in gates:
            levels[self._l2.gate] = await self._to_l2.level()
        return levels

    def classify(self, record: Record, call: Call, outcome: Outcome) -> Verdict:
        return classify_outcome(record, outcome, fee_recipient=self._fee_recipient)

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        """How many messages this side has sent."""
        if chain not in self._sides:
            return []
        truth = await self._truth(*self._sides[chain])
        return [] if truth is None else [truth]

    def expectations(self) -> Sequence[Expectation]:
        l1, l2, sent = self._l1, self._l2, ("nextMessageNumber()",)
        finalised, anchored = ("currentL2BlockNumber()",), ("lastAnchoredL1MessageNumber()",)
        return [
            Expectation("l1.rollup", None, l1.chain, l1.contract, sent),
            Expectation("l1.rollup", None, l1.chain, l1.contract, finalised),
            Expectation("l2.message_service", None, l2.chain, l2.contract, sent),
            Expectation("l2.message_service", None, l2.chain, l2.contract, anchored),
        ]

    async def delays(self) -> Mapping[Route, Delay]:
        to_l2, to_l1 = self._expected
        anchored = "anchoring on layer 2 (expected_to_l2)"
        finalised = "finalisation on layer 1 (expected_to_l1)"
        return {
            self._l1.route: Delay(to_l2.earliest_s, to_l2.latest_s, anchored),
            self._l2.route: Delay(to_l1.earliest_s, to_l1.latest_s, finalised),
        }

    async def aclose(self) -> None:
        """Nothing is held."""

    async def _truth(self, side: Side, reader: ChainReader) -> TreeTruth | None:
        try:
            block = (await reader.final_header()).number
            (answer,) = await reader.read([View(side.contract, NEXT_NUMBER)], block=block)
        except Transient as error:  # the other side's auditor has its own
            self._log.warning("truth_unknown", chain=side.chain, error=str(error)[:300])
            return None
        following = read_number(answer, f"nextMessageNumber of {side.contract}")
        return TreeTruth(side.tree, block, max(0, following - 1), None)
