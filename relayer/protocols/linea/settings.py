"""The operator's section of one Linea bridge."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relayer.settings import AddressText, ExpectedDelay, Name

ZERO_ADDRESS = "0x" + "00" * 20

StartBlock = Annotated[int, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class L1Settings(_Section):
    """The layer 1's side."""

    chain: Name
    rollup: AddressText
    """LineaRollup (its proxy)."""
    start_block: StartBlock = 0
    """At or before the deployment: messages are counted from the first."""


class L2Settings(_Section):
    """The layer 2's side."""

    chain: Name
    message_service: AddressText
    """L2MessageService (its proxy)."""
    start_block: StartBlock = 0
    """At or before the deployment: messages are counted from the first."""


class LineaSettings(_Section):
    """Linea's message services on a layer 1 and a layer 2."""

    l1: L1Settings
    l2: L2Settings
    expected_to_l1: ExpectedDelay = ExpectedDelay(earliest_s=0, latest_s=32 * 3600)
    """From a block of layer 2 to its finalisation on layer 1: hours on mainnet, at most 32 by
    docs.linea.build. No contract says it; estimates rest on it until there are deliveries."""
    expected_to_l2: ExpectedDelay = ExpectedDelay(earliest_s=0, latest_s=3600)
    """From a final block of layer 1 to its anchoring on layer 2: about 20 minutes on mainnet."""
    fee_recipient: AddressText | None = None
    """Who gets the fees of delivered messages, on both sides; it must take ether with 2300 gas.

    Without it the contract pays whoever calls, so messages with a fee are sent one by one.
    """

    @model_validator(mode="after")
    def _is_consistent(self) -> LineaSettings:
        if self.l1.chain == self.l2.chain:
            raise ValueError(f"l1 and l2 are both the chain {self.l1.chain}")
        return self
