"""Reads YAML text strictly and within bounds, whatever it holds."""

from __future__ import annotations

import re
from typing import Any

import yaml

from relayer.errors import ConfigInvalid

MAX_VALUES = 100_000
"""Values once every alias is written out; a few lines can stand for billions."""
DEEPEST = 50
"""Levels of values; a configuration has ten. Not left to Python's own limit, which libraries raise
so far that its end is the end of the process."""
LONGEST_NUMBER = 100
"""Digits; no setting needs 80, and Python itself reads only so many."""

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(text: str) -> Any:
    """Plain values of one YAML document; ConfigInvalid says in one line what is wrong where."""
    try:
        return _plain_values(text)
    except yaml.YAMLError as bad:
        raise ConfigInvalid(f"not YAML: {_where(bad)}") from None
    except (TypeError, ValueError) as bad:
        raise ConfigInvalid(f"not plain YAML: {str(bad)[:200]}") from None


def _plain_values(text: str) -> Any:
    loader = _PlainLoader(text)
    try:
        whole = loader.get_single_node()
        if whole is None:
            return None
        _Measure().size(whole)
        return loader.construct_document(whole)
    finally:
        loader.dispose()


class _PlainLoader(yaml.SafeLoader):
    """YAML 1.2's plain scalars, so that an unquoted 0x address stays text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - filled below

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if parent is not None and self._depth > DEEPEST:
            raise _error("nested too deeply", parent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _tag, _pattern, _first in (
    ("bool", r"^(true|false)$", "tf"),
    ("int", r"^[-+]?(0|[1-9][0-9_]*)$", "-+0123456789"),
    ("float", r"^[-+]?([0-9][0-9_]*)?\.?[0-9]+([eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(~|null|)$", ["~", "n", ""]),
    ("merge", r"^<<$", "<"),
):
    _PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first)
    )


def _whole_number(loader: _PlainLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > LONGEST_NUMBER:
        raise _error(f"a number of more than {LONGEST_NUMBER} digits; is it text? quote it", node)
    return int(loader.construct_yaml_int(node))


_PlainLoader.add_constructor("tag:yaml.org,2002:int", _whole_number)


class _Measure:
    """Counts the values below each node once, before anything is built of them."""

    def __init__(self) -> None:
        self._sizes: dict[int, int | None] = {}
        """By the node's identity; None while the count is under way."""

    def size(self, node: yaml.Node) -> int:
        """Values of the node with its aliases written out; an error above `MAX_VALUES`."""
        if id(node) in self._sizes:
            known = self._sizes[id(node)]
            if known is None:
                raise _error("refers to itself", node)
            return known
        self._sizes[id(node)] = None
        total = 1 + sum(self.size(child) for child in _children(node))
        if total > MAX_VALUES:
            raise _error(f"aliases stand for more than {MAX_VALUES} values", node)
        self._sizes[id(node)] = total
        return total


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error("a key must be one word", key)
        if key.value in seen and key.tag != _MERGE:
            raise _error(f"the key {key.value!r} occurs twice", key)
        seen.add(key.value)
    return [value for _, value in node.value]


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _where(bad: yaml.YAMLError) -> str:
    if isinstance(bad, yaml.reader.ReaderError):
        return f"it holds the character #x{int(bad.character):02x}, which no text has"
    mark = getattr(bad, "problem_mark", None)
    problem = getattr(bad, "problem", None) or "unreadable"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)
