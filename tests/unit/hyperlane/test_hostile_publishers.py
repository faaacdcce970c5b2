"""Whatever validators publish or announce, and wherever: reading it ends soon, small and whole."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from eth_account import Account
from pydantic import SecretStr

from relayer.adapter import Call
from relayer.errors import BadChainData, EndpointDown, RelayerError
from relayer.foreign_json import parse_json
from relayer.message import Reason
from relayer.protocols.hyperlane.ccip import CcipReader
from relayer.protocols.hyperlane.checkpoints import parse_checkpoint, parse_index, signer
from relayer.protocols.hyperlane.contracts import Lookup
from relayer.protocols.hyperlane.settings import CcipSettings, StorageSettings
from relayer.protocols.hyperlane.storage import Location, Storage, parse_location
from tests.unit.hyperlane.test_adapter import called, waiting
from tests.unit.hyperlane.world import ISM, World, checkpoint_json

ACCOUNT = Account.from_key(b"\x11" * 32)
BUCKET = Location("s3", "bucket", "eu-west-1")
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


# --- files -----------------------------------------------------------------------------------


def honest() -> dict[str, Any]:
    return checkpoint_json(ACCOUNT, 4, b"\x01" * 32, b"\x02" * 32)


def text_with(path: str, raw: str) -> bytes:
    """An honest checkpoint with one value replaced by raw JSON text."""
    content = honest()
    inner = content
    *steps, last = path.split(".")
    for step in steps:
        inner = inner[step]
    inner[last] = "PLACE"
    return json.dumps(content).replace('"PLACE"', raw).encode()


NUMBERS = [
    '"4"',
    "4.0",
    "4e0",
    "-4",
    "NaN",
    "Infinity",
    "-Infinity",
    "1" + "0" * 100,
    "9" * 5000,
    "true",
    "null",
    "[4]",
    '{"4": 4}',
    '""',
    "4294967296",
]
WORDS = [
    "5",
    "null",
    "true",
    "[]",
    "{}",
    '""',
    '"0x"',
    '"0x01"',
    '"01"',
    '"0x' + "zz" * 32 + '"',
    '"0x' + "01" * 5000 + '"',
    '"\\ud800"',
    '"0x\\u0660' + "1" * 63 + '"',
    "[" * 60 + "]" * 60,
]


@pytest.mark.parametrize("raw", NUMBERS)
@pytest.mark.parametrize(
    "path", ["value.checkpoint.index", "value.checkpoint.mailbox_domain", "signature.v"]
)
def test_numbers_that_are_none(path: str, raw: str) -> None:
    """An index, a domain and a v are JSON integers of 32 bits and nothing else."""
    with pytest.raises(BadChainData):
        parse_checkpoint(text_with(path, raw))


@pytest.mark.parametrize("raw", WORDS)
@pytest.mark.parametrize(
    "path",
    [
        "value.checkpoint.root",
        "value.checkpoint.merkle_tree_hook_address",
        "value.message_id",
        "signature.r",
        "signature.s",
    ],
)
def test_words_that_are_none(path: str, raw: str) -> None:
    """Roots, ids and signature parts that are not hex of their size are refused."""
    if path.startswith("signature") and raw == '"0x01"':
        assert signer(parse_checkpoint(text_with(path, raw))) != ACCOUNT.address.lower()
        return
    with pytest.raises(BadChainData):
        parse_checkpoint(text_with(path, raw))


@pytest.mark.parametrize("path", ["value", "value.checkpoint", "value.message_id", "signature"])
@pytest.mark.parametrize("raw", ["5", "null", "[]", '"text"', "true", "[[[[]]]]"])
def test_parts_of_a_wrong_type(path: str, raw: str) -> None:
    """A part that is no object is an error, not an exception of another kind."""
    with pytest.raises(BadChainData):
        parse_checkpoint(text_with(path, raw))


def test_the_last_of_two_equal_keys_is_what_is_checked() -> None:
    """One reading of a file with double keys: the signature is checked on what is used."""
    content = honest()
    good = json.dumps(content["value"])
    other = json.dumps({**content["value"], "message_id": "0x" + "09" * 32})
    signature = json.dumps(content["signature"])
    for first, last, is_signed in ((other, good, True), (good, other, False)):
        text = f'{{"value": {first}, "signature": {signature}, "value": {last}}}'
        found = signer(parse_checkpoint(text.encode()))
        assert (found == ACCOUNT.address.lower()) is is_signed


@pytest.mark.parametrize(
    ("r", "s"), [(0, 1), (1, 0), (ORDER, 1), (ORDER - 1, 1), (2**256 - 1, 2**200)]
)
def test_signatures_at_the_edge_are_nobodys(r: int, s: int) -> None:
    """Scalars of no signature end in `BadChainData` or in somebody else's address."""
    content = honest()
    for v in (27, 28):
        content["signature"] = {"r": hex(r), "s": hex(s), "v": v}
        with contextlib.suppress(BadChainData):
            assert signer(parse_checkpoint(json.dumps(content).encode())) != ACCOUNT.address.lower()


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-8-sig"])
def test_other_encodings_are_not_json(encoding: str) -> None:
    """JSON between systems is UTF-8 (RFC 8259)."""
    with pytest.raises(BadChainData, match="not JSON"):
        parse_checkpoint(json.dumps(honest()).encode(encoding))


@pytest.mark.parametrize("order", ["le", "be"])
def test_an_encoding_cannot_hide_nesting(order: str) -> None:
    """A byte of a UTF-16 letter that looks like a quote would hide brackets from the bound."""
    text = '["a\u2200b",' + "[" * 90_000 + '"]'
    with pytest.raises(ValueError, match=r".") as caught:
        parse_json(text.encode(f"utf-16-{order}"))
    assert not isinstance(caught.value, RecursionError)


@pytest.mark.parametrize(
    "raw", [b"", b"4.0", b"0x4", b"+4", b"4 4", b"9" * 100, "\u0664".encode(), b"\xb2", b"null"]
)
def test_latest_indices_that_are_none(raw: bytes) -> None:
    """The latest index is a bare 32-bit integer in ASCII."""
    with pytest.raises(BadChainData):
        parse_index(raw)


def a_link(place: Path) -> None:
    secret = place.with_suffix(".secret")
    secret.write_bytes(place.read_bytes())
    place.unlink()
    place.symlink_to(secret)


def a_loop(place: Path) -> None:
    place.unlink()
    place.symlink_to(place)


def a_pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place)


def a_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def a_device(place: Path) -> None:
    place.unlink()
    place.symlink_to("/dev/zero")


def sealed(place: Path) -> None:
    """A file of a billion bytes that takes no room."""
    os.truncate(place, 10**9)


@pytest.mark.parametrize("spoil", [a_link, a_loop, a_pipe, a_folder, a_device, sealed])
@pytest.mark.parametrize("name", ["index.json", "0_with_id.json"])
async def test_what_is_no_plain_file(
    world: World, spoil: Callable[[Path], None], name: str
) -> None:
    """One of three validators with such a file is passed over; two are named and waited for."""
    (record,) = world.dispatch()
    world.all_sign(0)
    spoil(world.signers[0].directory / name)
    async with asyncio.timeout(10):
        assert isinstance(await world.step(record), Call)
    spoil(world.signers[1].directory / name)
    world.multisig(ISM, 3)
    world.clock.pass_s(1000)
    world.adapter = world.rebuilt()
    async with asyncio.timeout(10):
        wait = waiting(await world.step(record), Reason.AWAITING_QUORUM)
    for bad in world.signers[:2]:
        assert bad.address in wait.detail
    await world.adapter.aclose()


# --- announcements ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "file://",
        "file:///",
        "file:///etc",
        "file:///etc/passwd",
        "file:///proc/self/environ",
        "file:///dev",
        "file:///etc/../root",
        "file://../../etc",
        "file:///tmp/\0/etc",
        "file:///" + "a/" * 500,
        "file:///" + "a" * 5000,
        "file:///\n\x1b[2J",
        "FILE:///etc",
        "s3://" + "a" * 2**20,
        "s3://bucket/eu-west-1/../../../x",
        "s3://bucket/eu-west-1/%2e%2e/x",
        "s3://bucket/eu-west-1/\u202e",
        "s3://127.0.0.1/eu-west-1",
        "gs://bucket/..",
        "\0",
        "\ud7ff" * 10,
        "gopher://bucket/eu-west-1",
        "s3:/bucket/eu-west-1",
        "",
    ],
)
async def test_hostile_announcements(world: World, text: str) -> None:
    """One that announces such a place is no publisher; the honest ones are not held up."""
    (record,) = world.dispatch()
    world.all_sign(0)
    bad = world.signers[0]
    world.locations[bad.address] = [*world.locations[bad.address][:0], text]
    async with asyncio.timeout(10):
        metadata, _ = called(await world.step(record))
    assert len(metadata) == 1096 + 2 * 65


def test_local_files_of_others_are_never_named() -> None:
    """Only the names of published objects are asked for, below the announced folder."""
    location = parse_location("file:///etc")
    assert {location.latest_name, location.checkpoint_name(2**32 - 1)} == {
        "index.json",
        "4294967295_with_id.json",
    }


async def test_a_thousand_announcements_are_tried_three_times(world: World) -> None:
    """However often a validator moves, only its newest places are read."""
    (record,) = world.dispatch()
    world.all_sign(0)
    bad = world.signers[0]
    world.locations[bad.address] = [f"file:///nowhere/{n}" for n in range(1000)]
    metadata, _ = called(await world.step(record))
    assert len(metadata) == 1096 + 2 * 65


# --- object stores and look-up servers ---------------------------------------------------------


Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]
BOMB = gzip.compress(bytes(200 * 2**20), 9)


async def redirect(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": "/again"})


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await answer.write(bytes(65536))
    return answer


async def dripping(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await answer.write(b" ")
            await asyncio.sleep(0.01)
    return answer


async def silent(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": "100"})
    await answer.prepare(request)
    await answer.write(b"{}")
    assert request.transport is not None
    request.transport.abort()
    return answer


async def bomb(request: web.Request) -> web.StreamResponse:
    return web.Response(body=BOMB, headers={"Content-Encoding": "gzip"})


async def broken_gzip(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x1f\x8b" + bytes(99), headers={"Content-Encoding": "gzip"})


async def long_headers(request: web.Request) -> web.StreamResponse:
    return web.Response(headers={"X-Long": "a" * 100_000})


HOSTILE = [
    (redirect, EndpointDown),
    (endless, BadChainData),
    (dripping, EndpointDown),
    (silent, EndpointDown),
    (cut_short, EndpointDown),
    (bomb, RelayerError),
    (broken_gzip, RelayerError),
    (long_headers, EndpointDown),
]


@contextlib.asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", serve)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    try:
        yield str(server.make_url("/"))
    finally:
        await server.close()


@contextlib.contextmanager
def small() -> Any:
    """Fails when the test inside needs more than a few MiB at any moment."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("serve", "kind"), HOSTILE, ids=lambda v: getattr(v, "__name__", ""))
async def test_hostile_object_stores(serve: Serve, kind: type[RelayerError]) -> None:
    """Every such answer ends within the timeout as trouble of that store, in little memory."""
    async with serving(serve) as url:
        settings = StorageSettings(s3_endpoint=SecretStr(url), timeout_s=0.5)
        storage = Storage(settings, allow_local=False)
        try:
            with small(), pytest.raises(kind):
                async with asyncio.timeout(5):
                    await storage.read(BUCKET, "x.json")
        finally:
            await storage.aclose()


@pytest.mark.parametrize(("serve", "kind"), HOSTILE, ids=lambda v: getattr(v, "__name__", ""))
async def test_hostile_lookup_servers(serve: Serve, kind: type[RelayerError]) -> None:
    """A look-up's server may be anybody's: the same holds for it, and it is always a wait."""
    async with serving(serve) as url:
        settings = CcipSettings(allow_http=True, allow_private=True, timeout_s=0.5)
        reader = CcipReader(settings)
        try:
            with small(), pytest.raises(EndpointDown):
                async with asyncio.timeout(5):
                    await reader.fetch(Lookup(ISM, (url,), b"\x01"), ISM)
        finally:
            await reader.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 200 + "example/",
        "https://xn--\u00e9.example/",
        "https://a..example/",
        "https://.example/",
        "https://exa mple/",
        "https://\u2100.example/",
        "https://example:99999/",
        "https://example:-1/",
        "https://example/\ud7ff\x00",
        "https://[::1/",
        "https://[v1.x]/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://localhost/",
        "https://example.invalid/{sender}{data}",
        "https://%31%32%37.0.0.1/",
        "https://127.0.0.1\u3002/",
    ],
)
async def test_hostile_lookup_urls(url: str) -> None:
    """Whatever a contract names as a URL, it is refused or does not answer; nothing else."""
    reader = CcipReader(CcipSettings(timeout_s=2))
    try:
        with pytest.raises((BadChainData, EndpointDown)):
            async with asyncio.timeout(10):
                await reader.fetch(Lookup(ISM, (url,), b"\x01"), ISM)
    finally:
        await reader.aclose()
