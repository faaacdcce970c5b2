"""The operator's section of one rollup and its layer 1."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from relayer.message import Address
from relayer.settings import AddressText, Name, Section

MESSAGE_PASSER = Address("0x4200000000000000000000000000000000000016")
MESSENGER = Address("0x4200000000000000000000000000000000000007")
"""Predeploys L2ToL1MessagePasser and L2CrossDomainMessenger (specs, `protocol/predeploys.md`)."""


class L2Settings(Section):
    """The rollup: where withdrawals leave from."""

    chain: Name
    message_passer: AddressText = MESSAGE_PASSER
    messenger: AddressText = MESSENGER
    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before the first withdrawal to carry."""
    first_nonce: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Withdrawals sent before `start_block`: with it the auditor counts those sent since and
    heals what an endpoint hid. 0 when `start_block` is 0; not counted when left out otherwise."""

    @property
    def counted_from(self) -> int | None:
        """The number of the first withdrawal that is counted; None when none are."""
        return 0 if self.first_nonce is None and self.start_block == 0 else self.first_nonce


class L1Settings(Section):
    """The layer 1: where withdrawals are proved and finalised."""

    chain: Name
    portal: AddressText
    """OptimismPortal, which names the other contracts of its generation."""
    messenger: AddressText
    """L1CrossDomainMessenger."""
    oracle: AddressText | None = None
    """L2OutputOracle, to be told of outputs by event."""
    dispute_game_factory: AddressText | None = None
    """DisputeGameFactory, to be told of games by event."""
    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before the deployment of the portal: deliveries are read from here on."""


class OpStackSettings(Section):
    """Withdrawals from one rollup to its layer 1."""

    l2: L2Settings
    l1: L1Settings

    @model_validator(mode="after")
    def _is_consistent(self) -> OpStackSettings:
        if self.l1.chain == self.l2.chain:
            raise ValueError(f"l1 and l2 are the same chain {self.l1.chain!r}")
        if self.l2.message_passer == self.l2.messenger:
            raise ValueError("l2: message_passer and messenger are the same address")
        l1 = self.l1
        named = [at for at in (l1.portal, l1.messenger, l1.oracle, l1.dispute_game_factory) if at]
        if len(set(named)) != len(named):
            raise ValueError("l1: two contracts have the same address")
        return self
