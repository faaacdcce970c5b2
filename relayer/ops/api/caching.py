"""Answers that clients may keep: an ETag on each, and 304 when they have it already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web

ASK_AGAIN = "no-cache"
"""May be kept, and must be asked for again before it is used."""


def kept_for(seconds: int) -> str:
    """May be used for so long without asking again."""
    return f"public, max-age={seconds}"


def tagged(request: web.Request, body: Mapping[str, Any], cache: str) -> web.Response:
    """`body` as JSON with its ETag, or 304 without a body when the client has just that."""
    text = json.dumps(body).encode()
    tag = hashlib.blake2s(text, digest_size=12).hexdigest()
    answer = web.Response(body=text, content_type="application/json", charset="utf-8")
    known = request.if_none_match or ()
    if any(one.value in (tag, "*") for one in known):
        answer = web.Response(status=304)
    answer.headers[hdrs.ETAG] = f'W/"{tag}"'
    answer.headers[hdrs.CACHE_CONTROL] = cache
    return answer
