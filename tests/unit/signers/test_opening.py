"""Signers are opened from the configuration: whose key, which limits, and nothing secret told."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from relayer.chains.signers import LocalSigner, Opener, Signer, openers_of
from relayer.errors import ConfigInvalid, SignerUnavailable, SigningRefused
from relayer.settings import Settings, load_settings
from tests.keepers.aws import CREDENTIALS, REGION, AwsEmulation
from tests.keepers.gcp import NAME, GcpKms
from tests.keepers.web3signer import PATH, Web3SignerServer
from tests.unit.signers.conftest import SECRET
from tests.unit.signers.envelopes import EIP1559
from tests.unit.signers.test_guard import transaction

ADDRESS = LocalSigner(SECRET).address
OTHER = "0x" + "12" * 20
ENVIRON = {"RELAYER_KEY": SECRET.hex()}


def configuration(
    tmp_path: Path, *signers: dict[str, Any], chain: int = 10, **top: Any
) -> Settings:
    """The settings of one chain with these signers."""
    endpoint = {"url": "http://127.0.0.1:1"}
    section = {"id": chain, "endpoints": [endpoint], "signers": list(signers)}
    path = tmp_path / "relayer.yaml"
    path.write_text(yaml.safe_dump({"chains": {"sea": section}, **top}))
    return load_settings(path, {})


def opener_of(tmp_path: Path, signer: dict[str, Any], **more: Any) -> Opener:
    (opener,) = openers_of(configuration(tmp_path, signer, **more), "sea", ENVIRON)
    return opener


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def opened(stack: AsyncExitStack, opener: Opener) -> Signer:
    signer = await opener.open()
    stack.push_async_callback(signer.aclose)
    return signer


def key_file(tmp_path: Path, secret: bytes = SECRET) -> dict[str, Any]:
    path = tmp_path / "key"
    path.write_text(secret.hex())
    return {"key_file": str(path)}


def gcp_of(server: GcpKms) -> dict[str, Any]:
    return {"gcp_kms": {"key_version": NAME, "endpoint_url": server.url}}


def web3signer_of(server: Web3SignerServer) -> dict[str, Any]:
    return {"web3signer": {"url": server.url}, "address": ADDRESS}


async def test_every_kind_opens_behind_its_limits(
    tmp_path: Path,
    stack: AsyncExitStack,
    aws: AwsEmulation,
    gcp: GcpKms,
    web3signer: Web3SignerServer,
) -> None:
    """Whatever the kind, the address is known, signatures come, and limits hold."""
    aws_kms = {"key_id": aws.create_key(), "region": REGION, "endpoint_url": aws.url}
    sections = [
        key_file(tmp_path),
        {"key_env": "RELAYER_KEY"},
        gcp_of(gcp),
        web3signer_of(web3signer),
        {"aws_kms": aws_kms},
    ]
    for section in sections:
        limits = {"allow": [{"to": EIP1559.to, "selectors": ["0x01020304"]}]}
        signer = await opened(stack, opener_of(tmp_path, section | limits))
        assert signer.address == ADDRESS or "aws_kms" in section
        assert (await signer.sign(EIP1559)).raw
        for bad in (
            transaction(EIP1559.to, "01020304", chain=1),
            transaction(EIP1559.to, "01020304", value=1),
            transaction(EIP1559.to, "99999999"),
        ):
            with pytest.raises(SigningRefused):
                await signer.sign(bad)
    assert gcp.signed == 1
    assert [one["method"] for one in web3signer.asked] == ["eth_accounts", "eth_signTransaction"]


async def test_another_address_than_said(
    tmp_path: Path, stack: AsyncExitStack, aws: AwsEmulation, gcp: GcpKms
) -> None:
    """The wrong key is noticed before anything is signed with it, offline where that can be."""
    aws_kms = {"key_id": aws.create_key(), "region": REGION, "endpoint_url": aws.url}
    for section in (key_file(tmp_path), gcp_of(gcp), {"aws_kms": aws_kms}):
        opener = opener_of(tmp_path, section | {"address": OTHER})
        words = rf"chains\.sea\.signers\[0\]: address: the key is that of 0x\w+, not of {OTHER}"
        with pytest.raises(ConfigInvalid, match=words):
            await opener.open()
        if "key_file" in section:
            with pytest.raises(ConfigInvalid, match=words):
                opener.known_address()
        else:
            assert opener.known_address() == OTHER


async def test_what_needs_a_person_and_what_needs_time(
    tmp_path: Path, web3signer: Web3SignerServer, gcp: GcpKms
) -> None:
    """A mistake is `ConfigInvalid`, a keeper that is down is not; both errors name the field."""
    web3signer.accounts = []
    with pytest.raises(ConfigInvalid, match=r"^chains\.sea\.signers\[0\]: .*no such account"):
        await opener_of(tmp_path, web3signer_of(web3signer)).open()
    gcp.refusal = 403, "denied"
    with pytest.raises(ConfigInvalid, match=r"^chains\.sea\.signers\[0\]: .*status 403 denied"):
        await opener_of(tmp_path, gcp_of(gcp)).open()
    gcp.refusal = 503, "later"
    with pytest.raises(SignerUnavailable, match=r"chains\.sea\.signers\[0\]: .*status 503 later"):
        await opener_of(tmp_path, gcp_of(gcp)).open()


@pytest.mark.parametrize(
    ("section", "more", "warns"),
    [
        ({"key_env": "RELAYER_KEY"}, {}, True),
        ({"key_env": "RELAYER_KEY"}, {"development": True}, False),
        ({"key_env": "RELAYER_KEY"}, {"chain": 31337}, False),
        ({"key_env": "RELAYER_KEY"}, {"chain": 1337}, False),
        ({"key_file": "key"}, {}, False),
    ],
)
async def test_a_key_in_the_environment_is_warned_of(
    tmp_path: Path, section: dict[str, str], more: dict[str, Any], warns: bool
) -> None:
    """Outside of development only, and without the key."""
    if "key_file" in section:
        section = key_file(tmp_path)
    with capture_logs() as logs:
        await opener_of(tmp_path, section, **more).open()
    assert [one["event"] for one in logs] == (["key_in_environment"] if warns else [])
    assert SECRET.hex() not in str(logs)
    if warns:
        assert logs[0]["log_level"] == "warning"
        assert (logs[0]["variable"], logs[0]["field"]) == ("RELAYER_KEY", "chains.sea.signers[0]")


async def test_what_is_secret_is_told_by_nothing(
    tmp_path: Path, aws: AwsEmulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """URLs, credentials, keys and passwords: in no error, no repr, no dump of the settings."""
    password = tmp_path / "password"
    password.write_text("planted-password")
    keystore = tmp_path / "keystore"
    keystore.write_text('{"version": 3, "crypto": {"ciphertext": "planted-cipher"}}')
    hidden = tmp_path / "url"
    hidden.write_text(f"http://planted-user:planted-pass@127.0.0.1:1{PATH}?k=planted-query")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-session")
    sections: list[dict[str, Any]] = [
        {"key_env": "BAD_KEY"},
        {"keystore": str(keystore), "keystore_password_file": str(password)},
        {"web3signer": {"url_file": str(hidden)}, "address": OTHER, "timeout_s": 0.5},
        {
            "gcp_kms": {
                "key_version": NAME,
                "endpoint_url": "http://planted-user:planted-pass@127.0.0.1:1/planted-path",
            }
        },
        {
            "aws_kms": {
                "key_id": "alias/x",
                "region": REGION,
                "endpoint_url": "http://127.0.0.1:1/planted-path",
            },
            "timeout_s": 1,
        },
    ]
    settings = configuration(tmp_path, *sections)
    told = [repr(settings), str(settings.model_dump()), settings.model_dump_json()]
    with capture_logs() as logs:
        for opener in openers_of(settings, "sea", {"BAD_KEY": SECRET.hex() + "planted"}):
            with pytest.raises((ConfigInvalid, SignerUnavailable)) as caught:
                await opener.open()
            told.append(f"{caught.value!r} {caught.value.__cause__} {opener!r}")
    text = " ".join([*told, str(logs)])
    for secret in ("planted", SECRET.hex(), CREDENTIALS["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in text


@pytest.mark.parametrize(
    ("section", "module", "extra"),
    [
        ({"aws_kms": {"key_id": "a"}}, "botocore.session", "aws"),
        ({"gcp_kms": {"key_version": NAME}}, "google.auth.transport.requests", "gcp"),
    ],
)
async def test_a_missing_library_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: dict[str, Any],
    module: str,
    extra: str,
) -> None:
    """Offline and online alike, with the extra that brings it."""
    monkeypatch.setitem(sys.modules, module, None)
    opener = opener_of(tmp_path, section)
    words = rf"^chains\.sea\.signers\[0\]: .*install the extra `{extra}`"
    with pytest.raises(ConfigInvalid, match=words):
        opener.known_address()
    with pytest.raises(ConfigInvalid, match=words):
        await opener.open()


@pytest.mark.parametrize(
    ("signer", "words"),
    [
        ({"web3signer": {"url": "https://x.example"}}, "web3signer needs `address`"),
        ({"web3signer": {"url": "ftp://x"}, "address": OTHER}, "is not a URL of the form http"),
        ({"key_file": "a", "gcp_kms": {"key_version": NAME}}, "give exactly one of key_file"),
        ({"gcp_kms": {"key_version": "projects/p"}}, "gcp_kms.key_version: must match pattern"),
        (
            {"gcp_kms": {"key_version": NAME, "endpoint_url": "http://kms.example"}},
            "gcp_kms.endpoint_url: must be https://: an access token",
        ),
        ({"aws_kms": {}}, "aws_kms.key_id: is required"),
        ({"aws_kms": {"key_id": "a", "regoin": "x"}}, "regoin: unknown key; did you mean `region`"),
        ({"key_file": "a", "max_value_wei": -1}, "max_value_wei: must be greater than or equal"),
        ({"key_file": "a", "allow": [{"to": OTHER, "selectors": []}]}, "selectors: "),
        (
            {"key_file": "a", "allow": [{"to": OTHER, "selectors": ["0x1"]}]},
            "selectors[0]: must be a selector, 0x and 8 hex digits",
        ),
        ({"key_file": "a", "allow": [{"selectors": ["0x01020304"]}]}, "allow[0].to: is required"),
    ],
)
def test_mistakes_in_a_signers_section(tmp_path: Path, signer: dict[str, Any], words: str) -> None:
    """Field and way out of each."""
    with pytest.raises(ConfigInvalid) as caught:
        configuration(tmp_path, signer)
    assert "chains.sea.signers[0]" in str(caught.value)
    assert words in str(caught.value)
