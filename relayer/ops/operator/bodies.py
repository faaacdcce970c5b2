"""What a request of the operator API may say: models that refuse everything else."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from aiohttp import hdrs, web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from relayer.acts import LONGEST_WHY, PauseKind
from relayer.message import Reason, Route, Status
from relayer.ops.operator.door import ARGUMENTS
from relayer.ops.views import printable
from relayer.ops.web import Refused

MAX_BODY = 16 * 1024
MAX_BLOCK = 2**63 - 1

B = TypeVar("B", bound=BaseModel)


class Body(BaseModel):
    """A JSON object without unknown fields; nothing is turned into another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def _is_route(text: str) -> str:
    try:
        Route.parse(text)
    except ValueError:
        raise ValueError("must be <bridge>:<origin id>><destination id>") from None
    return text


Chain = Annotated[str | int, Field(union_mode="left_to_right")]
"""A configured chain's name, or its id."""
ShortText = Annotated[str, Field(min_length=1, max_length=200)]
RouteText = Annotated[ShortText, AfterValidator(_is_route)]
AccountText = Annotated[str, Field(pattern=r"^0x([0-9a-fA-F]{24})?[0-9a-fA-F]{40}$")]
HashText = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$")]


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


class TargetBody(Body):
    """One thing to pause or resume."""

    chain: Chain | None = None
    lane: Chain | None = None
    route: RouteText | None = None
    signer: ShortText | None = None

    @model_validator(mode="after")
    def _is_one(self) -> TargetBody:
        if len(self.given()) != 1:
            raise ValueError("give exactly one of chain, lane, route and signer")
        return self

    def given(self) -> list[tuple[PauseKind, str]]:
        """What is named, by its kind."""
        values = [(kind, getattr(self, kind.value)) for kind in PauseKind]
        return [(kind, str(value)) for kind, value in values if value is not None]


class PauseBody(TargetBody):
    """What to pause, and why, for whoever sees it waiting."""

    why: str = Field(default="", max_length=LONGEST_WHY)


class BackfillBody(Body):
    """Blocks to read again: an inclusive range, or the block of a transaction."""

    chain: ShortText
    first: int | None = Field(default=None, ge=0, le=MAX_BLOCK)
    last: int | None = Field(default=None, ge=0, le=MAX_BLOCK)
    tx: HashText | None = None

    @model_validator(mode="after")
    def _is_one(self) -> BackfillBody:
        has_range = self.first is not None and self.last is not None
        if has_range == (self.tx is not None) or (self.first is None) != (self.last is None):
            raise ValueError("give first and last, or tx")
        if self.first is not None and self.last is not None and self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}: swap them")
        return self


class LevelBody(Body):
    """The lowest level to log."""

    level: Literal["debug", "info", "warning", "error"]


async def body_of(request: web.Request, model: type[B]) -> B:
    """The request's body as a model; `Refused` names the first field that is wrong."""
    raw = await request.read()
    request[ARGUMENTS] = printable(raw.decode("utf-8", "replace"))
    if raw and request.content_type != "application/json":
        raise Refused(415, "send application/json", field=hdrs.CONTENT_TYPE)
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as wrong:
        raise _refusal(wrong) from None


def _refusal(wrong: ValidationError) -> Refused:
    error: Any = wrong.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in error["loc"][:3])
    text = str(error["msg"]).removeprefix("Value error, ")
    return Refused(400, printable(text, 300), field=printable(field, 80) or None)
