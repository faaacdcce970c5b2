"""A server that speaks the two requests of Google Cloud KMS's REST API that a signer makes.

Forms: cloud.google.com/kms/docs/reference/rest, `getPublicKey` and `asymmetricSign`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from coincurve import PrivateKey
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from relayer.chains.signers.der import PUBLIC_KEY_HEAD
from relayer.chains.signers.recovery import GROUP_ORDER
from tests.keepers.serving import served

NAME = "projects/p-1/locations/europe/keyRings/ring/cryptoKeys/relayer/cryptoKeyVersions/1"


class GcpKms:
    """One key; tests change what it says."""

    def __init__(self, secret: bytes) -> None:
        self.key = PrivateKey(secret)
        self.algorithm = "EC_SIGN_SECP256K1_SHA256"
        self.change: Callable[[int, int], bytes] = _high_s
        """From (r, s), drawn anew for each signature, to what is answered."""
        self.refusal: tuple[int, str] | None = None
        self.asleep = False
        self.needs_token: str | None = None
        self.tokens: list[str] = []
        """The Authorization header of each request."""
        self.signed = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[GcpKms]:
        app = web.Application()
        app.router.add_get(f"/v1/{NAME}/publicKey", self._public_key)
        app.router.add_post(f"/v1/{NAME}:asymmetricSign", self._sign)
        async with served(app) as self.url:
            yield self

    async def _public_key(self, request: web.Request) -> web.Response:
        await self._admit(request)
        point = self.key.public_key.format(compressed=False)[1:]
        lines = base64.encodebytes(PUBLIC_KEY_HEAD + point).decode()
        pem = f"-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n"
        return web.json_response({"pem": pem, "algorithm": self.algorithm, "name": NAME})

    async def _sign(self, request: web.Request) -> web.Response:
        await self._admit(request)
        body = json.loads(await request.read())
        digest = base64.b64decode(body["digest"]["sha256"])
        key = ec.derive_private_key(int.from_bytes(self.key.secret, "big"), ec.SECP256K1())
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        self.signed += 1
        signature = base64.b64encode(self.change(r, s)).decode()
        return web.json_response({"signature": signature, "name": NAME})

    async def _admit(self, request: web.Request) -> None:
        self.tokens.append(request.headers.get("Authorization", ""))
        if self.asleep:
            await asyncio.sleep(60)
        if self.needs_token is not None and self.tokens[-1] != f"Bearer {self.needs_token}":
            self.refusal = 401, "UNAUTHENTICATED"
        if self.refusal is not None:
            status, text = self.refusal
            body = json.dumps({"error": {"code": status, "message": text}})
            raise _of(status, body)


def _of(status: int, body: str) -> web.HTTPException:
    kinds = {401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 404: web.HTTPNotFound}
    kind = kinds.get(status, web.HTTPServiceUnavailable)
    return kind(text=body, content_type="application/json")


def _high_s(r: int, s: int) -> bytes:
    """What chains refuse and key services answer half of the time."""
    return encode_dss_signature(r, max(s, GROUP_ORDER - s))
