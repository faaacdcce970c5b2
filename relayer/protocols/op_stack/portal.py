"""Which generation of bridge stands on layer 1, and its rules: asked of the portal itself.

A portal below version 3 takes the outputs of an oracle; later ones take dispute games, at first by
rules of their own, since there is an AnchorStateRegistry by that one's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from relayer.abi import version_of
from relayer.adapter import ChainReader, View, ViewResult
from relayer.errors import BadChainData
from relayer.message import Address, Timestamp
from relayer.protocols.op_stack import contracts
from relayer.protocols.op_stack.contracts import read_address, read_number

GAMES_SINCE = 3
"""Major version of the first portal that takes dispute games."""
KNOWN_UP_TO = 5
"""Major version of the newest portal whose rules we know."""
READ_AGAIN_S = 60.0
"""Upgrades are announced weeks ahead, and a call by old rules is refused before it is paid."""
LONGEST_DELAY_S = 2**32


class Generation(StrEnum):
    """What a withdrawal is proved against."""

    OUTPUTS = "outputs"
    GAMES = "games"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the portal says of itself."""

    portal: Address
    version: tuple[int, int, int]
    generation: Generation
    root_source: Address
    """L2OutputOracle or DisputeGameFactory."""
    registry: Address | None
    """AnchorStateRegistry, which judges games; None where the portal does."""
    respected_type: int
    respected_since: int
    """Where the portal judges: games of this type made since then count."""
    proof_delay_s: int
    """A proof can be used when it is older than this."""
    root_delay_s: int
    """So can an output from its proposal, a game from its resolution."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why this portal cannot be served as configured."""

    detail: str


class Portal:
    """Reads the rules, and again every minute."""

    def __init__(
        self,
        reader: ChainReader,
        portal: Address,
        *,
        messenger: Address,
        oracle: Address | None,
        factory: Address | None,
        now: Callable[[], Timestamp],
    ) -> None:
        self._reader = reader
        self._portal = portal
        self._messenger = messenger
        self._configured = {Generation.OUTPUTS: oracle, Generation.GAMES: factory}
        self._now = now
        self._read: tuple[Timestamp, Rules | Misfit] | None = None

    async def rules(self) -> Rules | Misfit:
        """The rules, at most a minute old; `BadChainData` when the portal makes no sense."""
        now = self._now()
        if self._read is None or not 0 <= now - self._read[0] < READ_AGAIN_S:
            self._read = (now, await self._ask())
        return self._read[1]

    async def _ask(self) -> Rules | Misfit:
        selectors = (
            contracts.VERSION,
            contracts.L2_ORACLE,
            contracts.L2_ORACLE_OLD,
            contracts.FACTORY,
            contracts.REGISTRY,
            contracts.RESPECTED_TYPE,
            contracts.RESPECTED_SINCE,
            contracts.MATURITY_DELAY,
            contracts.FINALITY_DELAY,
        )
        views = [View(self._portal, one) for one in selectors]
        views += [View(self._messenger, one) for one in contracts.PORTAL_OF]
        answers = await self._reader.read(views)
        served = [read_address(answer) for answer in answers[len(selectors) :]]
        if self._portal not in served:
            said = f"l1.messenger {self._messenger} serves the portal {served[0] or served[1]}"
            return Misfit(f"{said}, not {self._portal}: correct the configuration")
        told = dict(zip(selectors, answers, strict=False))
        answer = told[contracts.VERSION]
        version = version_of(answer.data) if answer.ok else None
        if version is None:
            raise BadChainData(f"OptimismPortal {self._portal} does not tell its version")
        if version[0] > KNOWN_UP_TO:
            return Misfit(f"OptimismPortal {'.'.join(map(str, version))} is new to us")
        is_old = version[0] < GAMES_SINCE
        rules = await self._outputs(version, told) if is_old else self._games(version, told)
        configured = self._configured[rules.generation]
        if configured is not None and configured != rules.root_source:
            key = "oracle" if is_old else "dispute_game_factory"
            said = f"l1.{key} is {configured}, but the portal says {rules.root_source}"
            return Misfit(f"{said}: correct the configuration")
        return rules

    async def _outputs(self, version: tuple[int, int, int], told: dict[bytes, ViewResult]) -> Rules:
        oracle = read_address(told[contracts.L2_ORACLE])
        oracle = oracle or read_address(told[contracts.L2_ORACLE_OLD])
        if oracle is None:
            raise BadChainData(f"OptimismPortal {self._portal} names no L2OutputOracle")
        (answer,) = await self._reader.read([View(oracle, contracts.PERIOD)])
        period_s = read_number(answer, "the finalization period", below=LONGEST_DELAY_S)
        return Rules(
            portal=self._portal,
            version=version,
            generation=Generation.OUTPUTS,
            root_source=oracle,
            registry=None,
            respected_type=0,
            respected_since=0,
            proof_delay_s=period_s,
            root_delay_s=period_s,
        )

    def _games(self, version: tuple[int, int, int], told: dict[bytes, ViewResult]) -> Rules:
        factory = read_address(told[contracts.FACTORY])
        if factory is None:
            raise BadChainData(f"OptimismPortal {self._portal} names no DisputeGameFactory")
        registry = read_address(told[contracts.REGISTRY])
        return Rules(
            portal=self._portal,
            version=version,
            generation=Generation.GAMES,
            root_source=factory,
            registry=registry,
            respected_type=read_number(
                told[contracts.RESPECTED_TYPE], "respectedGameType", below=2**32
            ),
            respected_since=0
            if registry is not None
            else read_number(
                told[contracts.RESPECTED_SINCE], "respectedGameTypeUpdatedAt", below=2**64
            ),
            proof_delay_s=read_number(
                told[contracts.MATURITY_DELAY], "proofMaturityDelaySeconds", below=LONGEST_DELAY_S
            ),
            root_delay_s=read_number(
                told[contracts.FINALITY_DELAY],
                "disputeGameFinalityDelaySeconds",
                below=LONGEST_DELAY_S,
            ),
        )
