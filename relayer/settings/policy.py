"""The sections about messages: which are carried, and what they must have paid."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

import re2
from pydantic import AfterValidator, Field, model_validator

from relayer.settings.values import MOST, AccountText, ChainRef, Section, WordText


@functools.lru_cache(maxsize=1024)
def body_pattern(text: str) -> Any:
    """A compiled `body_regex`; `ValueError` when it is none.

    RE2 (github.com/google/re2/wiki/Syntax) answers in time proportional to the body, whatever the
    sender put there; what would need backtracking (look-arounds, back references) it refuses.
    """
    quiet = re2.Options()
    quiet.log_errors = False
    try:
        return re2.compile(text, quiet)
    except re2.error as bad:
        why = bad.args[0].decode("utf-8", "replace") if bad.args else "unreadable"
        raise ValueError(f"is not a regular expression of RE2: {why}") from None


def _pattern_text(text: str) -> str:
    body_pattern(text)
    return text


FRACTION = r"^[0-9]{1,9}/[1-9][0-9]{0,8}$"
Budget = Annotated[int, Field(ge=0, lt=2**83)] | None
"""Wei of the destination chain (a budget is counted for each destination by itself), None for no
limit. Bounded so that its gwei fit what Redis counts exactly in Lua."""


class MatchRule(Section):
    """A filter on messages: every field that is given must match."""

    route: str | None = None
    """Glob on `<bridge>:<origin id>><destination id>`."""
    bridge: str | None = None
    origin: ChainRef | None = None
    destination: ChainRef | None = None
    sender: AccountText | None = None
    recipient: AccountText | None = None
    message_id: WordText | None = None
    max_body: int | None = Field(default=None, ge=0, le=MOST)
    min_body: int | None = Field(default=None, ge=0, le=MOST)
    body_regex: Annotated[str, Field(max_length=500), AfterValidator(_pattern_text)] | None = None

    @model_validator(mode="after")
    def _body_can_match(self) -> MatchRule:
        least, most = self.min_body, self.max_body
        if least is not None and most is not None and least > most:
            raise ValueError(f"min_body {least} is more than max_body {most}: nothing would match")
        return self


class FeeRule(Section):
    """What a message must have paid at its origin; the first rule that matches counts."""

    match: MatchRule | None = None
    kind: Literal["sponsor", "minimum", "quote_fraction", "profit"] = "sponsor"
    minimum: int = Field(default=0, ge=0, lt=2**256)
    """Wei of the origin chain."""
    fraction: str = Field(default="1/2", pattern=FRACTION)
    margin: str = Field(default="0/1", pattern=FRACTION)
    """`profit`: what the inbox must pay above the cost of the delivery, as a part of the cost."""
    max_per_message: Budget = None
    """`sponsor`: the most one delivery may cost."""
    max_per_sender: Budget = None
    """`sponsor`: the most that one sender's deliveries may cost in a day (UTC)."""
    max_per_day: Budget = None
    """`sponsor`: the most that all deliveries under this rule may cost in a day (UTC)."""

    @model_validator(mode="after")
    def _budgets_are_for_sponsors(self) -> FeeRule:
        for name in ("max_per_message", "max_per_sender", "max_per_day"):
            if self.kind != "sponsor" and getattr(self, name) is not None:
                raise ValueError(f"{name} goes with kind: sponsor, not {self.kind}")
        return self


class PolicySettings(Section):
    """Which messages are carried: `deny` wins, an empty `allow` allows all."""

    allow: list[MatchRule] = Field(default=[], max_length=1000)
    deny: list[MatchRule] = Field(default=[], max_length=1000)
    fee: list[FeeRule] = Field(default=[FeeRule(kind="sponsor")], max_length=1000)
