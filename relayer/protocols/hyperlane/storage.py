"""Reads what validators publish: local directories, S3 and Google Cloud Storage.

Locations come from a contract anybody may announce to: only the forms below are read, names are
checked, and size and time are bounded. A missing object means "not yet".
Source: `rust/main/hyperlane-base/src/types/` of hyperlane-xyz/hyperlane-monorepo.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

import aiohttp

from relayer.errors import BadChainData, EndpointDown
from relayer.protocols.hyperlane.settings import StorageSettings

MAX_OBJECT_BYTES = 16 * 1024
"""A checkpoint is under 1 KiB."""
MAX_LOCATION_CHARS = 1024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z]{2}[a-z0-9-]{3,30}")
_FOLDER = re.compile(r"[A-Za-z0-9!_.*'()=+@,-]{1,128}")

Sign = Callable[[str, str], Mapping[str, str]]
"""(url, region) -> headers that authenticate a GET of it."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where one validator publishes; `kind` is `file`, `s3` or `gs`."""

    kind: str
    bucket: str
    """The bucket, or the directory of a local one."""
    region: str = ""
    folder: str = ""

    @property
    def latest_name(self) -> str:
        """The object that holds the latest signed index."""
        return {
            "file": "index.json",
            "s3": "checkpoint_latest_index.json",
            "gs": "gcsLatestIndexKey",
        }[self.kind]

    def checkpoint_name(self, index: int) -> str:
        """The object that holds the checkpoint of a leaf."""
        return (
            f"{index}_with_id.json" if self.kind == "file" else f"checkpoint_{index}_with_id.json"
        )


def parse_location(text: str) -> Location:
    """Read an announced location; `BadChainData` when it is not one we would ever read."""
    if len(text) > MAX_LOCATION_CHARS:
        raise BadChainData("storage location is too long")
    kind, separator, rest = text.partition("://")
    if not separator or kind not in ("file", "s3", "gs"):
        raise BadChainData("storage location is not file://, s3:// or gs://")
    if kind == "file":
        return _local(rest)
    parts = rest.rstrip("/").split("/")
    if not all(_FOLDER.fullmatch(part) and part not in (".", "..") for part in parts):
        raise BadChainData("storage location has an unsafe path")
    if not _BUCKET.fullmatch(parts[0]) or ".." in parts[0]:
        raise BadChainData("storage location has no valid bucket")
    if kind == "s3":
        if len(parts) < 2 or not _REGION.fullmatch(parts[1]):
            raise BadChainData("storage location has no valid region")
        return Location("s3", parts[0], parts[1], "/".join(parts[2:]))
    if len(parts) not in (2, 3):
        raise BadChainData("storage location is not gs://bucket[/folder]/key")
    return Location("gs", parts[0], "", parts[1] if len(parts) == 3 else "")


def _local(path: str) -> Location:
    place = PurePosixPath(path)
    if not place.is_absolute() or ".." in place.parts or "\0" in path:
        raise BadChainData("local storage location is not a plain absolute path")
    return Location("file", str(place))


class Storage:
    """Bounded reads of any location; one HTTP session, opened at the first remote read."""

    def __init__(
        self, settings: StorageSettings, *, allow_local: bool, sign: Sign | None = None
    ) -> None:
        self._settings = settings
        self._allow_local = allow_local
        self._sign = sign
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(settings.concurrency)

    def can_read(self, location: Location) -> bool:
        """False for a local location when the operator did not allow them."""
        return location.kind != "file" or self._allow_local

    async def read(self, location: Location, name: str) -> bytes | None:
        """One object of a location, None when it is not there (yet).

        Raises `EndpointDown` when the store cannot be reached, `BadChainData` for an object that is
        too large or not a plain file, or a location that may not be read.
        """
        if not self.can_read(location):
            raise BadChainData("local storage is not allowed here (allow_local_storage)")
        async with self._room:
            if location.kind == "file":
                return await asyncio.to_thread(_read_file, os.path.join(location.bucket, name))
            return await self._get(object_url(location, name, self._settings), location)

    async def aclose(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _get(self, url: str, location: Location) -> bytes | None:
        headers: Mapping[str, str] = {}
        if self._sign is not None and location.kind == "s3":
            headers = await asyncio.to_thread(self._sign, url, location.region)
        try:
            async with self._open().get(url, headers=headers, allow_redirects=False) as answer:
                if answer.status in (403, 404):
                    return None
                if answer.status != 200:
                    raise EndpointDown(_name(location), f"status {answer.status}")
                content = await answer.content.read(MAX_OBJECT_BYTES + 1)
                while len(content) <= MAX_OBJECT_BYTES and not answer.content.at_eof():
                    content += await answer.content.read(MAX_OBJECT_BYTES + 1)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise EndpointDown(_name(location), type(error).__name__) from None
        if len(content) > MAX_OBJECT_BYTES:
            raise BadChainData("object is too large")
        return content

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
                connector=aiohttp.TCPConnector(limit=self._settings.concurrency),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def object_url(location: Location, name: str, settings: StorageSettings) -> str:
    """Where an object of a remote location is asked for."""
    key = quote(f"{location.folder}/{name}" if location.folder else name, safe="/")
    if location.kind == "gs":
        endpoint = settings.gcs_endpoint
        base = endpoint.get_secret_value() if endpoint else "https://storage.googleapis.com"
        return f"{base.rstrip('/')}/{location.bucket}/{key}"
    if settings.s3_endpoint is not None:
        return f"{settings.s3_endpoint.get_secret_value().rstrip('/')}/{location.bucket}/{key}"
    host = f"s3.{location.region}.amazonaws.com"
    if "." in location.bucket:  # the wildcard certificate covers one label only
        return f"https://{host}/{location.bucket}/{key}"
    return f"https://{location.bucket}.{host}/{key}"


def _name(location: Location) -> str:
    return f"{location.kind}://{location.bucket}"


def _read_file(path: str) -> bytes | None:
    """Read a plain file without following a link or waiting on a pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadChainData(f"file cannot be read ({error.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadChainData("not a plain file")
        content = os.read(handle, MAX_OBJECT_BYTES + 1)
    except OSError as error:
        raise BadChainData(f"file cannot be read ({error.strerror})") from None
    finally:
        os.close(handle)
    if len(content) > MAX_OBJECT_BYTES:
        raise BadChainData("object is too large")
    return content
