"""What is wrong with a section, one line a mistake: the field, its value, the way out.

A value that may be a secret is never shown.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from relayer.errors import ConfigInvalid
from relayer.settings.values import SECRETS

MOST_PROBLEMS = 20
"""Lines of one answer; who has more mistakes than that fixes these first."""

M = TypeVar("M", bound=BaseModel)

_FOLLOWS = "default_factory_not_called"
"""Pydantic's note that a default was not computed because another field is wrong."""

_KINDS = {
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "path_type": "must be a path",
    "invalid_key": "is a key that is no text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "finite_number": "must be a finite number",
}
"""Pydantic's words for a wrong kind of value, in the words of YAML."""
_QUOTABLE = ("string_type", "path_type", "invalid_key")


Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the path of the field (empty: the whole section), and what is wrong with it."""

    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.field}: {self.text}" if self.field else self.text


def parse_section(model: type[M], raw: Mapping[Any, Any], at: str = "") -> M:
    """Validate the section whose path is `at`; ConfigInvalid has a line for each `Problem`."""
    try:
        return model.model_validate(dict(raw))
    except ValidationError as bad:
        lines = [str(problem) for problem in _problems(model, raw, at, bad)]
        raise ConfigInvalid("\n".join(lines)) from None


def problems_in(model: type[BaseModel], raw: Mapping[Any, Any], at: str = "") -> list[Problem]:
    """What is wrong with the section whose path is `at`; nothing when it is well."""
    try:
        model.model_validate(dict(raw))
    except ValidationError as bad:
        return _problems(model, raw, at, bad)
    return []


def _problems(
    model: type[BaseModel], raw: Mapping[Any, Any], at: str, bad: ValidationError
) -> list[Problem]:
    """One problem a field; where members of a union differ, the one that went deeper counts."""
    by_path: dict[Path, list[ErrorDetails]] = {}
    for error in bad.errors(include_url=False):
        if error["type"] != _FOLLOWS:
            by_path.setdefault(_path_in(raw, error), []).append(error)
    problems = [
        Problem(_spelt(path, at), _explained(model, path, errors))
        for path, errors in by_path.items()
        if not any(path == deeper[: len(path)] != deeper for deeper in by_path)
    ]
    if len(problems) <= MOST_PROBLEMS:
        return problems
    more = Problem(at, f"{len(problems) - MOST_PROBLEMS} more mistakes; mend these first")
    return [*problems[:MOST_PROBLEMS], more]


def _path_in(raw: Any, error: ErrorDetails) -> Path:
    """Keys and indices of the wrong field, without the names pydantic gives members of a union."""
    here, path = raw, list[str | int]()
    for part in error["loc"]:
        if _has(here, part):
            path.append(part if isinstance(here, list) else str(part))
            here = here[part]
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    return tuple(path)


def _has(container: Any, part: str | int) -> bool:
    if isinstance(container, dict):
        return part in container
    return isinstance(container, list) and isinstance(part, int) and part < len(container)


def _spelt(path: Path, at: str) -> str:
    """`chains.alpha.endpoints[0].url`, on one line whatever the keys are."""
    text = at
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        word = part if re.fullmatch(r"[\w ./:>-]{1,80}", part) else repr(part[:80])
        text += f".{word}" if text else word
    return text


def _explained(model: type[BaseModel], path: Path, errors: list[ErrorDetails]) -> str:
    kind, key, value = errors[0]["type"], str(path[-1]) if path else "", errors[0]["input"]
    if kind == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        return f"unknown key; {_suggestion(near, known)}"
    if kind == "missing":
        return "is required"
    text = " or ".join(dict.fromkeys(_in_our_words(error) for error in errors))
    shown = _shown(value, key, is_wrong_kind=kind in _KINDS)
    return f"{text} (got {shown})" if shown else text


def _in_our_words(error: ErrorDetails) -> str:
    kind, text = error["type"], str(error["msg"])
    if kind in _QUOTABLE and isinstance(error["input"], int | float):
        return f"{_KINDS[kind]}: put it in quotes"
    if kind in ("too_short", "too_long") and isinstance(error["input"], str):
        text = re.sub(r"\bitems?\b", "characters", text)  # of a secret, which has none
    text = text.removeprefix("Value error, ").replace(" after validation", "")
    return _KINDS.get(kind) or re.sub(r"^[A-Z][a-z]+ should\b", "must", text)


def _suggestion(near: list[str], known: list[str]) -> str:
    return f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"


def _shown(value: Any, key: str, *, is_wrong_kind: bool) -> str:
    """The value for people; empty where it would say nothing."""
    if isinstance(value, str):
        return "a hidden value" if _may_be_secret(value, key) else repr(value[:80])
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)[:80]
    if not is_wrong_kind:
        return ""
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "a mapping"


def _may_be_secret(value: str, key: str) -> bool:
    if re.fullmatch(r"0x[0-9a-fA-F]{0,44}", value):
        return False  # an address, or nearly; keys are longer
    return (
        key in SECRETS or "key" in key or "://" in value or re.search(r"\w{20,}", value) is not None
    )


def _keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys a section may have, found by walking the models along `path`."""
    here: Any = model
    for part in path:
        here = _model_in(here)
        if here is not None and part in here.model_fields:
            here = here.model_fields[str(part)].annotation
    here = _model_in(here)
    keys = sorted(here.model_fields) if here is not None else []
    return keys + [f"{key}_file" for key in SECRETS if key in keys]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside Optional, list, dict or Annotated."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    inner = (_model_in(each) for each in reversed(typing.get_args(annotation)))
    return next((found for found in inner if found is not None), None)
