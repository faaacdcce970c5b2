"""One configured dependency set: what to follow, and what each message needs now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from relayer.errors import BadChainData, Transient
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
from relayer.protocols.op_interop.contracts import MESSAGE_NONCE, MESSENGER, NONCE_BITS
from relayer.protocols.op_interop.delivery import Deliveries, Port, Rules
from relayer.protocols.op_interop.events import TOPICS, Member, decode_logs
from relayer.protocols.op_interop.origin import Origin
from relayer.protocols.op_interop.reverts import classify_outcome
from relayer.protocols.op_interop.safety import SafeBlocks
from relayer.protocols.op_interop.settings import (
    SAFE_WITHIN_S,
    InteropChainSettings,
    OpInteropSettings,
)
from relayer.protocols.op_interop.supervisor import Supervisor
from relayer.protocols.op_interop.targets import Targets

SHAPE = TreeShape(empty=EmptyRule.LADDER, depth=None)
"""No chain has this tree: it only counts the messages sent, for the auditor."""


def build(name: BridgeName, settings: OpInteropSettings, context: AdapterContext) -> Adapter:
    """Build the adapter; `ConfigInvalid` when it names a chain the configuration does not have."""
    require_chains(context, name, {f"chains.{chain}": chain for chain in settings.chains})
    return OpInteropAdapter(name, settings, context)


class OpInteropAdapter:
    """`adapter.Adapter` for the chains of one dependency set."""

    def __init__(
        self, name: BridgeName, settings: OpInteropSettings, context: AdapterContext
    ) -> None:
        self._name = name
        self._readers: Mapping[ChainId, ChainReader] = {
            context.chains[chain].chain_id: context.chains[chain] for chain in settings.chains
        }
        ids = {chain: context.chains[chain].chain_id for chain in settings.chains}
        self._ids = ids
        self._sections = {ids[chain]: section for chain, section in settings.chains.items()}
        safety = {
            Route(name, ids[one.origin], ids[one.destination]): one.safety or settings.safety
            for one in settings.all_routes()
        }
        self._routes = tuple(safety)
        self._safety = safety
        self._members = {
            chain_id: self._member(TreeId(f"{name}/{chain_id}"), chain_id, section)
            for chain_id, section in self._sections.items()
        }
        self._supervisors = {
            chain_id: Supervisor(section.supervisor.get_secret_value(), chain_id)
            for chain_id, section in self._sections.items()
            if section.supervisor is not None
        }
        self._safe_blocks = SafeBlocks(name, self._readers)
        self._deliveries = Deliveries(
            ports={
                chain_id: Port(reader, Targets(reader), self._supervisors.get(chain_id))
                for chain_id, reader in self._readers.items()
            },
            origins={chain_id: Origin(reader) for chain_id, reader in self._readers.items()},
            safe_blocks=self._safe_blocks,
            rules=Rules(safety, settings.expiry_margin_s, settings.codeless_targets),
            now=context.now,
        )

    def _member(self, tree: TreeId, chain: ChainId, section: InteropChainSettings) -> Member:
        counted = section.first_nonce is not None
        return Member(
            chain=chain,
            to={route.destination: route for route in self._routes if route.origin == chain},
            sources=frozenset(route.origin for route in self._routes if route.destination == chain),
            tree=tree if counted else None,
            first_nonce=section.first_nonce or 0,
        )

    @property
    def name(self) -> BridgeName:
        return self._name

    def routes(self) -> Sequence[Route]:
        return self._routes

    def sources(self) -> Sequence[LogSource]:
        return [
            LogSource(chain_id, (MESSENGER,), TOPICS, BlockNumber(section.start_block))
            for chain_id, section in self._sections.items()
        ]

    def trees(self) -> Sequence[TreeSpec]:
        return [
            TreeSpec(member.tree, member.chain, SHAPE)
            for member in self._members.values()
            if member.tree is not None
        ]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        if not logs:
            return []
        return decode_logs(self._members[logs[0].at.chain], logs)

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        return await self._deliveries.next_steps(records)

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        return await self._safe_blocks.levels(gates)

    def classify(self, record: Record, call: Call, outcome: Outcome) -> Verdict:
        return classify_outcome(record, outcome)

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        """How many messages a counted chain has sent; no root, as no chain keeps one."""
        member = self._members.get(chain)
        if member is None or member.tree is None:
            return []
        reader = self._readers[chain]
        try:
            block = (await reader.final_header()).number
            (answer,) = await reader.read([View(MESSENGER, MESSAGE_NONCE)], block=block)
        except Transient:
            return []
        if not answer.ok or len(answer.data) != 32:
            raise BadChainData(f"the messenger of chain {chain} tells no nonce")
        sent = int.from_bytes(answer.data, "big") % 2**NONCE_BITS - member.first_nonce
        return [TreeTruth(member.tree, block, max(0, sent), None)]

    def expectations(self) -> Sequence[Expectation]:
        return [
            Expectation(f"chains.{chain}", None, chain_id, MESSENGER, ("messageNonce()",))
            for chain, chain_id in self._ids.items()
        ]

    async def delays(self) -> Mapping[Route, Delay]:
        return {
            route: Delay(0.0, SAFE_WITHIN_S[safety], f"the message's block becomes {safety}")
            for route, safety in self._safety.items()
        }

    async def aclose(self) -> None:
        """Close the connections to supervisors."""
        for supervisor in self._supervisors.values():
            await supervisor.aclose()
