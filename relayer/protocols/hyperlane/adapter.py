"""One configured Hyperlane bridge: what to follow, and what each message needs now."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from relayer.abi import address_word
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
    ViewResult,
    require_chains,
)
from relayer.errors import BadChainData
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
from relayer.protocols.hyperlane import contracts
from relayer.protocols.hyperlane.announce import Announcements
from relayer.protocols.hyperlane.ccip import CcipReader
from relayer.protocols.hyperlane.delivery import Destination
from relayer.protocols.hyperlane.events import TOPICS, Outpost, decode_logs
from relayer.protocols.hyperlane.expected import expectations_of
from relayer.protocols.hyperlane.gates import Gates
from relayer.protocols.hyperlane.isms import IsmReader
from relayer.protocols.hyperlane.memory import Memory
from relayer.protocols.hyperlane.proving import Origin, PartProver
from relayer.protocols.hyperlane.quorums import Quorums
from relayer.protocols.hyperlane.reverts import classify_outcome
from relayer.protocols.hyperlane.s3_signing import open_signer
from relayer.protocols.hyperlane.settings import HyperlaneSettings
from relayer.protocols.hyperlane.storage import Storage
from relayer.protocols.hyperlane.validators import MAX_VALIDATORS, Validators

SHAPE = TreeShape(empty=EmptyRule.LADDER, depth=32)
"""`solidity/contracts/libs/Merkle.sol` of hyperlane-xyz/hyperlane-monorepo."""
MAX_RECIPIENTS = 50_000


def build(name: BridgeName, settings: HyperlaneSettings, context: AdapterContext) -> Adapter:
    """Build the adapter; `ConfigInvalid` when it names a chain the configuration does not have."""
    require_chains(context, name, {f"chains.{chain}": chain for chain in settings.chains})
    return HyperlaneAdapter(name, settings, context)


class HyperlaneAdapter:
    """`adapter.Adapter` for one set of mailboxes."""

    def __init__(
        self, name: BridgeName, settings: HyperlaneSettings, context: AdapterContext
    ) -> None:
        self._name = name
        self._settings = settings
        self._context = context
        self._ids = {chain: context.chains[chain].chain_id for chain in settings.chains}
        self._log = structlog.get_logger("relayer").bind(bridge=name)
        self._outposts = {self._ids[chain]: self._outpost(chain) for chain in settings.chains}
        sign = open_signer() if settings.storage.s3_signed else None
        self._storage = Storage(
            settings.storage, allow_local=settings.allow_local_storage, sign=sign
        )
        self._ccip = CcipReader(settings.ccip)
        self._validators: list[Validators] = []
        origins = {
            self._ids[chain]: self._origin(chain)
            for chain in dict.fromkeys(origin for origin, _ in settings.pairs())
        }
        self._gates = Gates(name, {origin.domain: origin.quorums for origin in origins.values()})
        self._destinations = {
            self._ids[chain]: self._destination(chain, origins)
            for chain in dict.fromkeys(destination for _, destination in settings.pairs())
        }

    @property
    def name(self) -> BridgeName:
        return self._name

    def routes(self) -> Sequence[Route]:
        return [
            Route(self._name, self._ids[origin], self._ids[destination])
            for origin, destination in self._settings.pairs()
        ]

    def sources(self) -> Sequence[LogSource]:
        return [
            LogSource(
                self._ids[chain],
                (settings.mailbox, settings.merkle_tree_hook, *settings.igp),
                TOPICS,
                BlockNumber(settings.start_block),
                _reading(self._outposts[self._ids[chain]]),
            )
            for chain, settings in self._settings.chains.items()
        ]

    def trees(self) -> Sequence[TreeSpec]:
        return [
            TreeSpec(self._tree(chain), self._ids[chain], SHAPE)
            for chain in dict.fromkeys(origin for origin, _ in self._settings.pairs())
        ]

    def decode(self, logs: Sequence[Log]) -> list[Fact]:
        if not logs:
            return []
        outpost = self._outposts[logs[0].at.chain]
        facts, skipped = decode_logs(outpost, logs)
        for skip in skipped:
            self._log.warning(
                "dispatch_skipped", message_id=skip.message_id, why=skip.why, tx=skip.at.tx
            )
        return facts

    async def next_steps(self, records: Sequence[Record]) -> Mapping[MessageId, Step]:
        by_chain: dict[ChainId, list[Record]] = {}
        for record in records:
            by_chain.setdefault(record.route.destination, []).append(record)
        steps: dict[MessageId, Step] = {}
        answers = await asyncio.gather(
            *(self._steps_at(chain, group) for chain, group in by_chain.items())
        )
        for answer in answers:
            steps.update(answer)
        return steps

    async def levels(self, gates: Sequence[Gate]) -> Mapping[Gate, int]:
        return await self._gates.levels(gates)

    def classify(self, record: Record, call: Call, outcome: Outcome) -> Verdict:
        return classify_outcome(outcome)

    async def truth(self, chain: ChainId) -> Sequence[TreeTruth]:
        names = dict.fromkeys(origin for origin, _ in self._settings.pairs())
        return [await self._truth(name) for name in names if self._ids[name] == chain]

    def expectations(self) -> Sequence[Expectation]:
        return [
            expectation
            for chain, section in self._settings.chains.items()
            for expectation in expectations_of(chain, self._ids[chain], section)
        ]

    async def delays(self) -> Mapping[Route, Delay]:
        expected = self._settings.expected_delay
        said = "signatures of the validators (expected_delay)"
        one = Delay(expected.earliest_s, expected.latest_s, said)
        return dict.fromkeys(self.routes(), one)

    async def aclose(self) -> None:
        for validators in self._validators:
            await validators.aclose()
        await self._storage.aclose()
        await self._ccip.aclose()

    async def _steps_at(self, chain: ChainId, records: Sequence[Record]) -> dict[MessageId, Step]:
        return await self._destinations[chain].next_steps(records)

    async def _truth(self, chain: str) -> TreeTruth:
        reader = self._context.chains[chain]
        block = (await reader.final_header()).number
        hook = self._settings.chains[chain].merkle_tree_hook
        views = [View(hook, contracts.COUNT), View(hook, contracts.ROOT)]
        count, root = await reader.read(views, block=block)
        if count == root == ViewResult(True, b""):  # the hook was deployed after this block
            return TreeTruth(self._tree(chain), block, 0, None)
        if not count.ok or not root.ok:
            raise BadChainData(f"chain {chain}: no Merkle tree hook answers at {hook}")
        size = contracts.read_uint(count.data)
        return TreeTruth(self._tree(chain), block, size, contracts.read_word(root.data))

    def _tree(self, chain: str) -> TreeId:
        """Trees are told apart by id alone, so one per origin chain, whatever we call that."""
        return TreeId(f"{self._name}/{self._ids[chain]}")

    def _outpost(self, chain: str) -> Outpost:
        section = self._settings.chains[chain]
        pairs = self._settings.pairs()
        return Outpost(
            bridge=self._name,
            chain=self._ids[chain],
            domain=section.domain,
            mailbox=section.mailbox,
            hook=section.merkle_tree_hook,
            paymasters=frozenset(section.igp),
            tree=self._tree(chain),
            destinations={self._domain(d): self._ids[d] for o, d in pairs if o == chain},
            origins={self._domain(o): self._ids[o] for o, d in pairs if d == chain},
        )

    def _domain(self, chain: str) -> int:
        return self._settings.chains[chain].domain

    def _origin(self, chain: str) -> Origin:
        section, context = self._settings.chains[chain], self._context
        announcements = Announcements(
            context.chains[chain],
            section.validator_announce,
            Memory(context.now, lifetime_s=self._settings.cache_s, most=MAX_VALIDATORS),
        )
        validators = Validators(
            section.domain,
            address_word(section.merkle_tree_hook),
            announcements=announcements,
            storage=self._storage,
            now=context.now,
            poll_s=self._settings.checkpoint_poll_s,
        )
        self._validators.append(validators)
        tree = self._tree(chain)
        return Origin(section.domain, tree, Quorums(tree, context.trees, validators, context.now))

    def _destination(self, chain: str, origins: Mapping[ChainId, Origin]) -> Destination:
        section, context = self._settings.chains[chain], self._context
        reader, cache_s = context.chains[chain], self._settings.cache_s
        mine = {self._ids[origin] for origin, to in self._settings.pairs() if to == chain}
        return Destination(
            domain=section.domain,
            mailbox=section.mailbox,
            reader=reader,
            isms=IsmReader(reader, context.now, cache_s=cache_s),
            recipient_isms=Memory(context.now, lifetime_s=cache_s, most=MAX_RECIPIENTS),
            origins={id_: origin for id_, origin in origins.items() if id_ in mine},
            prover=PartProver(reader=reader, trees=context.trees, ccip=self._ccip),
            gates=self._gates,
            now=context.now,
        )


def _reading(outpost: Outpost) -> str:
    """The domains that decide which route a log of this chain is about."""
    domains = {outpost.domain: outpost.chain, **outpost.origins, **outpost.destinations}
    return " ".join(f"{domain}={chain}" for domain, chain in sorted(domains.items()))
