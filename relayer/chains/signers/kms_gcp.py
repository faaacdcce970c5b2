"""A key in Google Cloud KMS, of the algorithm EC_SIGN_SECP256K1_SHA256, over its REST API.

API: cloud.google.com/kms/docs/reference/rest, `cryptoKeyVersions.getPublicKey` and
`.asymmetricSign`. Tokens come from google-auth (the extra `gcp`). Google's own KMS library would
bring gRPC, twenty times the weight of these two requests.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from relayer.chains.signers.exchange import KeeperClient, Reply
from relayer.errors import ConfigInvalid, SignerUnavailable
from relayer.settings import GcpKmsSettings

ALGORITHM = "EC_SIGN_SECP256K1_SHA256"
SCOPE = "https://www.googleapis.com/auth/cloudkms"
MOST_BYTES = 64 * 1024
"""An answer holds one key or one signature."""
AGAIN_SOON = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
PEM_HEAD, PEM_TAIL = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"

OpenCredentials = Callable[[], Any]
"""Gives `google.auth.credentials.Credentials`; may block and raise google-auth's errors."""


class GcpKey:
    """`kms.KeyService` of one version of a Google key."""

    def __init__(
        self,
        settings: GcpKmsSettings,
        *,
        timeout_s: float,
        credentials: OpenCredentials | None = None,
    ) -> None:
        """By default with Google's application default credentials, or with none where the endpoint
        is plain http, which means an emulator on loopback. `ConfigInvalid` without google-auth."""
        require_google_auth()
        self.name = f"gcp_kms {settings.key_version[-200:]}"
        url = settings.endpoint_url.get_secret_value().rstrip("/")
        self._client = KeeperClient(self.name, url, timeout_s=timeout_s)
        self._path = f"/v1/{settings.key_version}"
        is_emulator = urlsplit(url).scheme == "http"
        self._open_credentials = credentials or (_anonymous if is_emulator else _default)
        self._credentials: Any = None
        self._token_lock = asyncio.Lock()
        self._timeout_s = timeout_s

    async def public_key(self) -> bytes:
        body = await self._ask("GET", f"{self._path}/publicKey")
        if body.get("algorithm") != ALGORITHM:
            text = f"is a key of {str(body.get('algorithm'))[:80]}, not of {ALGORITHM}"
            raise self._client.trouble(text, lasting=True)
        lines = str(body.get("pem", "")).split()
        pem = " ".join(lines)
        if not (pem.startswith(PEM_HEAD) and pem.endswith(PEM_TAIL)):
            raise self._client.trouble("answered without pem")
        inside = pem.removeprefix(PEM_HEAD).removesuffix(PEM_TAIL)
        return self._decoded(inside.replace(" ", ""), "pem")

    async def sign_digest(self, digest: bytes) -> bytes:
        wanted = {"digest": {"sha256": base64.b64encode(digest).decode()}}
        body = await self._ask("POST", f"{self._path}:asymmetricSign", wanted)
        return self._decoded(body.get("signature"), "signature")

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: object = None) -> Mapping[str, Any]:
        token = await self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        reply = await self._client.ask(
            method, path, most_bytes=MOST_BYTES, body=body, headers=headers
        )
        if reply.status != HTTPStatus.OK:
            raise self._refused(reply)
        return reply.body

    def _refused(self, reply: Reply) -> SignerUnavailable:
        error = reply.body.get("error")
        text = str(error.get("message", "")) if isinstance(error, dict) else ""
        is_ours = HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
        lasting = is_ours and reply.status not in AGAIN_SOON
        return self._client.trouble(f"HTTP status {reply.status} {text}".rstrip(), lasting=lasting)

    def _decoded(self, text: object, field: str) -> bytes:
        try:
            return base64.b64decode(str(text), validate=True)
        except (binascii.Error, ValueError):
            raise self._client.trouble(f"answered without {field}") from None

    async def _token(self) -> str | None:
        """A token that is good now, None for an emulator; got anew in a thread when it is old."""
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

        async with self._token_lock:
            try:
                if self._credentials is None:
                    self._credentials = await asyncio.to_thread(self._open_credentials)
                if not self._credentials.valid:
                    await asyncio.to_thread(self._refresh)
            except DefaultCredentialsError:
                text = "Google's default credentials are not set up"
                raise self._client.trouble(text, lasting=True) from None
            except GoogleAuthError as error:
                raise self._client.trouble(f"no access token: {type(error).__name__}") from None
            token: str | None = self._credentials.token
            return token

    def _refresh(self) -> None:
        from google.auth.transport.requests import Request

        self._credentials.refresh(partial(Request(), timeout=self._timeout_s))


def require_google_auth() -> None:
    """`ConfigInvalid` says how to install it when it is missing."""
    try:
        import google.auth.transport.requests  # noqa: F401 - only whether it is there
    except ImportError:
        raise ConfigInvalid("gcp_kms needs google-auth: install the extra `gcp`") from None


def _anonymous() -> Any:
    from google.auth.credentials import AnonymousCredentials

    return AnonymousCredentials()  # type: ignore[no-untyped-call]


def _default() -> Any:
    import google.auth

    return google.auth.default(scopes=[SCOPE])[0]
