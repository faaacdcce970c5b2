"""Reads a request's parameters into their model; what is wrong is named with field and value."""

from __future__ import annotations

from typing import Any, TypeVar

from aiohttp import web
from pydantic import ValidationError

from relayer.ops.api.models import FORMS, Asked
from relayer.ops.mistakes import in_words
from relayer.ops.web import Refused, only

MAX_BODY = 1024
"""Bytes; nothing here reads a body."""

A = TypeVar("A", bound=Asked)


def asked(request: web.Request, model: type[A]) -> A:
    """The request's query as `model`; `Refused` (400) names the first mistake."""
    only(request, sorted(model.model_fields))
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as bad:
        first: Any = bad.errors(include_url=False)[0]
        field = str(first["loc"][0])
        raise Refused(
            400, in_words(first, FORMS), field=field, value=request.query.get(field)
        ) from None
