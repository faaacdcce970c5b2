"""Reads JSON that others may have written: RPC answers, validators' files, what Redis holds."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
"""Levels of nesting; no JSON-RPC answer has ten."""
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


def parse_json(text: bytes | str) -> Any:
    """Read such JSON; ValueError when it is not JSON or nests deeper than `MAX_DEPTH`.

    The depth is bounded before parsing: py_ecc, which web3 imports, raises the recursion limit to
    100 000, and the parser of the standard library then overflows the C stack of the process.
    UTF-8 only (RFC 8259, 8.1): in UTF-16, which that parser takes too, half a letter can be a quote
    that hides brackets from us.
    """
    if isinstance(text, bytes):
        text = text.decode()
    if text.count("[") + text.count("{") > MAX_DEPTH:
        brackets = _STRINGS.sub(b"", text.encode()).translate(None, _NO_BRACKETS)
        for _ in range(MAX_DEPTH):
            if not brackets:
                break
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if brackets:
            raise ValueError("nested too deeply, or not balanced")
    return json.loads(text)
