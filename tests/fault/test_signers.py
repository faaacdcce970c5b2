"""Keys that live elsewhere, on real chains: every kind delivers, one that is down harms nobody."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_account import Account

from relayer.app import check_online
from relayer.chains.signers import LocalSigner, Opener, openers_of
from relayer.devnet.anvil import free_port
from relayer.devnet.ground import Sent
from relayer.devnet.service import RelayerProcess
from relayer.devnet.world import Devnet
from relayer.message import Address
from relayer.settings import load_settings
from tests.fault.conftest import all_delivered, assert_exactly_once, until
from tests.keepers.aws import CREDENTIALS, REGION, AwsEmulation, aws_emulation
from tests.keepers.gcp import NAME, GcpKms
from tests.keepers.web3signer import PATH, Web3SignerServer

pytestmark = [pytest.mark.chain, pytest.mark.redis, pytest.mark.timeout(240)]

PROCESS = "0x7c39d130"
"""`Mailbox.process(bytes,bytes)`."""
GCP_SECRET, WEB3_SECRET = b"\x31" * 32, b"\x32" * 32
LOCAL_SECRET = b"\x33" * 32
MONEY = 10**19


@dataclass
class Keepers:
    """A world whose chains have a key service each: AWS for alpha, GCP for beta, the rest gamma."""

    world: Devnet
    aws: AwsEmulation
    gcp: GcpKms
    web3signer: Web3SignerServer

    def sections(self) -> dict[str, dict[str, Any]]:
        """The signer of each chain."""
        local = LocalSigner(WEB3_SECRET).address
        aws_kms = {"key_id": self.aws.create_key(), "region": REGION, "endpoint_url": self.aws.url}
        return {
            "alpha": {"aws_kms": aws_kms},
            "beta": {"gcp_kms": {"key_version": NAME, "endpoint_url": self.gcp.url}},
            "gamma": {"web3signer": {"url": self.web3signer.url}, "address": local},
        }

    def configure(self, directory: Path, sections: dict[str, dict[str, Any]]) -> RelayerProcess:
        """A relayer that signs with these, for the mailbox and nothing else."""
        config = self.world.config()
        port = free_port()
        config["http"] = {"host": "127.0.0.1", "port": port}
        for name, section in sections.items():
            mailbox = str(self.world.sites[name].hyperlane.mailbox)
            allow = [{"to": mailbox, "selectors": [PROCESS]}]
            config["chains"][name]["signers"] = [section | {"allow": allow}]
        path = directory / "keepers.yaml"
        path.write_text(yaml.safe_dump(config))
        return RelayerProcess(path, port, directory / "relayer.log")

    def openers(self, directory: Path) -> dict[str, Opener]:
        settings = load_settings(directory / "keepers.yaml", {})
        return {name: openers_of(settings, name, {})[0] for name in settings.chains}

    async def fund(self, directory: Path) -> dict[str, Address]:
        """Give every signer money; returns their addresses by chain."""
        addresses = {}
        for name, opener in self.openers(directory).items():
            signer = await opener.open()
            await signer.aclose()
            addresses[name] = signer.address
            site = self.world.sites[name]
            await site.rpc.call("anvil_setBalance", signer.address, hex(MONEY))
        return addresses


@pytest.fixture
async def keepers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Keepers]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "aws").mkdir()
    async with AsyncExitStack() as stack:
        yield Keepers(
            await stack.enter_async_context(Devnet(tmp_path / "world")),
            stack.enter_context(aws_emulation(tmp_path / "aws")),
            await stack.enter_async_context(GcpKms(GCP_SECRET).running()),
            await stack.enter_async_context(Web3SignerServer(WEB3_SECRET).running()),
        )


async def senders(world: Devnet, sent: list[Sent]) -> dict[str, set[str]]:
    """Who paid for the deliveries on each chain."""
    found: dict[str, set[str]] = {}
    for name, site in world.sites.items():
        head = int(await site.rpc.call("eth_blockNumber"), 16)
        first = min(one.block for one in sent)
        found[name] = set()
        for number in range(first, head + 1):
            block = await site.rpc.call("eth_getBlockByNumber", hex(number), True)
            found[name] |= {one["from"] for one in block["transactions"]}
    return found


async def test_every_kind_of_key_service_delivers(tmp_path: Path, keepers: Keepers) -> None:
    """Over all routes, once each, paid by the key of the service, with nothing secret in the log;
    `check-config --online` says whose keys they are and what they have."""
    relayer = keepers.configure(tmp_path, keepers.sections())
    addresses = await keepers.fund(tmp_path)
    findings = await check_online(load_settings(tmp_path / "keepers.yaml", {}))
    told = {one.subject: one for one in findings}
    for name, address in addresses.items():
        found = told[f"chains.{name}.signers[0]"]
        assert (found.ok, found.text) == (True, f"{address} has 10.000000 of the native coin")
    await relayer.start()
    try:
        sent = await keepers.world.traffic.spread(24)
        await all_delivered(keepers.world, sent)
        for name, address in addresses.items():
            labels = {"chain": name, "signer": address}
            assert await relayer.metric("relayer_signing_seconds_count", **labels) > 0
    finally:
        assert await relayer.stop() == 0
    await assert_exactly_once(keepers.world, sent)
    paid = await senders(keepers.world, sent)
    for name, address in addresses.items():
        assert address in paid[name]
    text = relayer.log.read_text()
    for secret in (PATH[1:], *list(CREDENTIALS.values())[:2], GCP_SECRET.hex(), WEB3_SECRET.hex()):
        assert secret not in text


async def test_a_service_that_is_down_at_the_start_joins_later(
    tmp_path: Path, keepers: Keepers
) -> None:
    """Other chains deliver meanwhile, its own messages wait with the reason, and then they go."""
    relayer = keepers.configure(tmp_path, keepers.sections())
    await keepers.fund(tmp_path)
    keepers.gcp.refusal = 503, "under repair"
    await relayer.start()
    try:
        sent = await keepers.world.traffic.spread(12)
        to_beta = [one for one in sent if one.destination == "beta"]
        others = [one for one in sent if one.destination != "beta"]
        await all_delivered(keepers.world, others)
        assert await keepers.world.traffic.undelivered(to_beta) == to_beta

        async def waits_with_the_reason() -> bool:
            view = await relayer.get(f"/v1/messages/{to_beta[0].id}")
            return (view["status"], view["reason"]) == ("waiting", "source_unreachable")

        await until(waits_with_the_reason)
        assert '"event": "signer_unavailable"' in relayer.log.read_text()
        keepers.gcp.refusal = None
        await all_delivered(keepers.world, sent)
    finally:
        assert await relayer.stop() == 0
    await assert_exactly_once(keepers.world, sent)


async def test_a_server_that_lies_sends_nothing(tmp_path: Path, keepers: Keepers) -> None:
    """What it signs instead is never broadcast; when it is honest again, its messages go."""
    relayer = keepers.configure(tmp_path, keepers.sections())
    addresses = await keepers.fund(tmp_path)
    keepers.web3signer.twist = lambda fields: fields | {"to": "0x" + "66" * 20}
    await relayer.start()
    try:
        sent = await keepers.world.traffic.spread(12)
        to_gamma = [one for one in sent if one.destination == "gamma"]
        await all_delivered(keepers.world, [one for one in sent if one not in to_gamma])

        async def has_lied() -> bool:
            labels = {"chain": "gamma", "kind": "signer_unavailable"}
            return await relayer.metric("relayer_signing_errors_total", **labels) >= 2

        await until(has_lied)
        rpc = keepers.world.sites["gamma"].rpc
        count = await rpc.call("eth_getTransactionCount", addresses["gamma"], "pending")
        assert int(count, 16) == 0
        assert await keepers.world.traffic.undelivered(to_gamma) == to_gamma
        keepers.web3signer.twist = lambda fields: fields
        await all_delivered(keepers.world, sent)
    finally:
        assert await relayer.stop() == 0
    await assert_exactly_once(keepers.world, sent)


async def test_keystore_and_variable_deliver(
    tmp_path: Path, keepers: Keepers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kinds whose key comes into the process; a variable is warned of off local chain ids."""
    monkeypatch.setenv("PLANTED_KEY", LOCAL_SECRET.hex())
    content = Account.encrypt(LOCAL_SECRET, "planted-password", kdf="pbkdf2", iterations=2)
    (tmp_path / "keystore").write_text(json.dumps(content))
    (tmp_path / "password").write_text("planted-password\n")
    keystore = {
        "keystore": str(tmp_path / "keystore"),
        "keystore_password_file": str(tmp_path / "password"),
    }
    variable = {"key_env": "PLANTED_KEY"}
    sections = {"alpha": variable, "beta": keystore, "gamma": variable}
    relayer = keepers.configure(tmp_path, sections)
    for site in keepers.world.sites.values():
        address = LocalSigner(LOCAL_SECRET).address
        await site.rpc.call("anvil_setBalance", address, hex(MONEY))
    await relayer.start()
    try:
        sent = await keepers.world.traffic.spread(6)
        await all_delivered(keepers.world, sent)
    finally:
        assert await relayer.stop() == 0
    events = [json.loads(line) for line in relayer.log.read_text().splitlines()]
    warned = [one["field"] for one in events if one["event"] == "key_in_environment"]
    assert warned == ["chains.gamma.signers[0]"]
    assert LOCAL_SECRET.hex() not in relayer.log.read_text()
    assert "planted-password" not in relayer.log.read_text()
