"""What `relayer check-config --online` does: hold the configuration against the world."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from relayer import protocols
from relayer.abi import selector
from relayer.adapter import Adapter, Checkable, Expectation, Header, LogSource
from relayer.chains import ChainClient
from relayer.chains.roll_call import Present, roll_call
from relayer.chains.signers import Opener, openers_of
from relayer.errors import CallReverted, RelayerError, RpcRefused, Transient
from relayer.message import Address, BridgeName, ChainId, Wei
from relayer.ops.views import Finding
from relayer.settings import ChainSettings, Settings
from relayer.store import Store

CLOCK_SLACK_S = 120.0
"""Our clock and the newest block's may differ this much, plus three block times."""
WORD = 32
"""Bytes of one value in an ABI answer."""


async def check_chain(name: str, settings: Settings) -> list[Finding]:
    """Each endpoint and socket, finality rule, clock, Multicall3 and signers of one chain."""
    chain = ChainClient(name, settings.chains[name], clock=time.time)
    subject = f"chains.{name}"
    findings = [
        _present(one, chain.chain_id) for one in await roll_call(name, settings.chains[name])
    ]
    try:
        await chain.start()
        head, final = await chain.tip()
        behind = head.number - final.number
        text = f"final block is {behind} behind the head"
        findings.append(Finding(f"{subject}.finality", True, text))
        findings.append(_clock(chain, head, may_differ=settings.is_for_development(name)))
        findings.append(await _multicall(chain, settings.chains[name], subject))
        for opener in openers_of(settings, name, os.environ):
            findings.append(await _signer(chain, opener))
    except RelayerError as error:
        findings.append(Finding(subject, False, str(error)))
    finally:
        await chain.aclose()
    return findings


def _present(one: Present, chain_id: ChainId) -> Finding:
    if not one.problem:
        return Finding(one.field, True, f"{one.name} serves chain {chain_id}")
    way_out = "correct the URL, or take it out while it is down"
    return Finding(one.field, False, f"{one.name}: {one.problem}; {way_out}")


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


def _clock(chain: ChainClient, head: Header, *, may_differ: bool) -> Finding:
    """A development chain may be at another time than we, as its tests leap over the waiting."""
    drift_s = abs(time.time() - head.timestamp)
    is_near = drift_s <= CLOCK_SLACK_S + 3 * chain.settings.block_time_s
    text = f"newest block's time is {drift_s:.0f} s from our clock"
    if is_near or may_differ:
        return Finding(f"chains.{chain.name}.clock", True, text, warns=not is_near)
    text += ": is the node behind, or this machine's clock wrong? (`development` permits it)"
    return Finding(f"chains.{chain.name}.clock", False, text)


async def _multicall(chain: ChainClient, settings: ChainSettings, subject: str) -> Finding:
    where = f"{subject}.multicall"
    address = settings.multicall
    if address is None:
        return Finding(where, True, "none configured: one message per transaction")
    code = await chain.code(address)
    text = f"code at {address}" if code else f"no code at {address}: set it to null or correct it"
    return Finding(where, bool(code), text)


async def check_bridge(chain: ChainClient, adapter: Adapter) -> list[Finding]:
    """One bridge's contracts on one chain: they are there, and what the settings say of them."""
    subject = f"bridges.{adapter.name} on {chain.name}"
    sources = [source for source in adapter.sources() if source.chain == chain.chain_id]
    stated = adapter.expectations() if isinstance(adapter, Checkable) else ()
    expected = [one for one in stated if one.chain == chain.chain_id]
    findings: list[Finding] = []
    try:
        if sources:
            findings += await _code(chain, subject, sources)
            findings += await _start_blocks(chain, subject, sources)
        for expectation in expected:
            findings.append(await _expectation(chain, adapter.name, expectation))
    except RelayerError as error:
        text = f"could not be checked further: {error}"
        is_known = not isinstance(error, Transient)
        findings.append(Finding(subject, False, text, is_known=is_known))
    return findings


async def check_bridges(
    adapters: Iterable[Adapter], chains: Iterable[ChainClient], *, within_s: float
) -> list[Finding]:
    """All contracts of these bridges at once; what does not answer in time is not known."""
    asked = [(adapter, chain) for adapter in adapters for chain in chains]
    calls = [asyncio.ensure_future(check_bridge(chain, adapter)) for adapter, chain in asked]
    if not calls:
        return []
    try:
        await asyncio.wait(calls, timeout=within_s)
        findings = []
        for (adapter, chain), call in zip(asked, calls, strict=True):
            subject = f"bridges.{adapter.name} on {chain.name}"
            late = Finding(subject, False, f"no answer within {within_s:g} s", is_known=False)
            findings += call.result() if call.done() else [late]
        return findings
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def _code(chain: ChainClient, subject: str, sources: Sequence[LogSource]) -> list[Finding]:
    """Every contract that a bridge follows on a chain must have code there."""
    findings = []
    for address in sorted({address for source in sources for address in source.addresses}):
        code = await chain.code(address)
        text = f"code at {address}" if code else f"no code at {address}: correct the address"
        findings.append(Finding(subject, bool(code), text))
    return findings


async def _start_blocks(
    chain: ChainClient, subject: str, sources: Sequence[LogSource]
) -> list[Finding]:
    """Nothing is followed from a block that does not exist yet."""
    head = (await chain.header("latest")).number
    way_out = "set it to the block of the contracts' deployment, or an earlier one"
    return [
        Finding(subject, False, f"start_block {start} is beyond the newest block {head}: {way_out}")
        for start in sorted({source.start_block for source in sources})
        if start > head
    ]


async def _expectation(chain: ChainClient, bridge: BridgeName, wanted: Expectation) -> Finding:
    """Ask the contract itself; each question alone, as some precompiles mind who asks."""
    subject, contract = f"bridges.{bridge}.{wanted.field}", wanted.contract
    for view in wanted.views:
        call = {"to": contract, "data": "0x" + selector(view).hex()}
        try:
            answer = await chain.call(call)
        except (CallReverted, RpcRefused):
            continue
        if wanted.may_be_silent and not any(answer):
            continue
        if len(answer) >= WORD:
            return _compared(subject, wanted, view, answer[:WORD])
    view = " or ".join(wanted.views)
    if wanted.may_be_silent:
        return Finding(subject, True, f"{contract} has no {view}: nothing to compare")
    text = f"{contract} does not answer {view}: correct the address, or the chain it is on"
    return Finding(subject, False, text)


def _compared(subject: str, wanted: Expectation, view: str, word: bytes) -> Finding:
    """`word` is what the contract told."""
    contract, value = wanted.contract, wanted.value
    if value is None:
        return Finding(subject, True, f"{contract} answers {view}")
    number = int(value, 16) if isinstance(value, str) else value
    if int.from_bytes(word, "big") == number:
        return Finding(subject, True, f"{contract} answers {view} with {value}")
    found = f"0x{word[-20:].hex()}" if isinstance(value, str) else int.from_bytes(word, "big")
    text = f"{view} of {contract} is {found}, the configuration says {value}: correct one of them"
    return Finding(subject, False, text)


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
