"""Validator storage: which locations are read, and how a hostile or absent store is survived."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from relayer.errors import BadChainData, EndpointDown
from relayer.protocols.hyperlane.settings import StorageSettings
from relayer.protocols.hyperlane.storage import (
    MAX_OBJECT_BYTES,
    Location,
    Storage,
    object_url,
    parse_location,
)

BUCKET = Location("s3", "bucket", "eu-west-1", "a/b")


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("file:///tmp/one", Location("file", "/tmp/one")),
        ("s3://bucket/us-east-1", Location("s3", "bucket", "us-east-1")),
        ("s3://bucket/us-east-1/a/b", Location("s3", "bucket", "us-east-1", "a/b")),
        ("gs://bucket/gcsAnnouncementKey", Location("gs", "bucket")),
        ("gs://bucket/folder/gcsAnnouncementKey", Location("gs", "bucket", "", "folder")),
    ],
)
def test_known_locations(text: str, location: Location) -> None:
    """The three announced forms are read."""
    assert parse_location(text) == location


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/tmp/one",
        "http://example.com/x",
        "https://169.254.169.254/latest",
        "file://relative/path",
        "file:///tmp/../etc",
        "file:///tmp/\0x",
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/us-east-1.evil.com",
        "s3://bucket/us-east-1@evil",
        "s3://bucket/evil.com:80#",
        "s3://evil.com#/us-east-1",
        "s3://user:pass@evil/us-east-1",
        "s3://a..b/us-east-1",
        "s3://bucket/us-east-1/../other",
        "s3://bucket/us-east-1/a//b",
        "s3://bucket/us-east-1/a?x=y",
        "s3://UPPER/us-east-1",
        "gs://bucket",
        "gs://bucket/a/b/c",
        "gs://bucket/../key",
        "s3://bucket/us-east-1/" + "a" * 2000,
    ],
)
def test_unsafe_locations_are_refused(text: str) -> None:
    """Nothing that could lead elsewhere than a bucket of the two clouds or a plain path is read."""
    with pytest.raises(BadChainData):
        parse_location(text)


def test_object_names() -> None:
    """Each kind of store has its own object names."""
    assert parse_location("file:///x").checkpoint_name(4) == "4_with_id.json"
    assert BUCKET.checkpoint_name(4) == "checkpoint_4_with_id.json"
    assert BUCKET.latest_name == "checkpoint_latest_index.json"
    assert Location("gs", "b").latest_name == "gcsLatestIndexKey"


def test_public_urls() -> None:
    """Without another endpoint, objects are asked of the clouds over https."""
    settings = StorageSettings()
    at_amazon = "https://bucket.s3.eu-west-1.amazonaws.com/a/b/x.json"
    assert object_url(BUCKET, "x.json", settings) == at_amazon
    dotted = Location("s3", "my.bucket", "eu-west-1")
    by_path = "https://s3.eu-west-1.amazonaws.com/my.bucket/x.json"
    assert object_url(dotted, "x.json", settings) == by_path
    google = Location("gs", "bucket", "", "folder")
    at_google = "https://storage.googleapis.com/bucket/folder/key"
    assert object_url(google, "key", settings) == at_google


class Cloud:
    """An object store on loopback that answers as told."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.status = 200
        self.asked: list[web.Request] = []
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        self.server = TestServer(application, host="127.0.0.1")

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.status in (301, 302, 307):
            return web.Response(status=self.status, headers={"Location": "http://127.0.0.1:1/"})
        if self.status != 200:
            return web.Response(status=self.status)
        content = self.objects.get(request.path)
        return web.Response(status=404) if content is None else web.Response(body=content)


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    made = Cloud()
    await made.server.start_server()
    yield made
    await made.server.close()


@pytest.fixture
async def storage(cloud: Cloud) -> AsyncIterator[Storage]:
    url = SecretStr(str(cloud.server.make_url("/")))
    made = Storage(
        StorageSettings(s3_endpoint=url, gcs_endpoint=url, timeout_s=2), allow_local=False
    )
    yield made
    await made.aclose()


async def test_remote_objects(cloud: Cloud, storage: Storage) -> None:
    """Objects of both clouds are read below their bucket and folder."""
    cloud.objects["/bucket/a/b/x.json"] = b"one"
    cloud.objects["/other/key"] = b"two"
    assert await storage.read(BUCKET, "x.json") == b"one"
    assert await storage.read(Location("gs", "other"), "key") == b"two"


@pytest.mark.parametrize("status", [403, 404])
async def test_absent_objects_are_not_yet(cloud: Cloud, storage: Storage, status: int) -> None:
    """A bucket that cannot be listed answers 403 for what is not there."""
    cloud.status = status
    assert await storage.read(BUCKET, "x.json") is None


@pytest.mark.parametrize("status", [301, 302, 307, 400, 429, 500, 503])
async def test_other_answers_are_trouble(cloud: Cloud, storage: Storage, status: int) -> None:
    """Errors are transient, and redirects are not followed."""
    cloud.status = status
    with pytest.raises(EndpointDown, match=f"status {status}"):
        await storage.read(BUCKET, "x.json")
    assert len(cloud.asked) == 1


async def test_large_objects_are_refused(cloud: Cloud, storage: Storage) -> None:
    """An object over the limit is refused without being read whole; one at the limit is read."""
    cloud.objects["/bucket/a/b/x.json"] = bytes(MAX_OBJECT_BYTES)
    assert await storage.read(BUCKET, "x.json") == bytes(MAX_OBJECT_BYTES)
    cloud.objects["/bucket/a/b/x.json"] = bytes(50 * MAX_OBJECT_BYTES)
    with pytest.raises(BadChainData, match="too large"):
        await storage.read(BUCKET, "x.json")


async def test_a_closed_port_is_trouble() -> None:
    """A store that does not answer is transient."""
    settings = StorageSettings(s3_endpoint=SecretStr("http://127.0.0.1:1"), timeout_s=2)
    storage = Storage(settings, allow_local=False)
    with pytest.raises(EndpointDown):
        await storage.read(BUCKET, "x.json")
    await storage.aclose()


async def test_signed_reads_carry_their_headers(cloud: Cloud) -> None:
    """With credentials, S3 reads are signed for their region; Google's are not."""
    url = SecretStr(str(cloud.server.make_url("/")))
    signed: list[tuple[str, str]] = []

    def sign(url: str, region: str) -> dict[str, str]:
        signed.append((url, region))
        return {"Authorization": "AWS4-HMAC-SHA256 test"}

    settings = StorageSettings(s3_endpoint=url, gcs_endpoint=url)
    storage = Storage(settings, allow_local=False, sign=sign)
    await storage.read(BUCKET, "x.json")
    await storage.read(Location("gs", "other"), "key")
    await storage.aclose()
    assert [region for _, region in signed] == ["eu-west-1"]
    assert cloud.asked[0].headers["Authorization"] == "AWS4-HMAC-SHA256 test"
    assert "Authorization" not in cloud.asked[1].headers


async def test_local_files(tmp_path: Path) -> None:
    """Plain files are read; links, pipes, devices, folders and large files are not."""
    storage = Storage(StorageSettings(), allow_local=True)
    place = Location("file", str(tmp_path))
    (tmp_path / "plain").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(bytes(MAX_OBJECT_BYTES + 1))
    os.mkfifo(tmp_path / "pipe")
    assert await storage.read(place, "plain") == b"content"
    assert await storage.read(place, "absent") is None
    assert await storage.read(Location("file", str(tmp_path / "plain")), "below a file") is None
    for name in ("link", "folder", "large", "pipe"):
        with pytest.raises(BadChainData):
            await storage.read(place, name)
    with pytest.raises(BadChainData):
        await storage.read(Location("file", "/dev"), "zero")


async def test_local_files_must_be_allowed(tmp_path: Path) -> None:
    """Without the operator's word no file is opened."""
    (tmp_path / "plain").write_bytes(b"content")
    storage = Storage(StorageSettings(), allow_local=False)
    with pytest.raises(BadChainData, match="allow_local_storage"):
        await storage.read(Location("file", str(tmp_path)), "plain")
