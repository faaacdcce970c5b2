"""The operator's section of one Scroll bridge."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relayer.message import Address
from relayer.settings import AddressText, ExpectedDelay, Name

MESSAGE_QUEUE = Address("0x5300000000000000000000000000000000000000")
"""Predeploy of the L2MessageQueue (scroll-contracts, `scripts/deterministic`)."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class L2Settings(_Section):
    """The rollup: where messages leave from."""

    chain: Name
    messenger: AddressText
    """L2ScrollMessenger."""
    message_queue: AddressText = MESSAGE_QUEUE
    """L2MessageQueue, which holds the tree."""
    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before the first message: every leaf is needed."""


class L1Settings(_Section):
    """The layer 1: where messages are delivered."""

    chain: Name
    messenger: AddressText
    """L1ScrollMessenger."""
    scroll_chain: AddressText
    """ScrollChain, which holds the roots of finalized batches."""
    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before the deployment of the messenger: deliveries are read from here on."""


class ScrollSettings(_Section):
    """Withdrawals from one Scroll rollup to its layer 1."""

    l2: L2Settings
    l1: L1Settings
    expected_delay: ExpectedDelay = ExpectedDelay(earliest_s=0, latest_s=6 * 3600)
    """From a block on the rollup to the bundle that finalizes it: provers decide when, about hourly
    on mainnet, and no contract says it. Estimates rest on it until there are deliveries."""
    target_gas: Annotated[int, Field(ge=100_000, le=15_000_000)] = 2_000_000
    """Gas that one delivery may use when it is tried out; no more than the lane's `gas_cap`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> ScrollSettings:
        if self.l1.chain == self.l2.chain:
            raise ValueError(f"l1 and l2 are the same chain {self.l1.chain!r}")
        if self.l2.messenger == self.l2.message_queue:
            raise ValueError("l2: messenger and message_queue are the same address")
        if self.l1.messenger == self.l1.scroll_chain:
            raise ValueError("l1: messenger and scroll_chain are the same address")
        return self
