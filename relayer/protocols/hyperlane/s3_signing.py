"""Authenticates S3 reads with boto's credentials, for validators whose buckets are not public.

`botocore` is an optional dependency: it is imported only when the operator asks for signing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from relayer.errors import ConfigInvalid, EndpointDown
from relayer.protocols.hyperlane.storage import Sign


def open_signer() -> Sign:
    """Return a signer with the credentials boto finds (environment, profile, instance role).

    Raises `ConfigInvalid` when `botocore` is not installed. The signer itself may ask the network
    for credentials, so call it in a thread; it raises `EndpointDown` when there are none.
    """
    try:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError:
        raise ConfigInvalid(
            "storage.s3_signed needs botocore: install the extra `s3`, or set it to false"
        ) from None

    @cache
    def credentials() -> Any:
        return Session().get_credentials()

    def sign(url: str, region: str) -> Mapping[str, str]:
        try:
            found = credentials()
            if found is None:
                raise EndpointDown("s3", "boto finds no credentials; see its default chain")
            request = AWSRequest(method="GET", url=url)
            S3SigV4Auth(found.get_frozen_credentials(), "s3", region).add_auth(request)
        except BotoCoreError as error:
            raise EndpointDown("s3", type(error).__name__) from None
        return {str(name): str(value) for name, value in request.headers.items()}

    return sign
