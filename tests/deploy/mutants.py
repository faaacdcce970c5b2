"""Each alert rule with one thing in it a little off, to see whether its test notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LATER = "5m"
"""What a rule without `for` is made to wait: at least one evaluation of any test."""
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e\d+)?(?![\w.])")
_NO_NUMBERS = re.compile(r'"[^"]*"|\[[^\]]*\]|offset \w+')
"""Label values and ranges."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule, and what is other than it should be."""

    what: str
    rule: dict[str, Any]


def mutants(rule: dict[str, Any]) -> Iterator[Mutant]:
    """`for` halved and doubled, and each number of the expression a little lower and higher."""
    for other in _other_times(rule.get("for")):
        yield Mutant(f"for: {other}", {**rule, "for": other})
    expr = rule["expr"]
    readable = _NO_NUMBERS.sub(lambda found: " " * len(found.group()), expr)
    for found in _NUMBER.finditer(readable):
        for other in _other_numbers(found.group(), readable[found.end() :].lstrip()[:1]):
            yield Mutant(
                f"{found.group()} -> {other:g} at {found.start()}",
                {**rule, "expr": f"{expr[: found.start()]}{other:g}{expr[found.end() :]}"},
            )


def _other_times(duration: str | None) -> tuple[str, ...]:
    if duration is None:
        return (LATER,)
    whole = int(duration[:-1]) * UNITS_S[duration[-1]]
    return f"{whole // 2}s", f"{whole * 2}s"


def _other_numbers(text: str, after: str) -> tuple[float, float]:
    """Zero and small counts by one or so, as a part of one counts nothing; all else by a part."""
    number = float(text)
    if number == 0:
        return -1.5, 1.5
    if number in (1, 2, 3) and after != "*":
        return number - 1, number + 1
    return number * 0.8, number * 1.25
