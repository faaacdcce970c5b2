"""A server that signs for us is believed in nothing but the signature of what was asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import rlp
from aiohttp import web
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from relayer.chains.signers import LocalSigner
from relayer.chains.signers.recovery import GROUP_ORDER
from relayer.chains.signers.web3signer import Web3Signer, checked
from relayer.chains.transactions import Envelope
from relayer.errors import SignerUnavailable, SigningRefused
from relayer.message import Address, ChainId, Gas, Wei
from relayer.settings import Web3SignerSettings
from tests.keepers.web3signer import PATH, Web3SignerServer
from tests.unit.signers.conftest import SECRET
from tests.unit.signers.envelopes import ACCESS_1559, ACCESS_2930, EIP1559, ENVELOPES, KINDS, LEGACY

LOCAL = LocalSigner(SECRET)


def settings_of(url: str) -> Web3SignerSettings:
    return Web3SignerSettings(url=SecretStr(url))


async def opened(server: Web3SignerServer, timeout_s: float = 5.0) -> Web3Signer:
    return await Web3Signer.open(settings_of(server.url), LOCAL.address, timeout_s=timeout_s)


async def test_every_form_is_asked_for_and_signed(web3signer: Web3SignerServer) -> None:
    """EIP-1559 and legacy, with and without access lists: the same bytes as our own signer's."""
    signer = await opened(web3signer)
    for envelope in KINDS.values():
        assert await signer.sign(envelope) == await LOCAL.sign(envelope)
    await signer.aclose()


async def test_an_answer_with_raw_inside_is_read(web3signer: Web3SignerServer) -> None:
    """Some servers answer `{raw, tx}`, as geth does."""
    web3signer.bend = lambda raw: {"raw": "0x" + raw.hex(), "tx": {"nonce": "0x0"}}
    signer = await opened(web3signer)
    assert await signer.sign(EIP1559) == await LOCAL.sign(EIP1559)
    await signer.aclose()


TWISTS: dict[str, tuple[Envelope, Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "another recipient": (EIP1559, lambda f: f | {"to": "0x" + "66" * 20}, "another to"),
    "another nonce": (EIP1559, lambda f: f | {"nonce": "0x8"}, "another nonce"),
    "more value": (EIP1559, lambda f: f | {"value": "0x1"}, "another value"),
    "other data": (EIP1559, lambda f: f | {"data": "0x"}, "another data"),
    "another chain": (EIP1559, lambda f: f | {"chainId": "0x1"}, "another chainId"),
    "more gas": (EIP1559, lambda f: f | {"gas": "0xffffff"}, "another gas"),
    "a higher fee": (EIP1559, lambda f: f | {"maxFeePerGas": "0xff"}, "another maxFeePerGas"),
    "a higher tip": (
        EIP1559,
        lambda f: f | {"maxPriorityFeePerGas": "0x3"},
        "another maxPriorityFeePerGas",
    ),
    "a shorter access list": (
        ACCESS_1559,
        lambda f: f | {"accessList": f["accessList"][:1]},
        "another accessList",
    ),
    "another legacy chain": (LEGACY, lambda f: f | {"chainId": "0x1"}, "another chainId"),
    "a higher legacy price": (LEGACY, lambda f: f | {"gasPrice": "0xff"}, "another gasPrice"),
    "another type": (
        LEGACY,
        lambda f: (
            {k: v for k, v in f.items() if k != "gasPrice"}
            | {"maxFeePerGas": "0x9", "maxPriorityFeePerGas": "0x0"}
        ),
        "no transaction|not of type 0",
    ),
}


@pytest.mark.parametrize("what", TWISTS)
async def test_another_transaction_is_refused(web3signer: Web3SignerServer, what: str) -> None:
    """Signed by the right key, but not what was asked: the field that differs is named."""
    envelope, web3signer.twist, words = TWISTS[what]
    signer = await opened(web3signer)
    with pytest.raises(SignerUnavailable, match=words):
        await signer.sign(envelope)
    await signer.aclose()


async def test_a_server_without_access_lists_keeps_its_other_work(
    web3signer: Web3SignerServer,
) -> None:
    """Web3Signer leaves them out: such calls are refused, and the key is not blamed for it."""

    def leave_out(fields: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in fields.items() if key != "accessList"}

    web3signer.twist = leave_out
    signer = await opened(web3signer)
    for envelope in (ACCESS_1559, ACCESS_2930):
        with pytest.raises(SigningRefused, match="leaves access lists out"):
            await signer.sign(envelope)
    assert await signer.sign(EIP1559) == await LOCAL.sign(EIP1559)
    web3signer.signs_with = Account.from_key(b"\x01" * 32)
    with pytest.raises(SignerUnavailable, match="another accessList"):
        await signer.sign(ACCESS_1559)
    await signer.aclose()


async def test_another_key_is_refused(web3signer: Web3SignerServer) -> None:
    """The right transaction, from somebody else's account."""
    web3signer.signs_with = Account.from_key(b"\x01" * 32)
    signer = await opened(web3signer)
    for envelope in KINDS.values():
        with pytest.raises(SignerUnavailable, match="that is not 0x"):
            await signer.sign(envelope)
    await signer.aclose()


@pytest.mark.parametrize(
    "result",
    [None, "", "0x", "0x02", "0x0", "0xzz", 5, [], {}, {"raw": None}, "0x" + "c0" * 50, "0x02c0"],
)
async def test_garbage_is_refused(web3signer: Web3SignerServer, result: Any) -> None:
    """Whatever stands for the transaction, the answer is an error of ours."""
    web3signer.bend = lambda raw: result
    signer = await opened(web3signer)
    for envelope in (EIP1559, LEGACY):
        with pytest.raises(SignerUnavailable, match="answered"):
            await signer.sign(envelope)
    await signer.aclose()


async def test_a_high_s_is_refused(web3signer: Web3SignerServer) -> None:
    """The twin of a good signature is one that chains do not take, under another hash."""

    def twin(raw: bytes) -> str:
        *fields, parity, r, s = rlp.decode(raw[1:])
        high = (GROUP_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big")
        flipped = b"" if parity else b"\x01"
        return "0x02" + rlp.encode([*fields, flipped, r, high]).hex()

    web3signer.bend = twin
    signer = await opened(web3signer)
    with pytest.raises(SignerUnavailable, match="a form that chains refuse"):
        await signer.sign(EIP1559)
    await signer.aclose()


async def test_a_padded_signature_is_refused(web3signer: Web3SignerServer) -> None:
    """Chains refuse numbers with zeros before them, so we do."""

    def pad_parity(raw: bytes) -> str:
        *fields, parity, r, s = rlp.decode(raw[1:])
        return "0x02" + rlp.encode([*fields, b"\x00" + parity, r, s]).hex()

    signer = await opened(web3signer)
    web3signer.bend = pad_parity
    with pytest.raises(SignerUnavailable, match="another encoding"):
        await signer.sign(EIP1559)
    await signer.aclose()


@settings(max_examples=150, deadline=None)
@given(ENVELOPES, st.data())
async def test_no_changed_byte_gets_through(envelope: Envelope, drawn: st.DataObject) -> None:
    """Of all strings near a good answer only the answer itself is taken."""
    raw = bytearray((await LOCAL.sign(envelope)).raw)
    assert checked(bytes(raw), envelope, signer=LOCAL.address) == await LOCAL.sign(envelope)
    place = drawn.draw(st.integers(0, len(raw) - 1))
    how = drawn.draw(st.sampled_from(["flip", "cut", "insert"]))
    if how == "flip":
        raw[place] ^= drawn.draw(st.integers(1, 255))
    elif how == "cut":
        del raw[place]
    else:
        raw.insert(place, drawn.draw(st.integers(0, 255)))
    bad = bytes(raw)
    if bad == (await LOCAL.sign(envelope)).raw:
        return
    with pytest.raises(ValueError, match=r"^(a |no )"):
        checked(bad, envelope, signer=LOCAL.address)


async def test_ten_megabytes_are_not_read(web3signer: Web3SignerServer) -> None:
    """The answer is cut soon after what a transaction can need."""
    signer = await opened(web3signer)
    written = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(160):
            await response.write(b"0" * 65536)
            written += 65536
        return response

    web3signer.answer = flood
    with pytest.raises(SignerUnavailable, match="more than"):
        await signer.sign(EIP1559)
    await signer.aclose()
    assert written < 10 * 2**20


async def test_a_slow_server_is_given_up(web3signer: Web3SignerServer) -> None:
    """Also one that sends a byte now and then."""
    signer = await opened(web3signer, timeout_s=0.3)

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.05)

    web3signer.answer = drip
    started = time.monotonic()
    with pytest.raises(SignerUnavailable, match=r"within 0\.3 s"):
        await signer.sign(EIP1559)
    assert time.monotonic() - started < 3
    await signer.aclose()


async def test_statuses_redirects_and_foreign_ids(web3signer: Web3SignerServer) -> None:
    """Only an answer to our request counts; nobody sends us elsewhere."""
    signer = await opened(web3signer)
    raw = "0x" + (await LOCAL.sign(EIP1559)).raw.hex()
    answers = [
        web.Response(status=302, headers={"Location": web3signer.url}),
        web.json_response({"jsonrpc": "2.0", "id": 999, "result": raw}),
        web.json_response({"jsonrpc": "2.0", "id": 3, "result": raw}, status=500),
        web.json_response([]),
        web.Response(text="<html>", status=200),
        web.Response(text="[" * 100_000, status=200),
        web.json_response({"id": 1, "error": {"code": -32000, "message": f"not for {PATH[1:]}"}}),
    ]

    async def next_answer(request: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    web3signer.answer = next_answer
    while answers:
        with pytest.raises(SignerUnavailable) as caught:
            await signer.sign(EIP1559)
        assert PATH[1:] not in str(caught.value)
    await signer.aclose()


async def test_opening_looks_for_the_account(web3signer: Web3SignerServer) -> None:
    """A server without the account is a mistake; one that tells no accounts is given a chance."""
    web3signer.accounts = []
    with pytest.raises(SignerUnavailable, match="no such account among its 0") as caught:
        await opened(web3signer)
    assert caught.value.lasting
    web3signer.accounts = ["0xzz"]
    with pytest.raises(SignerUnavailable, match="eth_accounts"):
        await opened(web3signer)
    web3signer.has_accounts = False
    signer = await opened(web3signer)
    assert signer.address == LOCAL.address
    await signer.aclose()


async def test_nobody_there(web3signer: Web3SignerServer) -> None:
    """To be tried again, without a word of the URL."""
    url = f"http://127.0.0.1:1{PATH}"
    with pytest.raises(SignerUnavailable, match="ClientConnectorError") as caught:
        await Web3Signer.open(settings_of(url), LOCAL.address, timeout_s=1)
    assert not caught.value.lasting
    assert PATH[1:] not in f"{caught.value} {caught.value.__cause__}"


async def test_what_is_asked_names_everything(web3signer: Web3SignerServer) -> None:
    """A server with rules of its own sees all it needs to judge."""
    signer = await opened(web3signer)
    envelope = replace(ACCESS_1559, chain_id=ChainId(5), gas=Gas(7), value=Wei(3), nonce=1)
    await signer.sign(envelope)
    (asked,) = web3signer.asked[-1]["params"]
    assert asked["from"] == LOCAL.address
    assert asked["to"] == envelope.to
    assert (asked["chainId"], asked["gas"], asked["value"], asked["nonce"]) == (
        "0x5",
        "0x7",
        "0x3",
        "0x1",
    )
    assert asked["data"] == "0x" + "ff" * 300
    assert [Address(entry["address"]) for entry in asked["accessList"]] == [
        address for address, _ in envelope.access_list
    ]
    await signer.aclose()
