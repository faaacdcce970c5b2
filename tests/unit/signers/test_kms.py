"""Signers in key services: what they sign is ours and low-s, and nothing else is ever believed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from coincurve import PrivateKey
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from eth_account import Account
from google.oauth2 import service_account
from pydantic import SecretStr

from relayer.chains.signers import LocalSigner
from relayer.chains.signers.kms import KmsSigner
from relayer.chains.signers.kms_aws import AwsKey
from relayer.chains.signers.kms_gcp import SCOPE, GcpKey
from relayer.chains.signers.recovery import GROUP_ORDER
from relayer.chains.signers.web3signer import checked
from relayer.errors import ConfigInvalid, SignerUnavailable
from relayer.settings import AwsKmsSettings, GcpKmsSettings
from tests.keepers.aws import CREDENTIALS, REGION, AwsEmulation, aws_emulation
from tests.keepers.gcp import NAME, GcpKms
from tests.keepers.serving import served
from tests.unit.signers.conftest import SECRET
from tests.unit.signers.envelopes import EIP1559, KINDS


def aws_settings(url: str, key_id: str, region: str | None = REGION) -> AwsKmsSettings:
    return AwsKmsSettings(key_id=key_id, region=region, endpoint_url=SecretStr(url))


def gcp_settings(url: str) -> GcpKmsSettings:
    return GcpKmsSettings(key_version=NAME, endpoint_url=SecretStr(url))


@pytest.fixture
async def open_aws() -> AsyncIterator[Callable[..., Any]]:
    opened: list[AwsKey] = []

    async def make(settings: AwsKmsSettings, timeout_s: float = 5.0) -> KmsSigner:
        opened.append(AwsKey(settings, timeout_s=timeout_s))
        return await KmsSigner.open(opened[-1], timeout_s=timeout_s)

    yield make
    for key in opened:
        await key.aclose()


@pytest.fixture
async def open_gcp() -> AsyncIterator[Callable[..., Any]]:
    opened: list[GcpKey] = []

    async def make(url: str, timeout_s: float = 5.0, **more: Any) -> KmsSigner:
        opened.append(GcpKey(gcp_settings(url), timeout_s=timeout_s, **more))
        return await KmsSigner.open(opened[-1], timeout_s=timeout_s)

    yield make
    for key in opened:
        await key.aclose()


# --- AWS -------------------------------------------------------------------------------------


async def test_aws_signs_every_form(aws: AwsEmulation, open_aws: Callable[..., Any]) -> None:
    """Every kind of envelope is signed by the key's own address, in a form that chains take."""
    signer = await open_aws(aws_settings(aws.url, aws.create_key()))
    for envelope in KINDS.values():
        for _ in range(5):  # half of the signatures of a service have a high s
            signed = await signer.sign(envelope)
            assert Account.recover_transaction(signed.raw).lower() == signer.address
            assert checked(signed.raw, envelope, signer=signer.address) == signed


async def test_aws_signatures_differ_and_their_hashes_too(
    aws: AwsEmulation, open_aws: Callable[..., Any]
) -> None:
    """The reason why what is sent again is what was stored."""
    signer = await open_aws(aws_settings(aws.url, aws.create_key()))
    assert len({(await signer.sign(EIP1559)).hash for _ in range(3)}) == 3


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "RSA_2048"])
async def test_aws_keys_of_other_kinds(
    aws: AwsEmulation, open_aws: Callable[..., Any], spec: str
) -> None:
    """The wrong kind of key is a mistake in the set-up, said at the start."""
    with pytest.raises(ConfigInvalid, match="not of secp256k1"):
        await open_aws(aws_settings(aws.url, aws.create_key(spec)))


async def test_aws_set_up_wrongly(
    aws: AwsEmulation, open_aws: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not there, no region and no credentials need a person."""
    missing = "12345678-1234-1234-1234-123456789012"
    with pytest.raises(SignerUnavailable, match="NotFoundException") as caught:
        await open_aws(aws_settings(aws.url, missing))
    assert caught.value.lasting
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(SignerUnavailable, match="NoRegionError") as caught:
        await open_aws(aws_settings(aws.url, missing, region=None))
    assert caught.value.lasting
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(SignerUnavailable, match="NoCredentialsError") as caught:
        await open_aws(aws_settings(aws.url, missing))
    assert caught.value.lasting


async def test_aws_down_or_silent_is_bounded(
    aws: AwsEmulation, open_aws: Callable[..., Any]
) -> None:
    """Nobody there, and somebody who never answers: an error within the time-out, to be retried."""
    with pytest.raises(SignerUnavailable) as caught:
        await open_aws(aws_settings("http://127.0.0.1:1", "alias/x"), timeout_s=2.0)
    assert not caught.value.lasting
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(SignerUnavailable, match=r"within 0\.4 s|ReadTimeoutError") as caught:
            await open_aws(aws_settings(f"http://127.0.0.1:{port}", "alias/x"), timeout_s=0.4)
        assert time.monotonic() - started < 3
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(caught.value)


async def test_signature_over_something_else_is_refused(
    aws: AwsEmulation, open_aws: Callable[..., Any], tmp_path: Path
) -> None:
    """An emulator that hashes the digest once more signs what nobody asked for: never sent."""
    with aws_emulation(tmp_path, "--as-it-is") as hashing:
        signer = await open_aws(aws_settings(hashing.url, hashing.create_key()))
        with pytest.raises(SignerUnavailable, match="a signature that is not 0x"):
            await signer.sign(EIP1559)


# --- Google ----------------------------------------------------------------------------------


async def test_gcp_signs_every_form(gcp: GcpKms, open_gcp: Callable[..., Any]) -> None:
    """The service answers high s alone; what comes out is low and the key's own."""
    signer = await open_gcp(gcp.url)
    assert signer.address == LocalSigner(SECRET).address
    for envelope in KINDS.values():
        signed = await signer.sign(envelope)
        assert checked(signed.raw, envelope, signer=signer.address) == signed
    assert set(gcp.tokens) == {""}, "an emulator is sent no credentials"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r, s: b"", "no DER sequence"),
        (lambda r, s: b"\x00" * 72, "no DER sequence"),
        (lambda r, s: encode_dss_signature(s, r), "not 0x"),
        (lambda r, s: encode_dss_signature(r, s + 1), "not 0x"),
        (lambda r, s: encode_dss_signature(0, s), "outside of the group"),
        (lambda r, s: encode_dss_signature(GROUP_ORDER, s), "outside of the group"),
        (lambda r, s: encode_dss_signature(r, s) + b"\x00", "no DER sequence"),
    ],
)
async def test_gcp_bad_signatures(
    gcp: GcpKms, open_gcp: Callable[..., Any], change: Callable[[int, int], bytes], words: str
) -> None:
    """Nothing that is not our key's signature of this transaction comes out."""
    signer = await open_gcp(gcp.url)
    gcp.change = change
    with pytest.raises(SignerUnavailable, match=words):
        await signer.sign(EIP1559)


async def test_gcp_key_was_exchanged(gcp: GcpKms, open_gcp: Callable[..., Any]) -> None:
    """The address was learned at the start; another key's signature is not taken."""
    signer = await open_gcp(gcp.url)
    gcp.key = PrivateKey(b"\x09" * 32)
    with pytest.raises(SignerUnavailable, match="that is not 0x"):
        await signer.sign(EIP1559)


async def test_gcp_refusals(gcp: GcpKms, open_gcp: Callable[..., Any]) -> None:
    """What needs a person is told apart from what passes."""
    gcp.algorithm = "EC_SIGN_P256_SHA256"
    with pytest.raises(SignerUnavailable, match="EC_SIGN_P256_SHA256") as caught:
        await open_gcp(gcp.url)
    assert caught.value.lasting
    for status, lasting in ((403, True), (404, True), (503, False)):
        gcp.refusal = status, "Permission 'x'\x1b[31m denied"
        with pytest.raises(SignerUnavailable, match=f"HTTP status {status} Perm") as caught:
            await open_gcp(gcp.url)
        assert caught.value.lasting is lasting
        assert "\x1b" not in str(caught.value)


async def test_gcp_slow_or_down(gcp: GcpKms, open_gcp: Callable[..., Any]) -> None:
    """Bounded in time; to be tried again."""
    signer = await open_gcp(gcp.url, timeout_s=0.3)
    gcp.asleep = True
    started = time.monotonic()
    with pytest.raises(SignerUnavailable, match=r"within 0\.3 s"):
        await signer.sign(EIP1559)
    assert time.monotonic() - started < 3
    with pytest.raises(SignerUnavailable, match="ClientConnectorError"):
        await open_gcp("http://127.0.0.1:1")


async def test_gcp_tokens(gcp: GcpKms, open_gcp: Callable[..., Any]) -> None:
    """A service account's key gets a token once, and every request carries it."""
    gcp.needs_token = "planted-access-token-1"
    asked = 0

    async def give(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        body = {"access_token": gcp.needs_token, "expires_in": 3600, "token_type": "Bearer"}
        return web.json_response(body)

    app = web.Application()
    app.router.add_post("/token", give)
    async with served(app) as url:
        account = _service_account(f"{url}/token")
        credentials = service_account.Credentials.from_service_account_info(account, scopes=[SCOPE])
        signer = await open_gcp(gcp.url, credentials=lambda: credentials)
        assert (await signer.sign(EIP1559)).raw
    assert asked == 1
    assert set(gcp.tokens) == {"Bearer planted-access-token-1"}


async def test_gcp_token_service_down(gcp: GcpKms, open_gcp: Callable[..., Any]) -> None:
    """Without a token nothing is asked, and the key of the account is in no error."""
    account = _service_account("http://127.0.0.1:1/token")
    credentials = service_account.Credentials.from_service_account_info(account, scopes=[SCOPE])
    with pytest.raises(SignerUnavailable, match="no access token") as caught:
        await open_gcp(gcp.url, credentials=lambda: credentials)
    assert account["private_key"][40:80] not in str(caught.value)
    assert gcp.tokens == []


async def test_gcp_token_that_does_not_come(gcp: GcpKms, open_gcp: Callable[..., Any]) -> None:
    """Credentials may ask a network that swallows everything: bounded like the rest."""
    slow = threading.Event()
    started = time.monotonic()
    try:
        with pytest.raises(SignerUnavailable, match=r"within 0\.3 s"):
            await open_gcp(gcp.url, timeout_s=0.3, credentials=lambda: slow.wait(30))
    finally:
        slow.set()
    assert time.monotonic() - started < 3
    assert gcp.tokens == []


async def test_gcp_without_default_credentials(
    open_gcp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Said at the start, with a way out."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(SignerUnavailable, match="default credentials are not set up") as caught:
        await open_gcp("https://127.0.0.1:1")
    assert caught.value.lasting


def _service_account(token_uri: str) -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "client_email": "relayer@p-1.example",
        "private_key": pem.decode(),
        "private_key_id": "1",
        "token_uri": token_uri,
    }
