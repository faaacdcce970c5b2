"""What `relayer check-config --online` does: hold the configuration against the world."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from relayer import protocols
from relayer.adapter import Adapter
from relayer.chains import ChainClient
from relayer.chains.signers import Opener, openers_of
from relayer.errors import RelayerError
from relayer.message import Address, Wei
from relayer.ops.views import Finding
from relayer.settings import ChainSettings, Settings
from relayer.store import Store

CLOCK_SLACK_S = 120.0
"""Our clock and the newest block's may differ this much, plus three block times."""


async def check_chain(name: str, settings: Settings) -> list[Finding]:
    """Chain id, finality rule, clock, Multicall3 and signers of one chain."""
    chain = ChainClient(name, settings.chains[name], clock=time.time)
    subject = f"chains.{name}"
    try:
        await chain.start()
        findings = [Finding(subject, True, f"chain id {chain.chain_id} at every endpoint")]
        findings += await _finality(chain, subject)
        findings.append(await _multicall(chain, settings.chains[name], subject))
        for opener in openers_of(settings, name, os.environ):
            findings.append(await _signer(chain, opener))
        return findings
    except RelayerError as error:
        return [Finding(subject, False, str(error))]
    finally:
        await chain.aclose()


async def _signer(chain: ChainClient, opener: Opener) -> Finding:
    """Its key answers, and it has money."""
    found = await ask_signer(chain, opener)
    if found.balance is None:
        return Finding(opener.at, False, found.problem)
    text = f"{found.address} has {found.balance / 10**18:.6f} of the native coin"
    return Finding(opener.at, found.balance > 0, text)


@dataclass(frozen=True, slots=True)
class SignerAnswer:
    """Whose key a signer's is and what that account has, as far as somebody told."""

    address: Address | None
    balance: Wei | None
    problem: str = ""


async def ask_signer(chain: ChainClient, opener: Opener) -> SignerAnswer:
    """Open a signer and ask the chain for its balance."""
    address = None
    try:
        signer = await opener.open()
        await signer.aclose()
        address = signer.address
        return SignerAnswer(address, Wei(await chain.balance(address)))
    except RelayerError as error:
        return SignerAnswer(address, None, str(error).removeprefix(f"{opener.at}: "))


async def ask_signers(name: str, settings: Settings) -> list[SignerAnswer]:
    """Every signer of one chain, in the order of its section."""
    chain = ChainClient(name, settings.chains[name], clock=time.time)
    try:
        openers = openers_of(settings, name, os.environ)
        return [await ask_signer(chain, opener) for opener in openers]
    finally:
        await chain.aclose()


async def _finality(chain: ChainClient, subject: str) -> list[Finding]:
    head, final = await chain.tip()
    behind = head.number - final.number
    findings = [Finding(f"{subject}.finality", True, f"final block is {behind} behind the head")]
    drift_s = abs(time.time() - head.timestamp)
    slack_s = CLOCK_SLACK_S + 3 * chain.settings.block_time_s
    text = f"newest block's time is {drift_s:.0f} s from our clock"
    findings.append(Finding(f"{subject}.clock", drift_s <= slack_s, text))
    return findings


async def _multicall(chain: ChainClient, settings: ChainSettings, subject: str) -> Finding:
    where = f"{subject}.multicall"
    address = settings.multicall
    if address is None:
        return Finding(where, True, "none configured: one message per transaction")
    code = await chain.code(address)
    text = f"code at {address}" if code else f"no code at {address}: set it to null or correct it"
    return Finding(where, bool(code), text)


async def check_code(chain: ChainClient, adapter: Adapter) -> list[Finding]:
    """Every contract that a bridge follows on a chain must have code there."""
    wanted = {
        address
        for source in adapter.sources()
        if source.chain == chain.chain_id
        for address in source.addresses
    }
    findings = []
    for address in sorted(wanted):
        code = await chain.code(address)
        subject = f"bridges.{adapter.name} on {chain.name}"
        text = f"code at {address}" if code else f"no code at {address}"
        findings.append(Finding(subject, bool(code), text))
    return findings


async def check_store(settings: Settings) -> Finding:
    """Redis answers, is safe and speaks our schema."""
    try:
        store = await Store.open(
            settings.redis,
            settings.data_dir,
            clock=time.time,
            attach=True,
            retention_s=settings.retention_s,
        )
    except RelayerError as error:
        return Finding("redis", False, str(error))
    await store.aclose()
    return Finding("redis", True, "answers, keeps what we write, and has our schema")


def check_protocols(settings: Settings) -> list[Finding]:
    """Every bridge names a protocol we have."""
    findings = []
    for name, raw in settings.bridges.items():
        word = str(raw.get("protocol", ""))
        known = word in protocols.available()
        text = f"protocol {word!r}" + ("" if known else " is not one we have")
        findings.append(Finding(f"bridges.{name}", known, text))
    return findings
