"""A key in AWS KMS, of the spec ECC_SECG_P256K1, through botocore (the extra `aws`).

API: docs.aws.amazon.com/kms/latest/APIReference, `GetPublicKey` and `Sign` with a MessageType of
DIGEST. botocore blocks, so it runs in threads of its own, with its own time-outs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

from relayer.chains.redaction import Redactor
from relayer.errors import ConfigInvalid, SignerUnavailable
from relayer.settings import AwsKmsSettings

T = TypeVar("T")

TRIES = 2
"""Of one request: a connection that was closed meanwhile is tried once more."""
THREADS = 2
NEEDS_A_PERSON = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "NoRegionError",
        "InvalidRegionError",
        "ParamValidationError",
    }
)
"""What botocore says of a set-up that no waiting will mend."""


class AwsKey:
    """`kms.KeyService` of one AWS key; credentials come from boto's default chain."""

    def __init__(self, settings: AwsKmsSettings, *, timeout_s: float) -> None:
        """`ConfigInvalid` when botocore is not installed."""
        require_botocore()
        self.name = f"aws_kms {settings.key_id[:200]}"
        self._settings = settings
        self._timeout_s = timeout_s
        url = settings.endpoint_url
        self._redactor = Redactor([url.get_secret_value()] if url else [])
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="aws-kms")
        self._client: Any = None

    async def public_key(self) -> bytes:
        return await self._ask(lambda client: client.get_public_key, {}, "PublicKey")

    async def sign_digest(self, digest: bytes) -> bytes:
        wanted = {"Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
        return await self._ask(lambda client: client.sign, wanted, "Signature")

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def _ask(
        self, method: Callable[[Any], Callable[..., Any]], wanted: Mapping[str, Any], field: str
    ) -> bytes:
        """One field of one answer."""

        def ask() -> Any:
            return method(self._connected())(KeyId=self._settings.key_id, **wanted)

        answer = await self._in_thread(ask)
        found = answer.get(field) if isinstance(answer, dict) else None
        if not isinstance(found, bytes):
            raise SignerUnavailable(self.name, f"answered without {field}")
        return found

    def _connected(self) -> Any:
        """The client; to make one reads files and may ask the network for credentials."""
        from botocore.config import Config
        from botocore.session import Session

        if self._client is None:
            url = self._settings.endpoint_url
            self._client = Session().create_client(
                "kms",
                region_name=self._settings.region,
                endpoint_url=url.get_secret_value() if url else None,
                config=Config(
                    connect_timeout=self._timeout_s / TRIES,
                    read_timeout=self._timeout_s / TRIES,
                    max_pool_connections=THREADS,
                    retries={"total_max_attempts": TRIES, "mode": "standard"},
                ),
            )
        return self._client

    async def _in_thread(self, work: Callable[[], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except ClientError as refusal:
            raise self._refused(refusal.response) from None
        except BotoCoreError as error:
            kind = type(error).__name__
            raise SignerUnavailable(self.name, kind, lasting=kind in NEEDS_A_PERSON) from None
        except ValueError:  # a region or an endpoint that makes no URL
            text = "the region or endpoint_url makes no address"
            raise SignerUnavailable(self.name, text, lasting=True) from None

    def _refused(self, response: Mapping[str, Any]) -> SignerUnavailable:
        """AWS answers throttling with a status of 400 too."""
        error = response.get("Error", {})
        code = str(error.get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        is_ours = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        lasting = is_ours and "Throttl" not in code and "LimitExceeded" not in code
        text = self._redactor.clean(f"{code}: {error.get('Message', '')}")
        return SignerUnavailable(self.name, text, lasting=lasting)


def require_botocore() -> None:
    """`ConfigInvalid` says how to install it when it is missing."""
    try:
        import botocore.session  # noqa: F401 - only whether it is there
    except ImportError:
        raise ConfigInvalid("aws_kms needs botocore: install the extra `aws`") from None
