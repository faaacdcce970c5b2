"""The web page as an HTTP client gets it; what a browser makes of it is in tests/browser."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

import relayer.ops.page
from relayer.ops.page import POLICY, Page
from relayer.ops.web import WebServer, secured

FILES = Path(relayer.ops.page.__file__).parent
SCRIPTS = sorted(path.name for path in FILES.glob("*.js"))


async def _serve(page: Page) -> AsyncIterator[aiohttp.ClientSession]:
    app = web.Application(middlewares=[secured])
    page.add_to(app.router)
    server = WebServer(app, section="http", host="127.0.0.1", port=0)
    port = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield session
    finally:
        await server.aclose()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async for session in _serve(Page()):
        yield session


@pytest.fixture
async def operators() -> AsyncIterator[aiohttp.ClientSession]:
    async for session in _serve(Page(operator=True)):
        yield session


@pytest.mark.parametrize("path", ["/", "/messages", "/messages?status=dead", "/messages/0x12"])
async def test_every_view_is_the_same_document(client: aiohttp.ClientSession, path: str) -> None:
    """The page finds its view in the address; nothing inline and no other host is allowed."""
    async with client.get(path) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
        assert answer.headers.getall("Content-Security-Policy") == [POLICY]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert 'data-address="public"' in await answer.text()


async def test_the_operators_document_says_so(operators: aiohttp.ClientSession) -> None:
    """Only there does the page offer acts."""
    async with operators.get("/") as answer:
        assert 'data-address="operator"' in await answer.text()


@pytest.mark.parametrize("name", [*SCRIPTS, "page.css", "views.css", "icon.svg"])
async def test_files_are_kept_and_asked_for_again(client: aiohttp.ClientSession, name: str) -> None:
    """A browser that has a file is told so in a few bytes, and never shows an old one."""
    async with client.get(f"/page/{name}") as first:
        assert first.status == 200
        assert first.headers["Cache-Control"] == "no-cache"
        etag = first.headers["ETag"]
        assert await first.read() == (FILES / name).read_bytes()
    async with client.get(f"/page/{name}", headers={"If-None-Match": etag}) as again:
        assert (again.status, await again.read()) == (304, b"")
    async with client.get(f"/page/{name}", headers={"If-None-Match": '"other"'}) as other:
        assert other.status == 200


@pytest.mark.parametrize("name", ["__init__.py", "index.html", "nothing.js", "..%2Fhttp.py"])
async def test_nothing_else_is_served(client: aiohttp.ClientSession, name: str) -> None:
    """Only the page's own files have an address."""
    async with client.get(f"/page/{name}") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "not_found"


def test_every_import_of_a_script_is_a_file_beside_it() -> None:
    """A script that is missing would stop the whole page; one from elsewhere is not allowed."""
    for name in SCRIPTS:
        for wanted in re.findall(r'from "([^"]+)"', (FILES / name).read_text(encoding="utf-8")):
            assert re.fullmatch(r"\./[a-z]+\.js", wanted)
            assert (FILES / wanted).is_file()


def test_no_script_makes_markup_out_of_text() -> None:
    """Text from chains goes into the document as text: no way around that is used."""
    for name in SCRIPTS:
        text = (FILES / name).read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
        assert "new Function" not in text
