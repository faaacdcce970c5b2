"""Signed S3 reads, when the optional library is there."""

from __future__ import annotations

import pytest

from relayer.protocols.hyperlane.s3_signing import open_signer


def test_signature_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GET is signed with Signature Version 4 for the bucket's region."""
    pytest.importorskip("botocore")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not a real secret")
    headers = open_signer()("https://bucket.s3.eu-west-1.amazonaws.com/x.json", "eu-west-1")
    assert headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-west-1/s3/aws4_request" in headers["Authorization"]
    assert "not a real secret" not in str(headers)
