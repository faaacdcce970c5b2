"""Authenticates S3 reads with boto's credentials, for validators whose buckets are not public.

`botocore` is an optional dependency: it is imported only when the operator asks for signing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relayer.errors import ConfigInvalid
from relayer.protocols.hyperlane.storage import Sign


def open_signer() -> Sign:
    """Return a signer with the credentials boto finds (environment, profile, instance role).

    Raises `ConfigInvalid` when `botocore` is not installed or finds no credentials.
    """
    try:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.session import Session
    except ImportError:
        raise ConfigInvalid(
            "storage.s3_signed needs botocore: install the extra `s3`, or set it to false"
        ) from None
    credentials: Any = Session().get_credentials()
    if credentials is None:
        raise ConfigInvalid("storage.s3_signed: boto finds no credentials; see its default chain")

    def sign(url: str, region: str) -> Mapping[str, str]:
        request = AWSRequest(method="GET", url=url)
        S3SigV4Auth(credentials.get_frozen_credentials(), "s3", region).add_auth(request)
        return {str(name): str(value) for name, value in request.headers.items()}

    return sign
