"""Key services on loopback that the tests of signers share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.keepers.aws import CREDENTIALS, AwsEmulation, aws_emulation
from tests.keepers.gcp import GcpKms
from tests.keepers.web3signer import Web3SignerServer

SECRET = bytes.fromhex("4b" * 31 + "11")


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsEmulation]:
    with aws_emulation(tmp_path_factory.mktemp("aws")) as emulation:
        yield emulation


@pytest.fixture
def aws(aws_server: AwsEmulation, monkeypatch: pytest.MonkeyPatch) -> AwsEmulation:
    """The emulation, and credentials for it where boto looks first."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return aws_server


@pytest.fixture
async def gcp() -> AsyncIterator[GcpKms]:
    async with GcpKms(SECRET).running() as server:
        yield server


@pytest.fixture
async def web3signer() -> AsyncIterator[Web3SignerServer]:
    async with Web3SignerServer(SECRET).running() as server:
        yield server
