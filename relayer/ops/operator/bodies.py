"""What a request of the operator API may say: models that refuse everything else."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from typing import Annotated, Any, Literal, TypeVar

from aiohttp import hdrs, web
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

from relayer.acts import LONGEST_WHY, PauseKind
from relayer.message import Reason, Route, Status
from relayer.ops.mistakes import in_words
from relayer.ops.operator.door import ARGUMENTS
from relayer.ops.views import printable
from relayer.ops.web import Refused

MAX_BODY = 16 * 1024
MAX_BLOCK = 2**63 - 1
LONGEST_NAME = 200

B = TypeVar("B", bound=BaseModel)


class Body(BaseModel):
    """A JSON object without unknown fields; nothing is turned into another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def _is_route(text: str) -> str:
    try:
        Route.parse(text)
    except ValueError:
        raise ValueError(
            "must be <bridge>:<origin id>><destination id>; `relayer routes` lists them"
        ) from None
    return text


def _name_or_id(value: Any) -> str:
    is_id = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_BLOCK
    if not is_id and not (isinstance(value, str) and 0 < len(value) <= LONGEST_NAME):
        raise ValueError("must be a chain's name or id")
    return str(value)


def _matching(pattern: str, wanted: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {wanted}")
        return text

    return AfterValidator(check)


Chain = Annotated[str, BeforeValidator(_name_or_id)]
ShortText = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
RouteText = Annotated[ShortText, AfterValidator(_is_route)]
AccountText = Annotated[
    str,
    _matching(
        "0x([0-9a-fA-F]{24})?[0-9a-fA-F]{40}", "0x and 40 hex digits (an address) or 64 (a word)"
    ),
]
HashText = Annotated[str, _matching("0x[0-9a-fA-F]{64}", "0x and 64 hex digits")]
Block = Annotated[int, Field(ge=0, le=MAX_BLOCK)]


class NoBody(Body):
    """Nothing, or an empty object."""


class SelectionBody(Body):
    """Which messages are meant, and what to do about it."""

    status: Status | None = None
    reason: Reason | None = None
    route: RouteText | None = None
    bridge: ShortText | None = None
    origin: Chain | None = None
    destination: Chain | None = None
    sender: AccountText | None = None
    recipient: AccountText | None = None
    dry_run: bool = False
    """Only say how many there are."""
    after: ShortText | None = None
    """Go on behind the mark that the answer before ended with."""

    @model_validator(mode="after")
    def _chooses(self) -> SelectionBody:
        filters = [name for name in type(self).model_fields if name not in ("dry_run", "after")]
        if all(getattr(self, name) is None for name in filters):
            raise ValueError(
                f"give at least one of {', '.join(filters)}: without any, all messages would be"
                " meant"
            )
        return self


class TargetBody(Body):
    """One thing to pause or resume."""

    chain: Chain | None = None
    lane: Chain | None = None
    route: RouteText | None = None
    signer: ShortText | None = None

    @model_validator(mode="after")
    def _is_one(self) -> TargetBody:
        if len(self._given()) != 1:
            raise ValueError("give exactly one of chain, lane, route and signer")
        return self

    def named(self) -> tuple[PauseKind, str]:
        """What is named, with its kind."""
        (one,) = self._given()
        return one

    def _given(self) -> list[tuple[PauseKind, str]]:
        values = [(kind, getattr(self, kind.value)) for kind in PauseKind]
        return [(kind, value) for kind, value in values if value is not None]


class PauseBody(TargetBody):
    """What to pause, and why, for whoever sees it waiting."""

    why: str = Field(default="", max_length=LONGEST_WHY)


class BackfillBody(Body):
    """Blocks to read again: an inclusive range, or the block of a transaction."""

    chain: Chain
    first: Block | None = None
    last: Block | None = None
    tx: HashText | None = None

    @model_validator(mode="after")
    def _is_one(self) -> BackfillBody:
        has_range = self.first is not None and self.last is not None
        if has_range == (self.tx is not None) or (self.first is None) != (self.last is None):
            raise ValueError("give first and last, or tx")
        if self.first is not None and self.last is not None:
            _in_order(self.first, self.last)
        return self


class RangeBody(Body):
    """An inclusive range that was asked for before."""

    chain: Chain
    first: Block
    last: Block

    @model_validator(mode="after")
    def _is_a_range(self) -> RangeBody:
        _in_order(self.first, self.last)
        return self


class LevelBody(Body):
    """The lowest level to log."""

    level: Literal["debug", "info", "warning", "error"]


async def body_of(request: web.Request, model: type[B]) -> B:
    """The request's body as a model; `Refused` names the first field that is wrong."""
    raw = await request.read()
    size = f"{len(raw)} bytes"
    if raw and request.content_type != "application/json":
        request[ARGUMENTS] = f"{size} of {printable(request.content_type, 80)}"
        raise Refused(415, "send application/json", field=hdrs.CONTENT_TYPE)
    try:
        plain = from_json(raw or b"{}")
    except ValueError as bad:
        request[ARGUMENTS] = f"{size} that are no JSON"
        raise Refused(400, f"is no JSON: {printable(str(bad), 100)}") from None
    if not isinstance(plain, dict):
        request[ARGUMENTS] = f"{size} that are no JSON object"
        raise Refused(400, "must be a JSON object", value=json.dumps(plain))
    twice = _given_twice(raw)
    if twice is not None:  # and not what was understood, which is only one of the two
        request[ARGUMENTS] = f"{size} with {printable(twice, 80)!r} twice"
        raise Refused(400, "is given twice", field=printable(twice, 80))
    # As it was understood: escapes must not hide from the audit log what was meant.
    request[ARGUMENTS] = plain or ""
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as wrong:
        raise _refusal(wrong, model) from None


def _given_twice(raw: bytes) -> str | None:
    """The first name that stands twice in an object: readers differ in which of the two counts."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        counts = Counter(name for name, _ in pairs)
        found.extend(name for name, count in counts.items() if count > 1)

    json.loads(raw or b"{}", object_pairs_hook=note, parse_int=str)  # of any number of digits
    return found[0] if found else None


def _in_order(first: int, last: int) -> None:
    if first > last:
        raise ValueError(f"first {first} is after last {last}: swap them")


def _refusal(wrong: ValidationError, model: type[BaseModel]) -> Refused:
    error: Any = wrong.errors(include_url=False)[0]
    field, kind = ".".join(str(part) for part in error["loc"][:1]), error["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(field[:80], model.model_fields, n=1)
        known = ", ".join(model.model_fields) or "none"
        way_out = f"did you mean {near[0]}? known: {known}" if near else f"known: {known}"
        text = f"unknown field; {way_out}"
    else:
        text = in_words(error)
    value = error["input"] if field and kind not in ("missing", "extra_forbidden") else None
    shown = None if value is None else value if isinstance(value, str) else json.dumps(value)
    return Refused(400, printable(text, 1000), field=printable(field, 80) or None, value=shown)
