"""Starts the emulation of AWS KMS and makes keys in it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from botocore.session import Session

REGION = "eu-west-1"
START_S = 30.0
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED00",
    "AWS_SECRET_ACCESS_KEY": "planted/aws/secret/access/key/0123456789",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True, slots=True)
class AwsEmulation:
    """A running emulation."""

    url: str

    def create_key(self, spec: str = "ECC_SECG_P256K1") -> str:
        """The id of a new signing key."""
        client = Session().create_client(
            "kms",
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )
        try:
            made = client.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)
            return str(made["KeyMetadata"]["KeyId"])
        finally:
            client.close()


@contextlib.contextmanager
def aws_emulation(directory: Path, *options: str) -> Iterator[AwsEmulation]:
    """An emulation in a process of its own; with `--as-it-is` it does not know of digests."""
    port_file = directory / "port"
    program = Path(__file__).with_name("aws_server.py")
    with (directory / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, str(program), str(port_file), *options], stdout=log, stderr=log
        )
    try:
        give_up = time.monotonic() + START_S
        while not port_file.exists():
            assert child.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < give_up, "the emulation of AWS does not start"
            time.sleep(0.05)
        yield AwsEmulation(f"http://127.0.0.1:{port_file.read_text()}")
    finally:
        child.kill()
        child.wait()
