"""The operator's section of one Arbitrum bridge: a child chain with its parent."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relayer.settings import AddressText, Name


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ChildSettings(_Section):
    """The chain that messages leave from; its ArbSys precompile has the same address anywhere."""

    chain: Name
    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before its first L2ToL1Tx under Nitro: every leaf is needed."""


class ParentSettings(_Section):
    """The chain that messages are claimed on."""

    chain: Name
    outbox: AddressText
    """The Outbox or ERC20Outbox proxy that the rollup updates."""
    start_block: Annotated[int, Field(ge=0)] = 0
    """At or before the outbox's deployment, or at least before the newest root it has."""


class ArbitrumSettings(_Section):
    """One Nitro chain and the outbox of its parent."""

    child: ChildSettings
    parent: ParentSettings
    cross_check: bool = False
    """Compare each proof with the child node's own `NodeInterface` (one more request each)."""

    @model_validator(mode="after")
    def _is_consistent(self) -> ArbitrumSettings:
        if self.child.chain == self.parent.chain:
            raise ValueError(f"child and parent are the same chain {self.child.chain!r}")
        return self
