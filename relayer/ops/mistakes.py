"""What is wrong with something that was asked, in the words of whoever asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

NO_FORMS: Mapping[str, str] = {}


def in_words(error: Mapping[str, Any], forms: Mapping[str, str] = NO_FORMS) -> str:
    """One mistake of the validating library; `forms` says what text of a pattern must be."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch" and context["pattern"] in forms:
        return f"must be {forms[context['pattern']]}"
    return _WORDS[kind](context) if kind in _WORDS else "is not what it must be"


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "string_type": lambda _: "must be text",
    "string_unicode": lambda _: "must be text",
    "int_type": lambda _: "must be a whole number",
    "bool_type": lambda _: "must be true or false",
    "enum": lambda context: f"must be {context['expected']}",
    "literal_error": lambda context: f"must be {context['expected']}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "greater_than_equal": lambda context: f"must be {context['ge']} or more",
    "less_than_equal": lambda context: f"must be {context['le']} or less",
    "less_than": lambda context: f"must be less than {context['lt']}",
    "value_error": lambda context: str(context["error"]),
}
"""By kind of mistake."""
