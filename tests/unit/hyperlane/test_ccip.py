"""CCIP-read: answers of servers that a contract names, under the operator's limits."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from relayer.adapter import Call, Refuse, Wait
from relayer.errors import BadChainData, EndpointDown
from relayer.message import Address, Reason
from relayer.protocols.hyperlane.ccip import CcipReader
from relayer.protocols.hyperlane.contracts import Lookup, encode_lookup
from relayer.protocols.hyperlane.settings import CcipSettings
from relayer.public_hosts import is_public
from tests.fakes import Reverts
from tests.unit.hyperlane.conftest import MakeWorld
from tests.unit.hyperlane.test_adapter import called
from tests.unit.hyperlane.world import ISM, World, selector

LOOSE = CcipSettings(allow_http=True, allow_private=True, timeout_s=2, max_bytes=4096)


class Gateway:
    """A CCIP server on loopback that answers as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        """(method, path, body)"""
        self.body = json.dumps({"data": "0x0102"}).encode()
        self.status = 200
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self.server = TestServer(application, host="127.0.0.1")

    @property
    def url(self) -> str:
        return str(self.server.make_url("")).rstrip("/")

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, (await request.read()).decode()))
        status = 503 if "/down" in request.path else self.status
        return web.Response(
            status=status, body=self.body, headers={"Location": f"{self.url}/elsewhere"}
        )


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    await made.server.start_server()
    yield made
    await made.server.close()


@pytest.fixture
async def reader() -> AsyncIterator[CcipReader]:
    made = CcipReader(LOOSE)
    yield made
    await made.aclose()


def lookup(*urls: str, sender: str = ISM) -> Lookup:
    return Lookup(Address(sender), urls, b"\xaa\xbb")


async def test_get_with_data(gateway: Gateway, reader: CcipReader) -> None:
    """A URL with {data} is a GET with sender and data filled in."""
    found = await reader.fetch(lookup(gateway.url + "/{sender}/{data}.json"), ISM)
    assert found == b"\x01\x02"
    assert gateway.asked == [("GET", f"/{ISM}/0xaabb.json", "")]


async def test_post_without_data(gateway: Gateway, reader: CcipReader) -> None:
    """Any other URL is a POST of sender and data."""
    await reader.fetch(lookup(gateway.url + "/{sender}"), ISM)
    ((method, path, body),) = gateway.asked
    assert (method, path) == ("POST", f"/{ISM}")
    assert json.loads(body) == {"sender": ISM, "data": "0xaabb"}


async def test_the_next_server_is_asked(gateway: Gateway, reader: CcipReader) -> None:
    """A server in trouble is passed over; the number of servers is bounded."""
    urls = [gateway.url + "/down", "http://127.0.0.1:1/", gateway.url + "/up"]
    assert await reader.fetch(lookup(*urls), ISM) == b"\x01\x02"
    gateway.asked.clear()
    with pytest.raises(EndpointDown):
        await reader.fetch(lookup(*[gateway.url + "/down"] * 100), ISM)
    assert len(gateway.asked) == LOOSE.max_urls


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 500])
async def test_redirects_and_errors_are_no_answer(
    gateway: Gateway, reader: CcipReader, status: int
) -> None:
    """Redirects are refused, not followed, by GET and by POST."""
    gateway.status = status
    for path in ("/x", "/{data}"):
        gateway.asked.clear()
        with pytest.raises(EndpointDown, match=f"status {status}"):
            await reader.fetch(lookup(gateway.url + path), ISM)
        assert len(gateway.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"data": 5}',
        b'{"data": "0xzz"}',
        b'{"result": "0x01"}',
        b"[" * 4000,
        b'{"data": "0x' + b"00" * 5000 + b'"}',
    ],
)
async def test_hostile_answers(gateway: Gateway, reader: CcipReader, body: bytes) -> None:
    """Answers that are not {data: hex}, or too large, are no answer."""
    gateway.body = body
    with pytest.raises(EndpointDown):
        await reader.fetch(lookup(gateway.url + "/x"), ISM)


async def test_sender_must_be_the_ism(reader: CcipReader) -> None:
    """A lookup in another contract's name is refused (ERC-3668)."""
    with pytest.raises(BadChainData, match="is not the ISM"):
        await reader.fetch(lookup("https://a.example/", sender="0x" + "77" * 20), ISM)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/{data}",
        "file:///etc/passwd",
        "ftp://example.com/",
        "https:///path",
        "https://user:secret@example.com/",
        "https://{sender}.example.com/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://0.0.0.0/",
        "https://example.com:99999/",
        "https://[broken/",
        "https://example.com/" + "a" * 3000,
    ],
)
async def test_urls_that_are_never_asked(url: str) -> None:
    """With the default settings nothing but https to a public host is asked."""
    reader = CcipReader(CcipSettings())
    with pytest.raises(BadChainData):
        await reader.fetch(lookup(url), ISM)
    await reader.aclose()


class Rebinding(AbstractResolver):
    """A name server that leads to where the attacker wants."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=self._address, port=port, family=family, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        return


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.8", "::1"])
async def test_names_that_lead_inside_are_not_followed(gateway: Gateway, address: str) -> None:
    """A public name that resolves to a private address is refused before a connection is made."""
    settings = CcipSettings(allow_http=True, timeout_s=2)
    reader = CcipReader(settings, resolver=Rebinding(address))
    port = gateway.server.port
    with pytest.raises(EndpointDown):
        await reader.fetch(lookup(f"http://public.example:{port}/x"), ISM)
    await reader.aclose()
    assert gateway.asked == []


async def test_the_same_name_is_followed_where_private_is_allowed(gateway: Gateway) -> None:
    """The refusal above is the guard's, not the network's."""
    reader = CcipReader(LOOSE, resolver=Rebinding("127.0.0.1"))
    url = f"http://public.example:{gateway.server.port}/x"
    assert await reader.fetch(lookup(url), ISM) == b"\x01\x02"
    await reader.aclose()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.1.1.1", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::101:101", True),
        ("2002:7f00:1::", False),
        ("fe80::1%eth0", False),
        ("name.example", False),
    ],
)
def test_public_addresses(address: str, expected: bool) -> None:
    """Only the public internet is public, also when dressed up as IPv6."""
    assert is_public(address) is expected


async def test_switched_off() -> None:
    """An operator may do without."""
    reader = CcipReader(CcipSettings(enabled=False))
    with pytest.raises(BadChainData, match="switched off"):
        await reader.fetch(lookup("https://a.example/"), ISM)


def ask_of(world: World, revert: bytes) -> None:
    def reverts(_: bytes) -> bytes:
        raise Reverts(revert)

    world.ism(ISM, 7)
    world.destination.answer(ISM, selector("getOffchainVerifyInfo(bytes)"), reverts)


@pytest.fixture
def ccip_world(make_world: MakeWorld) -> World:
    loose: dict[str, Any] = {"allow_http": True, "allow_private": True, "timeout_s": 2}
    return make_world(ccip=loose)


async def test_a_ccip_ism_gets_the_servers_bytes(ccip_world: World, gateway: Gateway) -> None:
    """The metadata of a CCIP-read ISM is what the server answers."""
    ask_of(ccip_world, encode_lookup(lookup(gateway.url + "/{data}")))
    (record,) = ccip_world.dispatch()
    step = await ccip_world.step(record)
    assert isinstance(step, Call)
    assert called(step)[0] == b"\x01\x02"


async def test_a_silent_server_is_awaited_and_a_bad_lookup_held(
    ccip_world: World, gateway: Gateway
) -> None:
    """No answer is a wait; a contract that asks for what may not be asked is held."""
    gateway.status = 404
    ask_of(ccip_world, encode_lookup(lookup(gateway.url + "/{data}")))
    (record,) = ccip_world.dispatch()
    step = await ccip_world.step(record)
    assert isinstance(step, Wait)
    assert step.reason is Reason.SOURCE_UNREACHABLE
    for revert in (b"", encode_lookup(lookup("ftp://x/")), encode_lookup(lookup())):
        ask_of(ccip_world, revert)
        step = await ccip_world.step(record)
        assert isinstance(step, Refuse)
        assert step.reason is Reason.UNSUPPORTED
