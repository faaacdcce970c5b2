"""The operator's section of one dependency set."""

from __future__ import annotations

from enum import StrEnum
from itertools import permutations
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from relayer.settings import Name, Section
from relayer.settings.values import url_with

EXPIRY_S = 7 * 24 * 3600
"""Seconds after which no node lets a message be executed (specs, `interop/messaging.md`)."""


class Safety(StrEnum):
    """How safe a message's block must be on its own chain before we relay it."""

    UNSAFE = "unsafe"
    """As soon as the chain's `finality` rule accepts it: with `depth: 0` in the next block."""
    SAFE = "safe"
    """The node's `safe` block, which on an interop node is cross-safe."""
    FINALIZED = "finalized"


SAFE_WITHIN_S = {Safety.UNSAFE: 60.0, Safety.SAFE: 1800.0, Safety.FINALIZED: 3600.0}
"""A batch is on layer 1 within minutes and final there two epochs later (specs, `derivation.md`);
the rest is room."""


class CodelessTargets(StrEnum):
    """What to do with a message whose target has no code: delivered, it is consumed for nothing."""

    HOLD = "hold"
    WAIT = "wait"
    """Until there is code, or the message expires."""
    DELIVER = "deliver"


class InteropChainSettings(Section):
    """One member of the dependency set; its contracts are predeploys."""

    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before the first message to carry, and the first delivery to know of."""
    first_nonce: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """`messageNonce()` just before `start_block`: with it the auditor counts the messages sent and
    heals what an endpoint hid. Without it they are not counted."""
    supervisor: Annotated[SecretStr, url_with("http", "https")] | None = None
    """Asked by `supervisor_checkAccessList` before anything is relayed to this chain."""


class RouteSettings(Section):
    """One direction."""

    origin: Name
    destination: Name
    safety: Safety | None = None
    """None: the bridge's."""


class OpInteropSettings(Section):
    """Messages of L2ToL2CrossDomainMessenger between two or more chains."""

    chains: Annotated[dict[Name, InteropChainSettings], Field(min_length=2)]
    routes: Literal["all"] | tuple[RouteSettings, ...] = "all"
    safety: Safety = Safety.SAFE
    expiry_margin_s: Annotated[float, Field(ge=0, lt=EXPIRY_S)] = 3600.0
    """A message is no longer sent when it expires within so many seconds."""
    codeless_targets: CodelessTargets = CodelessTargets.HOLD

    @model_validator(mode="after")
    def _is_consistent(self) -> OpInteropSettings:
        pairs = [(route.origin, route.destination) for route in self.all_routes()]
        for pair in pairs:
            unknown = [name for name in pair if name not in self.chains]
            if unknown:
                raise ValueError(f"routes: {unknown[0]!r} is not one of the bridge's chains")
            if pair[0] == pair[1]:
                raise ValueError(f"routes: {pair[0]!r} leads to itself")
            if pairs.count(pair) > 1:
                raise ValueError(f"routes: {pair[0]} to {pair[1]} is there twice")
        if not pairs:
            raise ValueError("routes: give at least one, or 'all'")
        return self

    def all_routes(self) -> tuple[RouteSettings, ...]:
        """The configured routes."""
        if self.routes != "all":
            return self.routes
        return tuple(
            RouteSettings(origin=origin, destination=destination)
            for origin, destination in permutations(self.chains, 2)
        )
