"""The web page: the files beside this module, served as they are; the browser needs nothing else.

There is no build step and no request to anywhere else. The page draws what the JSON API answers;
on the operator's address, and only there, it offers the operator's acts too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import hdrs, web

from relayer.ops.web import Refused, only

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: nothing inline, nothing from elsewhere, no frame."""

_VIEWS = ("/", "/messages", "/messages/{id}")
"""Paths that the page draws by itself; each is answered with the same document."""

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    body: bytes
    kind: str
    etag: str


class Page:
    """Serves the document and its files; `operator` tells it that it stands on that address."""

    def __init__(self, *, operator: bool = False) -> None:
        here = Path(__file__).parent
        self._assets = {
            path.name: _asset(path.read_bytes(), _TYPES[path.suffix])
            for path in here.iterdir()
            if path.suffix in _TYPES
        }
        document = (here / "index.html").read_bytes()
        if operator:
            document = document.replace(b'data-address="public"', b'data-address="operator"', 1)
        self._document = _asset(document, "text/html")

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Answer the page's paths."""
        for path in _VIEWS:
            router.add_get(path, self._show)
        router.add_get("/page/{name}", self._file)

    async def _show(self, request: web.Request) -> web.Response:
        return _answer(request, self._document)

    async def _file(self, request: web.Request) -> web.Response:
        only(request, ())
        asset = self._assets.get(request.match_info["name"])
        if asset is None:
            raise Refused(404, "the page has no such file")
        return _answer(request, asset)


def _asset(body: bytes, kind: str) -> Asset:
    return Asset(body, kind, hashlib.sha256(body).hexdigest()[:32])


def _answer(request: web.Request, asset: Asset) -> web.Response:
    """The file, or 304 to a browser that has it; it asks each time, so an upgrade shows at once."""
    headers = {hdrs.CACHE_CONTROL: "no-cache", "Content-Security-Policy": POLICY}
    known = request.if_none_match or ()
    if any(tag.value == asset.etag for tag in known):
        answer = web.Response(status=304, headers=headers)
    else:
        answer = web.Response(
            body=asset.body, content_type=asset.kind, charset="utf-8", headers=headers
        )
    answer.etag = asset.etag
    return answer
