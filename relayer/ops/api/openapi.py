"""The OpenAPI 3.1 document, made of the same models that validate requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from aiohttp.typedefs import Handler
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from relayer.ops.api.models import Asked, Event, Failure, Hash, Nothing, Notice, Reset

SCHEMAS = "#/components/schemas/"

_ERRORS: Mapping[int, str] = {
    400: "A parameter is wrong; the error names it.",
    404: "There is no such thing.",
    413: "The request has a body that is too large.",
    429: "The client asks too often; `Retry-After` says when it may again.",
    503: "Not available now; try again after `Retry-After`.",
    504: "The answer took too long.",
}
_ALWAYS = (400, 413, 429, 503, 504)
"""What any page may answer."""


@dataclass(frozen=True, slots=True)
class Page:
    """One path: its handler, what it may be asked and what it answers."""

    path: str
    name: str
    summary: str
    handler: Handler
    asked: type[Asked] = Nothing
    answers: tuple[type[BaseModel], ...] = ()
    """Any of these; none for the document itself."""
    is_cached: bool = True
    is_stream: bool = False


def document(pages: Sequence[Page], *, version: str) -> dict[str, Any]:
    """The whole document."""
    models: set[type[BaseModel]] = {Failure, Event, Reset, Notice}
    for page in pages:
        models.update(page.answers)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in sorted(models, key=lambda one: one.__name__)],
        ref_template=SCHEMAS + "{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Relayer",
            "version": version or "0",
            "description": "Where is my message, why is it there, and when will it arrive?",
        },
        "paths": {page.path: _path(page) for page in pages},
        "webhooks": {"message": {"post": _webhook()}},
        "components": {
            "schemas": schemas["$defs"],
            "responses": {str(status): _failure(text) for status, text in _ERRORS.items()},
        },
    }


def _path(page: Page) -> dict[str, Any]:
    get: dict[str, Any] = {
        "operationId": page.name,
        "summary": page.summary,
        "parameters": _parameters(page),
        "responses": _answers(page),
    }
    return {"get": get}


def _webhook() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "operationId": "tell",
        "summary": "An event that matches a webhook of the configuration",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": text}
            for name in ("Relayer-Event-Id", "Relayer-Signature")
        ],
        "requestBody": {"required": True, **_json(Notice)},
        "responses": {
            "2XX": {"description": "Taken."},
            "default": {"description": "Posted again later, after `Retry-After` of a 429 or 503."},
        },
    }


def _parameters(page: Page) -> list[dict[str, Any]]:
    found = []
    if "{id}" in page.path:
        found.append({"name": "id", "in": "path", "required": True, "schema": _schema_of(Hash)})
    asked = page.asked.model_json_schema(ref_template=SCHEMAS + "{model}")
    properties = asked.get("properties", {})
    for name, field in page.asked.model_fields.items():
        schema = properties[name]
        parameter = {"name": name, "in": "query", "required": False, "schema": _unwrapped(schema)}
        if field.description:
            parameter["description"] = field.description
        found.append(parameter)
    for name in ("If-None-Match",) if page.is_cached else ():
        found.append({"name": name, "in": "header", "schema": {"type": "string"}})
    if page.is_stream:
        found.append({"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}})
    return found


def _answers(page: Page) -> dict[str, Any]:
    statuses = (*_ALWAYS, *((404,) if "{id}" in page.path else ()))
    answers: dict[str, Any] = {"200": _success(page)}
    if page.is_cached:
        answers["304"] = {"description": "The client has it already."}
    for status in sorted(statuses):
        answers[str(status)] = {"$ref": f"#/components/responses/{status}"}
    return answers


def _success(page: Page) -> dict[str, Any]:
    if page.is_stream:
        text = "Server-sent events; the data of each is an `Event`, of a `reset` a `Reset`."
        return {
            "description": text,
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    refs = [{"$ref": SCHEMAS + model.__name__} for model in page.answers]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs} if refs else {"type": "object"}
    return {
        "description": HTTPStatus.OK.phrase,
        "content": {"application/json": {"schema": schema}},
    }


def _failure(text: str) -> dict[str, Any]:
    return {"description": text, **_json(Failure)}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": SCHEMAS + model.__name__}}}}


def _schema_of(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


def _unwrapped(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that is not given is absent, never null."""
    options = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    kept = {
        key: value
        for key, value in schema.items()
        if key not in ("anyOf", "title", "description") and value is not None
    }
    return {**(options[0] if options else {}), **kept}
